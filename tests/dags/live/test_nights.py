"""Thirty nights on a real scheduler that is killed in the middle end where a clean run ends."""

import hashlib
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys_text.config import Settings, load
from recsys_text.lake.store import Lake
from recsys_text.steps.inputs import VIEW, bundle_path, the_store, tracker
from tests.dags.live.catalogue import BROKEN, DAYS, FORMER_TASTE, Catalogue
from tests.dags.live.conftest import SOURCE_PASSWORD, STORE_PASSWORD, Nights, served


def files(folder: Path) -> dict[str, str]:
    """The checksum of every file below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def window(catalogue: Catalogue, table: str, key: str) -> dict[str, bytes]:
    """Every file of a window of the lake; manifests name the source, which lies elsewhere in each project."""
    folder = settings(catalogue).lake / table / f"window={key}"
    return {
        str(path.relative_to(folder)): path.read_bytes().replace(str(catalogue.folder).encode(), b"")
        for path in folder.rglob("*")
        if path.is_file()
    }


def settings(catalogue: Catalogue) -> Settings:
    return load(catalogue.config)


def own(nights: Nights) -> list[dict[str, Any]]:
    """The tasks that extract the window of their run."""
    return [task for task in nights.tasks("extract") if task["task_id"] == "extract"]


def test_the_lake_is_that_of_a_clean_run(nights: Nights, clean: Catalogue) -> None:
    keys = [clean.key(day) for day in range(DAYS)]
    for table in ("items", "events"):
        for key in keys:
            live, wanted = (window(one, table, key) for one in (nights.catalogue, clean))
            assert live == wanted, (table, key)
            assert bool(wanted) == ((table, key) != ("events", clean.key(BROKEN)))


def test_the_quality_is_that_of_a_clean_run(nights: Nights, clean: Catalogue) -> None:
    """But for the drift of scores since the model's first version: Airflow published more of them on the way."""
    live, wanted = (
        {
            (metric, part): value
            for metric, part, value in Lake(settings(one).lake)
            .read("quality", [one.key(DAYS - 1)])
            .filter(pl.col("metric") != "score_psi")
            .select("metric", "slice", "value")
            .iter_rows()
        }
        for one in (nights.catalogue, clean)
    )
    # The last bits of a score depend on how many were computed side by side.
    assert live == pytest.approx(wanted, rel=1e-5)
    assert ("ndcg@10", "all") in live


def test_the_champion_is_that_of_a_clean_run(nights: Nights, clean: Catalogue) -> None:
    (live, folder), (wanted, other) = (bundle_path(settings(one), "champion") for one in (nights.catalogue, clean))
    assert live == wanted == "2"
    assert files(folder) == files(other) != {}


def test_what_is_served_is_that_of_a_clean_run(nights: Nights, clean: Catalogue) -> None:
    # The end of a version's name is made of its model's run too, and the two ways are two registries.
    (version, model), (other, same) = served(nights.catalogue), served(clean)
    assert (version.rpartition("-")[0], model) == (other.rpartition("-")[0], same)
    users = [f"u{user:03d}" for user in range(80)]
    rows = []
    for one in (nights.catalogue, clean):
        with the_store(settings(one)) as store:
            rows.append(store.reader(VIEW).get_many(users))
    assert rows[0].equals(rows[1])
    assert rows[0]["item_id"].null_count == 0


def test_the_better_challenger_serves_and_the_worse_one_does_not(nights: Nights) -> None:
    registry = tracker(settings(nights.catalogue))
    assert [registry.version(alias) for alias in ("champion", "challenger")] == ["2", "3"]
    verdicts = {task["dag_run_id"]: task for task in nights.tasks("train") if task["task_id"] == "gate"}
    told = [
        nights.log(task) for task in verdicts.values() if task["state"] in ("success", "skipped") and task["try_number"]
    ]
    assert sum("is champion now" in log for log in told) == 2
    assert (
        sum("Version 3 is refused, the champion stays: challenger's gain over the champion -" in log for log in told)
        == 1
    )


def test_a_backfill_makes_few_runs_beside_its_own(nights: Nights) -> None:
    """Also where a window fails, the scheduler is killed, and Airflow schedules the newest window meanwhile."""
    windows, runs = nights.backfilled
    assert windows <= runs <= windows + 10


