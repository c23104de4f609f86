"""An alert is told once for as long as it fires, in whatever order its windows are measured, and how often."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys_text.config import Settings, load
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import DAY, parse_window
from recsys_text.sections import Alert
from recsys_text.steps.alerts import tell_once
from recsys_text.tables import TABLES

GOOD, BAD = 0.5, 0.1


@pytest.fixture
def watched(small_config: Path) -> Settings:
    rule = Alert(metric="ndcg@10", below=0.2, windows=2)
    return load(small_config).model_copy(update={"alerts": {"fell": rule}})


def measure(settings: Settings, day: int, value: float, *slices: str) -> list[str]:
    """The slices that are told once a day was measured: figures as `monitor` writes them, then what its DAG does."""
    rows = [
        {"window": f"2024-05-0{day}", "version": "v", "metric": "ndcg@10", "slice": part, "value": value}
        for part in slices or ("all",)
    ]
    frame = pl.DataFrame(rows, schema=pl.Schema(TABLES["quality"]))
    window = parse_window(f"2024-05-0{day}", DAY)
    Lake(settings.lake).write("quality", window, [frame], source="", max_rejected=0.0, min_rows=0)
    return told(settings)


def told(settings: Settings, *, heard: bool = True) -> list[str]:
    lines: list[str] = []

    def tell(line: str) -> bool:
        lines.append(line)
        return heard

    tell_once(settings, tell)
    assert all("fell fires since" in line for line in lines)
    return [line.split(" of ")[1].split(" is ")[0] for line in lines]


def test_measured_again_or_tried_again_it_is_told_once(watched: Settings) -> None:
    days: list[Any] = [measure(watched, 1, BAD), measure(watched, 2, BAD), measure(watched, 2, BAD), told(watched)]
    assert days == [[], ["all"], [], []]
    assert measure(watched, 3, BAD) == []


def test_a_late_window_that_makes_the_newest_fire_is_told(watched: Settings) -> None:
    assert measure(watched, 1, GOOD) == []
    assert measure(watched, 3, BAD) == []
    assert measure(watched, 2, BAD) == ["all"], "it fires since the window after it"


def test_a_begin_that_moves_is_no_other_alert(watched: Settings) -> None:
    assert [measure(watched, day, value) for day, value in ((1, GOOD), (2, BAD), (3, BAD))] == [[], [], ["all"]]
    assert measure(watched, 1, BAD) == [], "since a window earlier"
    assert measure(watched, 4, BAD) == []
    assert measure(watched, 2, GOOD) == [], "since a window later than the one it was told in"


def test_what_was_over_is_told_again(watched: Settings) -> None:
    for day in (1, 2):
        measure(watched, day, BAD)
    assert measure(watched, 3, GOOD) == measure(watched, 4, GOOD) == measure(watched, 5, BAD) == []
    assert measure(watched, 6, BAD) == ["all"]


def test_an_end_that_is_taken_back_is_no_begin(watched: Settings) -> None:
    for day, value in ((1, BAD), (2, BAD), (3, GOOD), (4, GOOD)):
        measure(watched, day, value)
    assert measure(watched, 4, BAD) == []


def test_each_slice_is_told_by_itself(watched: Settings) -> None:
    measure(watched, 1, BAD, "all", "new_user")
    assert measure(watched, 2, BAD, "all", "new_user") == ["all", "new_user"]
    assert measure(watched, 3, BAD, "all", "new_user") == []


def test_what_nobody_heard_is_told_again(watched: Settings) -> None:
    measure(watched, 1, BAD)
    lake_only = watched.model_copy(update={"alerts": {}})
    measure(lake_only, 2, BAD)
    assert told(watched, heard=False) == told(watched) == ["all"]
    assert told(watched) == []
