"""Whether there is anything to learn from, and shop baskets that are no robots."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from recsys_text.evaluation.checks import people, teaching

START = datetime(2024, 5, 1, tzinfo=UTC)


def events(users: list[str], kind: str = "click", times: list[datetime] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": users,
            "item_id": [f"i{number}" for number in range(len(users))],
            "event_type": [kind] * len(users),
            "occurred_at": times or [START] * len(users),
        },
        schema_overrides={"user_id": pl.String, "item_id": pl.String, "occurred_at": pl.Datetime("us", "UTC")},
    )


def test_windows_without_events_tell_where_the_times_are() -> None:
    found = teaching.no_event(events([]), 6, (START, START + timedelta(days=3)))
    assert found.level == "error"
    assert "0 events are in 6 windows; those of the source are from 2024-05-01T00:00Z to 2024-05-04" in found.line
    assert teaching.no_event(events(["a"]), 6, None).level == "ok"


def test_types_of_which_none_is_positive_are_named() -> None:
    found = teaching.nothing_wanted(events(["a", "b"], "view"))
    assert found.level == "error"
    assert found.examples == ("view",)
    assert "sources.events.positive" in found.line
    assert teaching.nothing_wanted(events(["a", "b"], "view"), ("view",)).level == "ok"
    assert teaching.nothing_wanted(events([])).level == "ok"


def test_a_user_with_most_events_is_named() -> None:
    found = teaching.one_user(events(["guest"] * 8 + ["a", "b", "c"]))
    assert (found.level, found.examples) == ("warning", ("guest",))
    assert teaching.one_user(events(["a", "b", "c", "d"])).level == "ok"
    assert teaching.one_user(events(["a", "a", "a"])).level == "ok"


@pytest.mark.parametrize("text", ["NULL", "None", "nan", "\\N", " null "])
def test_texts_like_null_are_told(text: str) -> None:
    assert teaching.null_users(events([text, "a"])).level == "warning"
    assert teaching.null_titles(pl.DataFrame({"title": [text, "a"]})).level == "warning"
    assert teaching.null_titles(pl.DataFrame({"title": ["None of us", "Nan's kitchen"]})).level == "ok"


def rated(days: list[int], *, seconds: float) -> pl.DataFrame:
    """150 clicks of one user on each of these days, so many seconds apart, in a log of nine days."""
    times = [START + timedelta(days=day, hours=9, seconds=seconds * each) for day in days for each in range(150)]
    other = [START + timedelta(days=day) for day in range(9)]
    return events(["many"] * len(times) + ["other"] * len(other), times=times + other)


def test_baskets_on_rare_days_are_no_robots() -> None:
    assert people.inhuman(rated([1, 7], seconds=0), cut=False).count == 0
    assert people.inhuman(rated(list(range(9)), seconds=0), cut=False).count == 9 * 150
    assert people.inhuman(rated([1, 7], seconds=2), cut=False).count == 2 * 150


def test_candidates_that_no_item_has_are_told() -> None:
    shown = pl.DataFrame({"candidates": [["a", "b"], ["b", "c"], []]}, schema={"candidates": pl.List(pl.String)})
    found = teaching.unknown_candidates(shown, pl.DataFrame({"item_id": ["a", "b"]}))
    assert (found.count, found.of, found.level, found.examples) == (1, 4, "warning", ("c",))
    assert teaching.unknown_candidates(shown, pl.DataFrame({"item_id": ["a", "b", "c"]})).level == "ok"
