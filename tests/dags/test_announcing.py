"""Who tells that the lake has news: the last of a backfill, any other run at once, and nobody the same twice."""

from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from recsys_text.config import load
from recsys_text.lake.windows import DAY, windows_between
from recsys_text.provider.announcing import announce
from recsys_text.provider.projects import Project
from recsys_text.steps.extract import extract
from tests.conftest import START, write_small_project


class Events:
    """The former events of an asset, the newest first."""

    def __init__(self, extras: list[dict[str, Any]]) -> None:
        self.events = [SimpleNamespace(extra=extra) for extra in reversed(extras)]

    def ascending(self, ascending: bool) -> "Events":
        assert not ascending
        return self

    def limit(self, count: int) -> list[SimpleNamespace]:
        return self.events[:count]


class Told:
    """The news of a project so far, and what other runs of its DAG are about."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.extras: list[dict[str, Any]] = []

    def bring(self, days: int) -> None:
        extract(self.project.settings, windows_between(START, START + days * DAY, DAY))

    def tell(self, run_type: str, *, queued: int = 0, working: int = 0) -> str:
        """The window that is announced. `queued` runs wait, and `working` tasks of others bring windows."""
        out: dict[Any, Any] = defaultdict(lambda: SimpleNamespace(partitions=[], extra={}))
        event = out[self.project.news]
        event.add_partitions = event.partitions.append
        ti = SimpleNamespace(get_dr_count=lambda **_: queued, get_ti_count=lambda **_: working)
        context = {
            "ti": ti,
            "dag": SimpleNamespace(dag_id="small_extract"),
            "dag_run": SimpleNamespace(run_type=run_type),
            "inlet_events": {self.project.news: Events(self.extras)},
            "outlet_events": out,
        }
        key = announce(self.project, context, ["extract", "late"])
        assert event.partitions == [key]
        self.extras.append(event.extra)
        return key


@pytest.fixture
def told(tmp_path: Path) -> Told:
    path = write_small_project(tmp_path)
    return Told(Project(path=path, settings=load(path)))


@pytest.mark.parametrize("others", [{"queued": 1}, {"working": 2}])
@pytest.mark.parametrize("run_type", ["backfill", "scheduled", "manual"])
def test_before_the_first_news_all_wait_for_the_others(told: Told, run_type: str, others: dict[str, int]) -> None:
    told.bring(2)
    with pytest.raises(AirflowSkipException, match="the last one is announced for all"):
        told.tell(run_type, **others)
    assert told.tell(run_type) == "2024-05-02"


@pytest.mark.parametrize("run_type", ["scheduled", "manual"])
def test_then_a_night_does_not_wait_for_a_backfill(told: Told, run_type: str) -> None:
    told.bring(2)
    told.tell("backfill")
    told.bring(3)
    with pytest.raises(AirflowSkipException, match="still being extracted"):
        told.tell("backfill", queued=30)
    assert told.tell(run_type, queued=30, working=2) == "2024-05-03"


def test_what_was_told_is_not_told_again_and_what_was_left_to_a_run_that_never_came_is(told: Told) -> None:
    told.bring(2)
    told.tell("scheduled")
    with pytest.raises(AirflowSkipException, match="what it was when it was last announced"):
        told.tell("scheduled")
    told.bring(3)
    with pytest.raises(AirflowSkipException):
        told.tell("backfill", queued=1)  # somebody cancels that one
    assert told.tell("scheduled") == "2024-05-03"


def test_an_empty_lake_is_no_news(told: Told) -> None:
    with pytest.raises(AirflowSkipException, match="no window yet"):
        told.tell("scheduled")
