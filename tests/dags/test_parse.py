"""Every DAG file parses fast, imports no heavy library, and documents, bounds and retries its tasks.

Parsed in a process of its own, as Airflow does: what the other tests have imported must not count.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("extract", "monitor", "publish", "rollback", "train")
OPTIONAL = ("freshness", "refresh", "shadow")
LIMIT_S = 2.0
HOURLY = """
[windows]
length = "1h"
[gate]
shadow = true
[schedule]
deadline = "06:30"
refresh = "15m"
notify = [{{ class = "tests.dags.live.notifier.FileNotifier", path = "{told}", message = "failed" }}]
"""
PARSE = """
import json, sys, time
import airflow.sdk
from airflow.dag_processing.dagbag import DagBag
started = time.perf_counter()
bag = DagBag(sys.argv[1])
took = time.perf_counter() - started
heavy = [name for name in ("torch", "mlflow", "polars", "pandas", "lightgbm") if name in sys.modules]
from airflow.serialization.serialized_objects import DagSerialization
dags = {
    dag_id: {
        "doc": dag.doc_md,
        "params": {
            name: {
                "text": dag.params.get_param(name).description or dag.params.get_param(name).schema["description_md"],
                "type": dag.params.get_param(name).schema["type"],
            }
            for name in dag.params
        },
        "max_active_runs": dag.max_active_runs,
        "catchup": dag.catchup,
        "timetable": type(dag.timetable).__name__,
        "schedule": DagSerialization.to_dict(dag)["dag"]["timetable"]["__var"],
        "tasks": {
            task.task_id: {
                "retries": task.retries,
                "backoff": task.retry_exponential_backoff,
                "timeout": task.execution_timeout and task.execution_timeout.total_seconds(),
                "pool": task.pool,
                "policy": type(task.retry_policy).__name__,
                "failing": [callback.__name__ for callback in task.on_failure_callback],
                "outlets": [asset.uri for asset in task.outlets],
                "downstream": sorted(task.downstream_task_ids),
            }
            for task in dag.tasks
        },
    }
    for dag_id, dag in bag.dags.items()
}
print(json.dumps({"took": took, "heavy": heavy, "errors": bag.import_errors, "dags": dags}))
"""


def parse(home: Path, configs: list[Path], **env: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", PARSE, ROOT / "dags"],
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "AIRFLOW_HOME": str(home),
            "RECSYS_TEXT_CONFIGS": os.pathsep.join(map(str, configs)),
            **env,
        },
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    parsed: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return parsed


@pytest.fixture(scope="module")
def parsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The books example, an hourly project beside it with a deadline and a refresh, and a config that does not load."""
    home = tmp_path_factory.mktemp("airflow")
    books = ROOT / "examples" / "books" / "recsys.toml"
    hourly, broken = home / "hourly.toml", home / "broken.toml"
    unending = re.sub(r"\[schedule\]\n.*\n", "", books.read_text())
    hourly.write_text(unending.replace('"books"', '"hourly"') + HOURLY.format(told=home / "told.txt"))
    broken.write_text(books.read_text().replace("[publish]", "[publsh]"))
    return parse(home, [books, broken, hourly], RECSYS_TEXT_STORE_POOL="store_writers")


def test_every_project_has_its_dags(parsed: dict[str, Any]) -> None:
    hourly = sorted([*STEPS, *OPTIONAL])
    assert sorted(parsed["dags"]) == [f"books_{step}" for step in STEPS] + [f"hourly_{step}" for step in hourly]


def test_parsing_is_fast_and_light(parsed: dict[str, Any]) -> None:
    assert parsed["heavy"] == []
    assert parsed["took"] < LIMIT_S


def test_a_broken_config_is_the_only_import_error(parsed: dict[str, Any]) -> None:
    ((file, error),) = parsed["errors"].items()
    assert Path(file).name == "assets.py"
    assert "broken.toml" in error
    assert "publish" in error


