"""How long a newcomer waits from a fresh clone to the first list of a user of their own.

    RECSYS_TEXT_DATA=FOLDER python benchmarks/first_hour.py [--work var/first-hour]

The purchases of zoo/online_retail are written as a pair of CSV files, and the commands of README's "Your own data" are
run one after the other, as they stand there: a clone, a virtual environment of its own, the installation with what pip
and its cache have, `init --from`, `extract`, `check`, `train --quick`, `publish`, `serve`, and a GET for a user until
it is answered. Each is timed; bar: 10 minutes in all on two cores.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import polars as pl

from benchmarks.quality_lib.report import machine

ROOT = Path(__file__).parents[1]
LOG = "zoo/online_retail"
#: Seconds in which the service answers, or never will.
_PATIENCE_S = 120
_ADDRESS = "http://127.0.0.1:8000"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("var/first-hour"))
    work = parser.parse_args().work.absolute()
    if "RECSYS_TEXT_DATA" not in os.environ:
        parser.error(f"RECSYS_TEXT_DATA is not set; name the folder that holds {LOG}")
    if work.exists():
        parser.error(f"{work} is there already: what is timed begins with nothing; remove it or give another --work")
    user = write_exports(work / "project" / "exports", Path(os.environ["RECSYS_TEXT_DATA"]) / LOG)
    clone, project = work / "recsys-text", work / "project"
    bins = work / "venv" / "bin"
    took: dict[str, float] = {}

    def timed(name: str, words: list[str], folder: Path, good: tuple[int, ...] = (0,)) -> str:
        begun = time.monotonic()
        done = subprocess.run(words, check=False, cwd=folder, capture_output=True, text=True, env=_environment(bins))
        took[name] = time.monotonic() - begun
        print(f"{name:<28}{took[name]:7.1f} s", flush=True)
        if done.returncode not in good:
            sys.exit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    timed("git clone", ["git", "clone", "--quiet", str(ROOT), str(clone)], work)
    timed("python3 -m venv", ["python3", "-m", "venv", str(work / "venv")], work)
    pip = [str(bins / "pip"), "install", "--quiet", "-c", "constraints.txt", ".[train,serve]"]
    timed("pip install", pip, clone)
    ours = str(bins / "recsys-text")
    advice = timed("init --from exports/", [ours, "init", "--from", "exports/"], project)
    days = re.search(r"extract (--from \S+ --to \S+)", advice)
    if days is None:
        sys.exit(f"init does not say which days to extract:\n{advice}")
    timed("extract", [ours, "extract", *days[1].split()], project)
    timed("check", [ours, "check"], project, (0, 3))  # 3: something is wrong with the data, and said
    timed("train --quick", [ours, "train", "--quick"], project, (0, 4))  # 4: the gate said no
    timed("publish", [ours, "publish"], project)
    begun = time.monotonic()
    with subprocess.Popen([ours, "serve"], cwd=project, env=_environment(bins)) as service:
        try:
            answer = answered(f"{_ADDRESS}/users/{user}/items?k=10", begun + _PATIENCE_S)
        finally:
            service.terminate()
    took["serve, and GET"] = time.monotonic() - begun
    print(f"{'serve, and GET':<28}{took['serve, and GET']:7.1f} s")
    print(f"{'all':<28}{sum(took.values()):7.1f} s (bar 600)\n{answer[:200]}\n{machine()}")
    shutil.rmtree(work)


def write_exports(folder: Path, source: Path) -> str:
    """Writes items.csv and events.csv, and returns a user who bought in the newest days."""
    folder.mkdir(parents=True)
    items, events = (pl.read_parquet(source / f"{name}.parquet") for name in ("items", "events"))
    items.select(name for name, dtype in items.schema.items() if not dtype.is_nested()).write_csv(folder / "items.csv")
    events.write_csv(folder / "events.csv")
    return str(events.sort("occurred_at")["user_id"][-1])


def answered(address: str, until: float) -> str:
    """What the service says. Ends the program where it says nothing in time."""
    while True:
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, ConnectionError) as error:
            if time.monotonic() > until:
                sys.exit(f"no answer from {address}: {error}")
            time.sleep(0.2)


def _environment(bins: Path) -> dict[str, str]:
    """That of a shell in which the environment was activated, and nothing of the one that this runs in."""
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "RECSYS_TEXT_DATA")}
    return own | {"VIRTUAL_ENV": str(bins.parent), "PATH": f"{bins}{os.pathsep}{os.environ['PATH']}"}


if __name__ == "__main__":
    main()
