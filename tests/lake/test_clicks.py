"""Impressions that were logged without clicks, and the events that say which of their items were clicked."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.errors import ConfigError, ContractError
from recsys_text.event_types import EVENT_TYPES, POSITIVE_TYPES
from recsys_text.lake.clicks import found_clicks, with_clicked
from recsys_text.lake.extract import extract_windows
from recsys_text.lake.store import Lake
from recsys_text.sections import Source, Sources
from tests.lake.samples import DAY_1, WINDOWS, file_sources

HOUR = timedelta(hours=1)
EVENTS = {
    "user_id": pl.String,
    "item_id": pl.String,
    "event_type": pl.Enum(EVENT_TYPES),
    "occurred_at": pl.Datetime("us", "UTC"),
}
SHOWN = {
    "impression_id": pl.String,
    "user_id": pl.String,
    "shown_at": pl.Datetime("us", "UTC"),
    "candidates": pl.List(pl.String),
}

Shown = tuple[str, str, datetime, list[str]]
Event = tuple[str, str, str, datetime]


def labels(shown: list[Shown], events: list[Event], within: timedelta, *, frames: int = 1) -> list[list[bool]]:
    frame = pl.DataFrame(shown, schema=SHOWN, orient="row").with_columns(clicked=pl.lit(None, pl.List(pl.Boolean)))
    pieces = [frame[n::frames] for n in range(frames)]
    found = found_clicks(pieces, pl.DataFrame(events, schema=EVENTS, orient="row"), within)
    filled = pl.concat(with_clicked(pieces, found)).sort("impression_id")
    assert filled.drop("clicked").equals(frame.drop("clicked").sort("impression_id"))
    return [list(row) for row in filled["clicked"]]


def by_hand(shown: list[Shown], events: list[Event], within: timedelta) -> list[list[bool]]:
    clicked = set()
    for user, item, kind, time in events:
        saw = [
            (at, name)
            for name, who, at, items in shown
            if who == user and item in items and at <= time <= at + within and kind in POSITIVE_TYPES
        ]
        if saw:
            clicked.add((max(saw)[1], item))
    return [[(name, item) in clicked for item in items] for name, _, _, items in sorted(shown)]


minutes = st.integers(0, 30).map(lambda n: DAY_1 + timedelta(minutes=n))
users, items = st.sampled_from("uvw"), st.sampled_from("abcde")


@given(
    shown=st.lists(st.tuples(users, minutes, st.lists(items, max_size=4)), max_size=8),
    events=st.lists(st.tuples(users, items, st.sampled_from(EVENT_TYPES), minutes), max_size=12),
    within=st.integers(1, 20).map(lambda n: timedelta(minutes=n)),
    frames=st.integers(1, 3),
)
def test_a_click_is_of_the_last_impression_that_showed_the_item_in_time(
    shown: list[Any], events: list[Event], within: timedelta, frames: int
) -> None:
    named = [(f"s{number}", *rest) for number, rest in enumerate(shown)]
    assert labels(named, events, within, frames=frames) == by_hand(named, events, within)


def sources(folder: Path, within: str | None) -> Sources:
    settings = {"kind": "file", "path": str(folder / "shown.parquet"), "clicks_within": within}
    plain = file_sources(folder, folder / "events.parquet")
    return plain.model_copy(update={"impressions": Source.model_validate(settings)})


def write(folder: Path, shown: list[Shown], events: list[Event]) -> None:
    pl.DataFrame(shown, schema=SHOWN, orient="row").write_parquet(folder / "shown.parquet")
    frame = pl.DataFrame(events, schema=EVENTS, orient="row")
    frame.with_columns(pl.col("event_type").cast(pl.String)).write_parquet(folder / "events.parquet")


def test_extraction_labels_a_log_without_clicks_and_late_clicks_with_their_window(tmp_path: Path) -> None:
    end = WINDOWS[0].end
    shown: list[Shown] = [
        ("s1", "u1", DAY_1 + HOUR, ["a", "b"]),
        ("s2", "u2", end - timedelta(minutes=5), ["a", "b"]),
        ("s3", "u3", end + HOUR, ["b"]),
    ]
    write(
        tmp_path,
        shown,
        [
            ("u1", "b", "click", DAY_1 + HOUR + timedelta(minutes=1)),
            ("u1", "a", "view", DAY_1 + HOUR + timedelta(minutes=2)),
            ("u2", "a", "click", end + timedelta(minutes=5)),
        ],
    )
    lake = Lake(tmp_path / "lake")
    extract_windows(lake, sources(tmp_path, "1h"), WINDOWS[:1])
    assert lake.read("impressions").sort("impression_id")["clicked"].to_list() == [[False, True], [False, False]]
    extract_windows(lake, sources(tmp_path, "1h"), WINDOWS[:2])
    found = lake.read("impressions").sort("impression_id")
    assert found["clicked"].to_list() == [[False, True], [True, False], [False]]
    assert found["origin"].cast(pl.String).unique().to_list() == ["logged"]


def test_rows_that_break_the_contract_stay_rejected_for_their_rule(tmp_path: Path) -> None:
    write(
        tmp_path,
        [("s1", "u1", DAY_1, ["a"]), ("s2", "u1", DAY_1, None), ("s3", None, DAY_1, ["a"])],  # type: ignore[list-item]
        [("u1", "a", "click", DAY_1)],
    )
    source = sources(tmp_path, "1h")
    assert source.impressions is not None
    lenient = source.model_copy(update={"impressions": source.impressions.model_copy(update={"max_rejected": 1.0})})
    lake = Lake(tmp_path / "lake")
    extract_windows(lake, lenient, WINDOWS[:1])
    assert lake.read("impressions")["clicked"].to_list() == [[True]]
    rejected = lake.manifest("impressions", WINDOWS[0].key)["rejected"]
    assert {"candidates|nullability", "user_id|nullability"} <= set(rejected)


@pytest.mark.parametrize("runs", [[[0, 1]], [[0], [1], [0]], [[1], [0]], [[0], [0, 1]], [[1], [1], [0]]])
def test_a_click_behind_the_end_of_a_window_is_of_one_impression(tmp_path: Path, runs: list[list[int]]) -> None:
    end = WINDOWS[0].end
    minute = timedelta(minutes=1)
    write(
        tmp_path,
        [
            ("s1", "u1", end - 10 * minute, ["a", "b"]),
            ("s2", "u1", end + 5 * minute, ["a"]),
            ("s3", "u1", end + 30 * minute, ["a", "b"]),
        ],
        [("u1", "a", "click", end + 10 * minute), ("u1", "b", "click", end + 20 * minute)],
    )
    lake = Lake(tmp_path / "lake")
    for run in runs:
        written = extract_windows(lake, sources(tmp_path, "1h"), [WINDOWS[number] for number in run])
        assert list(written["impressions"]) == [WINDOWS[number].key for number in run]
    found = lake.read("impressions").sort("impression_id")
    assert found["clicked"].to_list() == [[False, True], [True], [False, False]]


@pytest.mark.parametrize("settings", [{}, {"columns": {"clicked": "wanted"}}, {"values": {"clicked": "0"}}])
def test_labels_of_the_source_are_not_replaced(tmp_path: Path, settings: dict[str, Any]) -> None:
    write(tmp_path, [("s1", "u1", DAY_1, ["a"])], [("u1", "a", "click", DAY_1)])
    shown = pl.read_parquet(tmp_path / "shown.parquet")
    if not settings:
        shown.with_columns(clicked=pl.lit([True])).write_parquet(tmp_path / "shown.parquet")
    plain = sources(tmp_path, "1h")
    assert plain.impressions is not None
    own = plain.model_copy(update={"impressions": plain.impressions.model_copy(update=settings)})
    with pytest.raises(
        ContractError, match=r"take clicks_within out of sources\.impressions .* or leave the column out"
    ):
        extract_windows(Lake(tmp_path / "lake"), own, WINDOWS[:1])


def test_before_the_first_ranking_was_logged_a_window_is_empty(tmp_path: Path) -> None:
    write(tmp_path, [], [("u1", "a", "click", DAY_1)])
    for path, error in (("log/*.parquet", None), ("log/none.parquet", "no file at"), ("", "is a folder")):
        settings = {"kind": "file", "path": str(tmp_path / path), "clicks_within": "1h"}
        known = sources(tmp_path, "1h").model_copy(update={"impressions": Source.model_validate(settings)})
        lake = Lake(tmp_path / "lake")
        if error is None:
            assert extract_windows(lake, known, WINDOWS[:1])["impressions"][WINDOWS[0].key].rows == 0
            assert lake.read("impressions").is_empty()
        else:
            with pytest.raises(ConfigError, match=error):
                extract_windows(lake, known, WINDOWS[:1])
    unlabelled = Source(kind="file", path=str(tmp_path / "log/*.parquet"))
    with pytest.raises(ConfigError, match="no file at"):
        extract_windows(lake, known.model_copy(update={"impressions": unlabelled}), WINDOWS[:1])


def test_only_impressions_are_labelled() -> None:
    plain = {"kind": "file", "path": "x.parquet"}
    with pytest.raises(ValueError, match=r"clicks_within is of sources\.impressions alone"):
        Sources.model_validate({"items": plain, "events": plain | {"clicks_within": "1h"}})
