"""What scheduled runs of the extract DAG bring, and whom they tell: really run, in an Airflow of their own."""

import importlib.util
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

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


@pytest.fixture(scope="module")
def keys(said: dict[str, Any], folder: Path) -> list[str]:
    """The windows of events that the lake has after all nights, but for those of the backfill."""
    return [key for key in Lake(load(folder / "recsys.toml").lake).keys("events") if key >= "2024-05"]


def told_by(folder: Path, key: str) -> list[str]:
    return [line for line in (folder / "told.txt").read_text().splitlines() if f" of {key}: " in line]


def test_a_broken_window_stops_no_other(said: dict[str, Any], keys: list[str], folder: Path) -> None:
    assert said["nights"]["after a standstill"] == {
        "extract": "success",
        "late 2024-05-03": "failed",
        "announce": "success",
    }
    assert keys[:4] == [f"2024-05-0{day}" for day in (1, 2, 4, 5)]
    (told,) = told_by(folder, "2024-05-05")
    assert told.startswith("late of 2024-05-05: events 2024-05-03: ")


def test_windows_that_are_not_what_they_were_are_told_of(said: dict[str, Any], folder: Path) -> None:
    lake = Lake(load(folder / "recsys.toml").lake)
    found = {
        key: rows for uri, key, rows in said["events"] if uri.endswith("/events") and "2024-05" < key < "2024-05-07"
    }
    rows = {key: lake.manifest("events", key)["rows"] for key in found}
    assert found == dict.fromkeys(
        ("2024-05-02", "2024-05-04", "2024-05-05"), sum(rows[f"2024-05-0{day}"] for day in (2, 4, 5))
    ) | {"2024-05-06": rows["2024-05-06"]}
    assert said["nights"]["as ever"] == {
        "extract": "success",
        "late": "skipped",
        "announce": "success",
    }


def test_what_a_backfill_has_not_come_to_is_left_to_it(keys: list[str], folder: Path) -> None:
    assert "2024-05-07" not in keys
    assert {"2024-05-08", "2024-05-09", "2024-05-10"} <= set(keys)
    assert told_by(folder, "2024-05-10") == []


def test_what_a_long_standstill_left_out_is_told(keys: list[str], folder: Path) -> None:
    assert [key for key in keys if "2024-05-10" < key < "2024-06-11"] == ["2024-06-08", "2024-06-09", "2024-06-10"]
    (told,) = told_by(folder, "2024-06-10")
    assert "--dag-id small_extract --from-date 2024-05-11 --to-date 2024-06-07" in told


def test_another_try_goes_on_to_the_windows_of_the_first_one(said: dict[str, Any], keys: list[str]) -> None:
    """The first one wrote the newest missing window before it failed, so that the lake shows no gap any more."""
    assert said["nights"]["of two tries"]["extract"] == "success"
    wanted = [f"2024-06-{day}" for day in range(11, 16)]
    assert [key for key in keys if key > "2024-06-10"] == wanted
    assert sorted(key for uri, key, _ in said["events"] if uri.endswith("/events") and key > "2024-06-10") == wanted


def test_a_backfill_is_one_news_although_its_last_window_fails(said: dict[str, Any]) -> None:
    states = {name.removeprefix("backfill of "): states for name, states in said["nights"].items() if "fill of" in name}
    first = second = {"extract": "success", "late": "skipped", "announce": "skipped"}
    assert [states["2024-04-29"], states["2024-04-30"]] == [first, second]
    assert states["2024-05-03"] == {"extract": "failed", "late": "upstream_failed", "announce": "success"}
    assert states["the broken window again"]["announce"] == "skipped"  # nothing is other than it was
    news = [(key, windows) for uri, key, windows in said["events"] if uri == "lake://small/news"]
    assert [key for key, _ in news][-2:] == ["2024-06-15", "2024-06-15"]
    assert news[-1][1] == news[-2][1] + 2


def test_each_night_is_one_news(said: dict[str, Any]) -> None:
    nights = [name for name in said["nights"] if "backfill of" not in name]
    assert len([uri for uri, _, _ in said["events"] if uri == "lake://small/news"]) == len(nights) + 1


def test_a_scheduled_run_after_the_end_of_the_log_is_a_skip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_small_project(tmp_path)
    config.write_text(config.read_text() + '[schedule]\nend = "2024-05-03"\n')
    monkeypatch.setenv("RECSYS_TEXT_CONFIGS", str(config))
    spec = importlib.util.spec_from_file_location("dag_of_extraction", ROOT / "dags" / "extract.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (project,) = module.projects()

    def begin(key: str) -> None:
        run = SimpleNamespace(run_type="scheduled", partition_key=key, run_after=datetime(2024, 5, 9, tzinfo=UTC))
        context = {"dag_run": run, "params": {"from": None, "to": None}, "ti": None}
        monkeypatch.setattr(module, "get_current_context", lambda: context)
        module.build(project).get_task("extract").python_callable()

    with pytest.raises(AirflowSkipException, match=r"2024-05-03 is after schedule\.end, 2024-05-03T00:00Z"):
        begin("2024-05-03")
    with pytest.raises(KeyError):  # it goes on, and has no events to tell of in this test
        begin("2024-05-02")
