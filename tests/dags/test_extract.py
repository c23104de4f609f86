"""What scheduled runs of the extract DAG bring, and whom they tell: really run, in an Airflow of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recsys_text.config import load
from recsys_text.lake.store import Lake
from tests.conftest import write_small_project

ROOT = Path(__file__).resolve().parents[2]
MORE = """
[windows]
late = 2
[[schedule.notify]]
class = "tests.dags.live.notifier.FileNotifier"
path = "{told}"
message = "{{{{ ti.task_id }}}} of {{{{ dag_run.partition_key }}}}: {{{{ exception }}}}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nights")
    config = write_small_project(folder)
    config.write_text(config.read_text() + MORE.format(told=folder / "told.txt"))
    return folder


@pytest.fixture(scope="module")
def said(folder: Path) -> dict[str, Any]:
    """What `scheduled` prints of its nights."""
    env = os.environ | {
        "PYTHONPATH": str(ROOT),
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "RECSYS_TEXT_CONFIGS": str(folder / "recsys.toml"),
    }
    for command in (["-m", "airflow", "db", "migrate"], [ROOT / "tests/dags/scheduled.py", folder / "recsys.toml"]):
        done = subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout.rpartition("RESULT ")[2].splitlines()[0])
    return found


def test_a_broken_window_stops_no_other(said: dict[str, Any], folder: Path) -> None:
    assert list(said["nights"]["after a standstill"].items()) == [
        ("extract", "success"),
        ("late 2024-05-04", "success"),
        ("late 2024-05-03", "failed"),
        ("late 2024-05-02", "success"),
    ]
    keys = Lake(load(folder / "recsys.toml").lake).keys("events")
    assert [f"2024-05-0{day}" for day in (1, 2, 4, 5)] == keys[:4]
    told = [line for line in (folder / "told.txt").read_text().splitlines() if "of 2024-05-05" in line]
    assert len(told) == 1
    assert told[0].startswith("late of 2024-05-05: events 2024-05-03: ")


def test_windows_that_are_what_they_were_are_skipped(said: dict[str, Any]) -> None:
    assert said["nights"]["as ever"] == {
        "extract": "success",
        "late 2024-05-05": "skipped",
        "late 2024-05-04": "skipped",
    }


def test_each_window_is_told_of_with_its_own_rows(said: dict[str, Any], folder: Path) -> None:
    lake = Lake(load(folder / "recsys.toml").lake)
    of_events = [(key, rows) for uri, key, rows in said["events"] if uri.endswith("/events") and key < "2024-05-07"]
    assert of_events == [
        (key, lake.manifest("events", key)["rows"]) for key in ("2024-05-05", "2024-05-04", "2024-05-02", "2024-05-06")
    ]
    assert all(rows > 0 for _, rows in of_events)


def test_what_a_backfill_has_not_come_to_is_left_to_it(said: dict[str, Any], folder: Path) -> None:
    assert list(said["nights"]["beside a backfill"]) == ["extract", "late 2024-05-09", "late 2024-05-08"]
    assert "of 2024-05-10" not in (folder / "told.txt").read_text()


def test_what_a_long_standstill_left_out_is_told(said: dict[str, Any], folder: Path) -> None:
    assert list(said["nights"]["after a month"]) == ["extract", "late 2024-06-09", "late 2024-06-08"]
    (told,) = [line for line in (folder / "told.txt").read_text().splitlines() if "of 2024-06-10" in line]
    assert "--dag-id small_extract --from-date 2024-05-11 --to-date 2024-06-07" in told