def test_events_tell_what_landed(nights: Nights) -> None:
    events = {
        (event["uri"], event["partition_key"]): event["extra"]
        for event in nights.airflow.all_of("assets/events", order_by="timestamp")
        if event["uri"].split("//")[1].startswith("live/")
    }
    key = nights.catalogue.key(FORMER_TASTE)
    assert events["lake://live/events", key] | {"from_rest_api": None} == {
        "windows": [key],
        "rows": 80,
        "rejected": {},
        "duplicates": 0,
        "left": 0,
        "changed": 1,
        "from_rest_api": None,
    }
    last = nights.catalogue.key(DAYS - 1)
    scores = events["store://live/user_scores", last]
    assert scores["version"] == served(nights.catalogue)[0]
    assert scores["rows"] == 80
    assert scores["model_version"] == "2"
    assert {"ndcg@10", "coverage"} <= set(events["lake://live/quality", last])
    champions = [extra for (uri, _), extra in events.items() if uri == "model://live/champion"]
    reasons = {extra["version"]: extra["reason"] for extra in champions}
    assert reasons.keys() == {"1", "2"}
    assert reasons["1"].startswith("there was no champion; gain over the best baseline, ")
    assert "gain over the champion" in reasons["2"]
    assert next(extra["low"] for extra in champions if extra["version"] == "2") > 0


def test_a_broken_contract_is_told_and_not_tried_again(nights: Nights) -> None:
    (run,) = [run for run in nights.runs("extract") if run["partition_key"] == nights.catalogue.key(BROKEN)]
    (task,) = [task for task in own(nights) if task["dag_run_id"] == run["dag_run_id"]]
    assert task["state"] == "failed"
    told = [line for line in nights.told.read_text().splitlines() if nights.catalogue.key(BROKEN) in line]
    assert any(line.startswith("live_extract.extract") and "break the contract" in line for line in told), told


def test_a_missed_deadline_is_told(nights: Nights) -> None:
    told = [line for line in nights.told.read_text().splitlines() if line.startswith("live_freshness.")]
    # By hand, and within some hours of the deadline also by a run that Airflow schedules at once.
    assert len(told) in (1, 2)
    assert all("Scores are late" in line for line in told)


def test_a_roll_back_served_the_version_before(nights: Nights) -> None:
    newest, former = nights.rolled_back
    assert newest == served(nights.catalogue)[0]
    assert former != newest


def test_task_logs_tell_what_happened(nights: Nights) -> None:
    key = nights.catalogue.key(FORMER_TASTE)
    (run,) = [run for run in nights.runs("extract") if run["partition_key"] == key]
    (task,) = [task for task in own(nights) if task["dag_run_id"] == run["dag_run_id"]]
    assert f"events {key}: 80 rows, 0 rejected, 0 duplicates" in nights.log(task)
    commits = [task for task in nights.tasks("publish") if task["task_id"] == "commit" and task["state"] == "success"]
    assert any(
        f"Published {served(nights.catalogue)[0]}: the scores of 80 users" in nights.log(task) for task in commits
    )


def test_no_log_holds_a_secret(nights: Nights) -> None:
    logs = [*(nights.airflow.home / "logs").rglob("*.log"), Path(nights.airflow.record["log"])]
    texts = {path: path.read_text(errors="replace") for path in logs}
    assert sum("secret_" in str(path) for path in texts) >= 3
    for secret in (SOURCE_PASSWORD, SOURCE_PASSWORD.replace("%20", " "), STORE_PASSWORD):
        assert [path for path, text in texts.items() if secret in text] == []


def test_the_scheduler_starts_what_is_ready(nights: Nights, capsys: pytest.CaptureFixture[str]) -> None:
    """States what the scheduler costs: the time from the end of what a task waits for to its own start."""
    waits = sorted(_waits(nights.tasks("publish"), ("begin", "items", "score", "commit")))
    assert waits
    with capsys.disabled():
        print(
            f"\nscheduler overhead: median {waits[len(waits) // 2]:.2f} s, most {waits[-1]:.2f} s of {len(waits)} tasks"
        )


def _waits(tasks: list[dict[str, Any]], order: tuple[str, ...]) -> list[float]:
    runs: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for task in tasks:
        if task["state"] == "success":
            runs.setdefault(task["dag_run_id"], {}).setdefault(task["task_id"], []).append(task)
    found = []
    for steps in runs.values():
        for before, after in pairwise(order):
            if before in steps and after in steps:
                ready = max(datetime.fromisoformat(task["end_date"]) for task in steps[before])
                found += [(datetime.fromisoformat(task["start_date"]) - ready).total_seconds() for task in steps[after]]
    return found
