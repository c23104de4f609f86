"""A DAG of a user's own with the operators, really run: `dag.test` in an Airflow that has the package installed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import write_small_project
from tests.provider.conftest import run_python


@pytest.fixture(scope="module")
def told(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, Any]]]:
    """What became of each task of each DAG of `own_dag`."""
    home = tmp_path_factory.mktemp("own")
    config = write_small_project(home)
    (home / "dags").mkdir()
    shutil.copy(Path(__file__).with_name("own_dag.py"), home / "dags" / "own.py")
    run_python(installed, home, "-m", "airflow", "db", "migrate")
    said = run_python(installed, home, str(home / "dags" / "own.py"), str(config))
    found: dict[str, dict[str, dict[str, Any]]] = json.loads(said.rpartition("RESULT ")[2].splitlines()[0])
    return found


def test_the_whole_way_to_scores(told: dict[str, Any]) -> None:
    nightly = told["nightly"]
    assert {name: task["state"] for name, task in nightly.items()} == dict.fromkeys(nightly, "success")
    returned = {name: task["returned"] for name, task in nightly.items()}
    assert returned["extract"]["windows"] == [f"2024-05-0{day}" for day in range(1, 6)]
    assert returned["extract"]["rows"]["items"] == 5 * 48
    assert returned["extract"]["rejected"] == {"items": 0, "events": 0}
    assert returned["train"]["version"] == returned["gate"]["version"] == "1"
    assert returned["train"]["cutoff"] == "2024-05-05T00:00:00+00:00"
    assert returned["publish"]["users"] == 40
    assert returned["scores"] == {"version": returned["publish"]["version"], "as_of": "2024-05-06T00:00:00+00:00"}
    assert returned["monitor"] == {"window": "2024-05-06", "version": returned["publish"]["version"]}


def test_xcom_holds_ids_and_counts_alone(told: dict[str, Any]) -> None:
    for task in (*told["nightly"].values(), *told["again"].values()):
        assert len(json.dumps(task["returned"])) < 600


def test_a_worse_challenger_skips_what_follows(told: dict[str, Any]) -> None:
    assert {name: task["state"] for name, task in told["again"].items()} == {
        "train": "success",
        "gate": "skipped",
        "publish": "skipped",
    }


def test_a_mistake_fails_at_once(told: dict[str, Any]) -> None:
    assert told["mistaken"]["extract"]["state"] == "failed"
    assert told["mistaken"]["extract"]["tries"] == 1
