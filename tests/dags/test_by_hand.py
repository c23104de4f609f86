"""What a run by hand does and tells: it has no partition of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recsys_text.provider.operators import ExtractOperator
from tests.conftest import write_small_project

ROOT = Path(__file__).resolve().parents[2]
WATCHED = """
[schedule]
refresh = "15m"
[[schedule.notify]]
class = "tests.dags.test_notifiers.Broken"
[[schedule.notify]]
class = "tests.dags.live.notifier.FileNotifier"
path = "{path}"
message = "{{{{ exception }}}}"
[alerts.category]
metric = "null_rate"
slice = "items.category"
above = 0.5
[alerts.description]
metric = "null_rate"
slice = "items.description"
above = 0.5
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("by-hand")
    config = write_small_project(home)
    config.write_text(config.read_text() + WATCHED.format(path=home / "told.txt"))
    ExtractOperator(task_id="extract", config=config, start="2024-05-01", end="2024-05-06").execute({})
    environment = {
        "PYTHONPATH": str(ROOT),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "RECSYS_TEXT_CONFIGS": str(config),
    }

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=os.environ | environment,
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    python("-m", "airflow", "db", "migrate")
    said = python(str(Path(__file__).with_name("by_hand.py")))
    found: dict[str, Any] = json.loads(said.rpartition("RESULT ")[2].splitlines()[0])
    return found | {"alerts": (home / "told.txt").read_text().splitlines()}


def test_alerts_are_told_once_each_although_a_notifier_is_broken(told: dict[str, Any]) -> None:
    assert told["tasks"]["small_monitor.monitor"] == "skipped"  # nothing was published that it could measure
    assert [line.partition(" is ")[0] for line in told["alerts"]] == [
        "category fires since 2024-05-01: null_rate of items.category",
        "description fires since 2024-05-01: null_rate of items.description",
    ]


def test_a_refresh_with_nothing_to_follow_is_a_skip(told: dict[str, Any]) -> None:
    assert told["tasks"]["small_refresh.refresh"] == "skipped"


def test_the_page_tells_runs_that_only_skipped_from_those_that_worked(told: dict[str, Any]) -> None:
    train, refresh, *monitors = told["runs"]
    assert train == ["small_train", "success", False, ""]
    assert refresh[:3] == ["small_refresh", "success", True]
    assert "no scores are served" in refresh[3]
    assert [monitor[:3] for monitor in monitors] == [["small_monitor", "success", True]] * 2
    assert all("published" in monitor[3] for monitor in monitors)


def test_a_champion_is_told_with_a_window(told: dict[str, Any]) -> None:
    assert told["tasks"]["small_train.gate"] == "success"
    assert told["events"] == [["model://small/champion", "2024-05-05"]]
