"""A real Airflow of its own, whose scheduler is killed in the middle of a backfill, and the same nights without it."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from recsys_text.config import load
from recsys_text.lake.store import Lake
from recsys_text.steps.inputs import VIEW, lake_state, the_store
from tests.dags.live.catalogue import BROKEN, DAYS, FORMER_TASTE, LATE, Catalogue, today

ROOT = Path(__file__).resolve().parents[3]
CONSUMERS = ("train", "publish", "monitor")
KILL_AFTER = 8  # windows of the backfill
SOURCE_PASSWORD, STORE_PASSWORD = "open%20sesame-1", "abra-kadabra-2"

NOTIFY = """
[[schedule.notify]]
class = "tests.dags.live.notifier.FileNotifier"
path = "{path}"
message = "{{{{ ti.dag_id }}}}.{{{{ ti.task_id }}}} {{{{ dag_run.partition_key }}}}: {{{{ exception }}}}"
"""
# Neither its source nor its store can be reached, so that every message of a driver comes to a log.
SECRET = """
[project]
name = "secret"
root = "secret"
[sources.items]
kind = "sql"
uri = "postgresql://shop:${SOURCE_PASSWORD}@127.0.0.1:1/shop"
query = "select 1"
[sources.events]
kind = "sql"
uri = "postgresql://shop:${SOURCE_PASSWORD}@127.0.0.1:1/shop"
query = "select 1"
[store]
url = "redis://shop:${STORE_PASSWORD}@127.0.0.1:1/0"
[schedule]
deadline = "00:01"
"""


@dataclass(kw_only=True)
class Nights:
    """What Airflow did, and what it was told on the way."""

    airflow: Any
    catalogue: Catalogue
    told: Path
    rolled_back: list[str] = field(default_factory=list)
    backfilled: tuple[int, int] = (0, 0)  # windows of the backfill, and runs of all DAGs that it made

    def runs(self, step: str, project: str = "live") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.airflow.all_of(f"dags/{project}_{step}/dagRuns")
        return found

    def tasks(self, step: str, project: str = "live") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.airflow.all_of(
            f"dags/{project}_{step}/dagRuns/~/taskInstances", order_by="id"
        )
        return found

    def log(self, task: dict[str, Any]) -> str:
        text: str = self.airflow.log_of(task).read_text()
        return text

    def settled(self, days: list[int]) -> None:
        """Waits until these days are in the lake, the lake is told as it is, and all consumers have run behind that."""
        settings = load(self.catalogue.config)
        keys = {self.catalogue.key(day) for day in days}

        def done() -> bool:
            events = self.airflow.all_of("assets/events", order_by="timestamp")
            news = [event for event in events if event["uri"] == "lake://live/news"]
            if self.airflow.active() or not news or not keys <= set(Lake(settings.lake).keys("events")):
                return False
            told = datetime.fromisoformat(news[-1]["timestamp"])
            heard = all(
                any(datetime.fromisoformat(run["queued_at"]) >= told for run in self.runs(step)) for step in CONSUMERS
            )
            return heard and news[-1]["extra"]["lake"] == lake_state(settings).digests

        self.airflow.until(done, f"{', '.join(CONSUMERS)} behind {len(days)} windows")

    def number_of_runs(self) -> int:
        """Of all DAGs of the project."""
        return sum(len(self.runs(step)) for step in ("extract", *CONSUMERS))

    def ended(self, step: str, run_id: str, project: str = "live") -> str:
        """The state in which a run ends."""

        def state() -> str:
            return next(run["state"] for run in self.runs(step, project) if run["dag_run_id"] == run_id)

        self.airflow.until(lambda: state() in ("success", "failed"), f"{run_id} of {step} to end")
        return state()

    def by_hand(self, step: str, conf: dict[str, Any] | None = None) -> str:
        return self.ended(step, self.airflow.trigger(f"live_{step}", conf or {}))


def served(catalogue: Catalogue) -> tuple[str, str]:
    """The version that is served, and the model that it is of."""
    with the_store(load(catalogue.config)) as store:
        version = store.current(VIEW)
        (info,) = [info for info in store.versions(VIEW) if info.version == version]
    return info.version, info.metadata["model_version"]


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """Of both runs: the same threads give the same sums."""
    return {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MLFLOW_DISABLE_TELEMETRY": "true"}


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Catalogue:
    """The nights without Airflow."""
    catalogue = Catalogue(folder=tmp_path_factory.mktemp("clean") / "project", first=today() - timedelta(days=DAYS))
    script = Path(__file__).with_name("clean_run.py")
    command = [sys.executable, str(script), str(catalogue.folder), catalogue.first.isoformat()]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return catalogue


@pytest.fixture(scope="session")
def nights(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str], clean: Catalogue) -> Iterator[Nights]:
    """The nights as Airflow ran them."""
    if datetime.now(UTC) + timedelta(minutes=15) > today() + timedelta(days=1):
        pytest.skip("at midnight another window is the newest one")
    folder = tmp_path_factory.mktemp("live")
    catalogue = Catalogue(folder=folder / "project", first=clean.first)
    told = folder / "told.txt"
    catalogue.begin(NOTIFY.format(path=told))
    (folder / "secret.toml").write_text(SECRET)
    sys.path.insert(0, str(ROOT / "scripts"))
    stack = importlib.import_module("airflow_stack")
    airflow = stack.Airflow(
        lambda *lines: print(*lines, sep="\n  ", flush=True), home=folder / "airflow", name="airflow-test"
    )
    nights = Nights(airflow=airflow, catalogue=catalogue, told=told)
    try:
        airflow.start(
            os.pathsep.join([str(catalogue.config), str(folder / "secret.toml")]),
            ["live", "secret"],
            **environment,
            SOURCE_PASSWORD=SOURCE_PASSWORD,
            STORE_PASSWORD=STORE_PASSWORD,
            # A new scheduler takes over from a killed one after seconds, not minutes.
            AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL="5",
            AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL="60",  # the next run is known by then
        )
        history(nights)
        last_night(nights)
        by_hand(nights)
        yield nights
    finally:
        airflow.stop()
        sys.path.remove(str(ROOT / "scripts"))


def history(nights: Nights) -> None:
    """The first windows, which give a champion, then a backfill whose scheduler is killed."""
    airflow, catalogue = nights.airflow, nights.catalogue
    first, rest = list(range(FORMER_TASTE)), list(range(FORMER_TASTE, DAYS - 1))
    catalogue.arrive(first)
    airflow.backfill("live_extract", catalogue.key(first[0]), catalogue.key(first[-1]))
    nights.settled(first)
    catalogue.arrive(rest)
    before = nights.number_of_runs()
    airflow.backfill("live_extract", catalogue.key(rest[0]), catalogue.key(rest[-1]))

    def landed() -> int:
        return sum(run["state"] == "success" for run in nights.runs("extract")) - len(first)

    airflow.until(lambda: landed() >= KILL_AFTER, f"{KILL_AFTER} windows of the backfill")
    airflow.kill_scheduler()
    assert landed() < len(rest) - 1, "the backfill ended before the scheduler was killed"
    airflow.start_scheduler()
    nights.settled([day for day in rest if day != BROKEN])
    nights.backfilled = len(rest), nights.number_of_runs() - before


def last_night(nights: Nights) -> None:
    """The run that Airflow schedules for the newest window; it failed while there were no rows, and is cleared.

    It finds rows that came late for two windows, and makes training due.
    """
    airflow, catalogue = nights.airflow, nights.catalogue
    assert nights.by_hand("freshness") == "failed"
    catalogue.arrive([DAYS - 1])
    catalogue.arrive_late()
    key = catalogue.key(DAYS - 1)

    def scheduled() -> list[dict[str, Any]]:
        return [run for run in nights.runs("extract") if run["partition_key"] == key]

    airflow.until(lambda: bool(scheduled()), "Airflow to schedule the newest window")
    run_id = scheduled()[0]["dag_run_id"]
    if nights.ended("extract", run_id) == "failed":
        airflow.clear("live_extract", run_id)
        airflow.until(lambda: scheduled()[0]["state"] == "success", "the cleared run to succeed")
    nights.settled([*LATE, DAYS - 1])
    airflow.until(lambda: served(catalogue)[1] == "2", "the scores of the second model")


def by_hand(nights: Nights) -> None:
    """A training on the first days alone, a roll-back and back, the deadline again, and a project out of reach."""
    airflow, catalogue = nights.airflow, nights.catalogue
    cutoff = catalogue.first + timedelta(days=FORMER_TASTE - 1)
    assert nights.by_hand("train", {"cutoff": cutoff.isoformat(), "seed": 11}) == "success"
    assert nights.by_hand("freshness") == "success"
    newest, _ = served(catalogue)
    assert nights.by_hand("rollback") == "success"
    nights.rolled_back = [newest, served(catalogue)[0]]
    assert nights.by_hand("rollback", {"version": newest}) == "success"
    for step in ("extract", "rollback", "freshness"):
        conf = {"from": catalogue.key(0), "to": catalogue.key(1)} if step == "extract" else {}
        airflow.trigger(f"secret_{step}", conf)
        airflow.until(lambda: bool(tried(nights, step)), f"secret_{step} to fail")  # noqa: B023


def tried(nights: Nights, step: str) -> list[dict[str, Any]]:
    return [task for task in nights.tasks(step, "secret") if task["state"] in ("up_for_retry", "failed")]