def test_dags_are_documented_and_run_one_at_a_time(parsed: dict[str, Any]) -> None:
    for dag_id, dag in parsed["dags"].items():
        assert dag["doc"].startswith((ROOT / "dags" / f"{dag_id.split('_')[1]}.py").read_text()[3:60]), dag_id
        assert dag["max_active_runs"] == 1
        assert not dag["catchup"]


def test_tasks_retry_with_backoff_and_end(parsed: dict[str, Any]) -> None:
    for dag in parsed["dags"].values():
        for name, task in dag["tasks"].items():
            assert task["retries"] > 0, name
            assert task["backoff"] > 1, name
            assert task["policy"] == "Backoff", name
            assert task["timeout"], name
            assert task["retries"] == {"train": 2, "freshness": 3, "choose": 3, "rollback": 3}.get(name, 8), name


def test_failures_are_told_to_those_that_the_config_names(parsed: dict[str, Any]) -> None:
    for dag_id, dag in parsed["dags"].items():
        for task in dag["tasks"].values():
            assert task["failing"] == (["FileNotifier"] if dag_id.startswith("hourly") else [])


def test_forms_say_what_they_ask_for(parsed: dict[str, Any]) -> None:
    forms = {dag_id.removeprefix("books_"): dag["params"] for dag_id, dag in parsed["dags"].items()}
    assert {step: set(forms[step]) for step in ("extract", "train", "rollback")} == {
        "extract": {"from", "to"},
        "train": {"cutoff", "seed", "warm_start"},
        "rollback": {"version"},
    }
    for form in forms.values():
        assert all(field["text"] for field in form.values())
        assert all("null" in field["type"] or field["type"] == "boolean" for field in form.values())


def test_tasks_connect_and_emit(parsed: dict[str, Any]) -> None:
    tasks = {dag_id: dag["tasks"] for dag_id, dag in parsed["dags"].items()}
    assert {name: task["downstream"] for name, task in tasks["books_publish"].items()} == {
        "begin": ["items"],
        "items": ["commit", "score"],
        "score": ["commit"],
        "commit": [],
    }
    assert tasks["books_train"]["train"]["downstream"] == ["gate"]
    emitted = {f"{dag_id}.{name}": task["outlets"] for dag_id, dag in tasks.items() for name, task in dag.items()}
    assert {name: uris for name, uris in emitted.items() if uris and name.startswith("books")} == {
        "books_extract.extract": ["lake://books/items", "lake://books/events"],
        "books_extract.late": ["lake://books/items", "lake://books/events"],
        "books_extract.announce": ["lake://books/news"],
        "books_train.gate": ["model://books/champion"],
        "books_publish.commit": ["store://books/user_scores"],
        "books_monitor.monitor": ["lake://books/quality"],
    }
    assert emitted["hourly_refresh.refresh"] == ["store://hourly/refreshed_scores"]


def test_pools_come_from_the_environment(parsed: dict[str, Any]) -> None:
    tasks = {name: task["pool"] for dag in parsed["dags"].values() for name, task in dag["tasks"].items()}
    assert tasks["score"] == tasks["items"] == "store_writers"
    assert tasks["train"] == "default_pool"


def test_schedules(parsed: dict[str, Any]) -> None:
    daily, hourly = (parsed["dags"][f"{name}_extract"]["schedule"] for name in ("books", "hourly"))
    assert (daily["expression"], daily["key_format"], daily["run_offset"]) == ("0 0 * * *", "%Y-%m-%d", -1)
    assert (hourly["expression"], hourly["key_format"]) == ("0 * * * *", "%Y-%m-%dT%H")
    assert "30 6 * * *" in json.dumps(parsed["dags"]["hourly_freshness"]["schedule"])
    assert "900" in json.dumps(parsed["dags"]["hourly_refresh"]["schedule"])
    for step, listens in {
        "train": ["lake://books/news"],
        "monitor": ["lake://books/news"],
        "publish": ["lake://books/news", "model://books/champion"],
    }.items():
        dag = parsed["dags"][f"books_{step}"]
        assert dag["timetable"] == "PartitionedAssetTimetable"  # the others never hear of a partition's events
        assert all(uri in json.dumps(dag["schedule"]) for uri in listens), step
