"""How long Airflow takes to parse the DAG files for many configs, and what that imports.

    python benchmarks/parse.py [--configs 20] [--repeats 5]

Each measure is a process of its own, as Airflow's DAG processor forks one for each file. Prints the seconds of all
files together, beside those for one config and for an empty DAG, and which heavy libraries were imported.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BOOKS = ROOT / "examples" / "books" / "recsys.toml"
HEAVY = ("torch", "mlflow", "polars", "pandas", "lightgbm", "sklearn")
SCHEDULE = '[schedule]\ndeadline = "06:00"\nrefresh = "15m"\n'
PARSE = f"""
import json, sys, time
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
started = time.perf_counter()
bag = DagBag(sys.argv[1])
took = time.perf_counter() - started
assert not bag.import_errors, bag.import_errors
print(json.dumps({{"took": took, "dags": len(bag.dags), "heavy": [name for name in {HEAVY} if name in sys.modules]}}))
"""
EMPTY = "from airflow.sdk import DAG\nDAG('empty', schedule=None)\n"


def measure(folder: Path, configs: Path, home: Path) -> dict[str, Any]:
    """One parse of a folder of DAG files in a process of its own."""
    env = {**os.environ, "AIRFLOW_HOME": str(home), "RECSYS_TEXT_CONFIGS": str(configs), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PARSE, str(folder)], env=env, cwd=home, capture_output=True, text=True, check=True
    )
    parsed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return parsed


def write_configs(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        name = f"shop{number:03d}"
        (folder / f"{name}.toml").write_text(BOOKS.read_text().replace('"books"', f'"{name}"') + SCHEDULE)
    return folder


def main(configs: int, repeats: int) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        empty = home / "empty"
        empty.mkdir()
        (empty / "empty.py").write_text(EMPTY)
        one, many = write_configs(home / "one", 1), write_configs(home / "many", configs)
        cases = {
            "an empty DAG": (empty, one),
            "1 config": (ROOT / "dags", one),
            f"{configs} configs": (ROOT / "dags", many),
        }
        seconds: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(repeats):
            for name, (folder, named) in cases.items():
                parsed = measure(folder, named, home)
                seconds[name].append(parsed["took"])
        for name, took in seconds.items():
            print(f"{name}: {statistics.median(took):.2f} s [{min(took):.2f}, {max(took):.2f}]")
        print(f"{parsed['dags']} DAGs; imported of {', '.join(HEAVY)}: {', '.join(parsed['heavy']) or 'none'}")
        several, alone = statistics.median(seconds[f"{configs} configs"]), statistics.median(seconds["1 config"])
        print(f"{several / alone:.1f} times 1 config")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    main(arguments.configs, arguments.repeats)
