"""Copies of windows are told from what users and players repeat by themselves, by clocks of any step."""

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_text.evaluation.checks import people
from tests.evaluation.checks.frames import START, honest

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SECOND, MINUTE, QUARTER = 1, 60, 900


def returning(each: int, clock: float, *, hours: float = 24, users: int = 200) -> pl.DataFrame:
    """Two weeks of users with ten items each, in the first of so many hours of every day, by a clock of such steps."""
    random = np.random.default_rng(4)
    user = np.repeat(np.arange(users), each)
    seconds = random.integers(0, 14, len(user)) * 86400 + random.uniform(0, hours * 3600, len(user))
    return log(user, random.integers(0, 10, len(user)), seconds // clock * clock)


def log(user: Any, item: Any, seconds: Any) -> pl.DataFrame:
    times = (seconds * 1e6).astype("int64") + int(START.timestamp() * 1e6)
    return pl.DataFrame(
        {
            "user_id": pl.Series(user).cast(pl.String),
            "item_id": pl.Series(item).cast(pl.String),
            "event_type": "click",
            "occurred_at": pl.Series(times).cast(pl.Datetime("us", "UTC")),
        }
    ).unique(maintain_order=True)


def player(every: float, clock: float) -> pl.DataFrame:
    """What a player writes while a user watches for two hours, on ten days."""
    random = np.random.default_rng(5)
    begin = (np.arange(10)[None] * 86400 + random.uniform(0, 70_000, (50, 10)))[..., None]
    seconds = begin + np.arange(0, 7200, every)
    user = np.broadcast_to(np.arange(50)[:, None, None], seconds.shape)
    return log(user.ravel(), user.ravel() % 7, (seconds // clock * clock).ravel())


def part(events: pl.DataFrame, start: float, length: timedelta, *, of: float = 1) -> pl.DataFrame:
    """A share of the events of the window that starts so many hours after START."""
    begin = START + start * HOUR
    inside = events.filter(pl.col("occurred_at").is_between(begin, begin + length, closed="left"))
    return inside.sample(fraction=of, seed=1)


@pytest.mark.parametrize("length", [HOUR, DAY])
@pytest.mark.parametrize("each", [20, 60, 200])
@pytest.mark.parametrize("clock", [SECOND, 30, MINUTE, 2 * MINUTE, 4 * MINUTE, 7 * MINUTE, QUARTER])
@pytest.mark.parametrize("hours", [24, 2])
def test_who_comes_back_to_an_item_is_no_copy(length: timedelta, each: int, clock: float, hours: float) -> None:
    assert people.copied(returning(each, clock, hours=hours), length).level == "ok"


@pytest.mark.parametrize("length", [HOUR, DAY])
@pytest.mark.parametrize("each", [200, 20])
def test_clocks_of_two_kinds_in_one_log_are_no_copy(length: timedelta, each: int) -> None:
    apps = returning(each, SECOND).with_columns(pl.concat_str(pl.lit("app"), "user_id").alias("user_id"))
    assert people.copied(pl.concat([apps, returning(each, MINUTE)]), length).level == "ok"


@pytest.mark.parametrize("length", [HOUR, DAY])
@pytest.mark.parametrize("every", [30, 60, 300, 600])
@pytest.mark.parametrize("clock", [SECOND, MINUTE])
def test_what_a_player_writes_is_no_copy(length: timedelta, every: float, clock: float) -> None:
    assert people.copied(player(every, clock), length).level == "ok"


@pytest.mark.parametrize("clock", [0.001, SECOND, MINUTE])
@pytest.mark.parametrize("each", [20, 60, 200])
@pytest.mark.parametrize("shift", [1, 7])
def test_a_copied_day_is_found(clock: float, each: int, shift: int) -> None:
    own = returning(each, clock)
    copy = part(own, 72, DAY).with_columns(pl.col("occurred_at") + shift * DAY)
    found = people.copied(pl.concat([own, copy]), DAY)
    assert found.level == "error", found
    assert 0.7 * len(copy) < found.count <= 1.1 * len(copy)


@pytest.mark.parametrize("clock", [SECOND, MINUTE])
def test_a_part_of_a_day_is_found(clock: float) -> None:
    own = returning(60, clock)
    copy = part(own, 72, DAY, of=0.3).with_columns(pl.col("occurred_at") + DAY)
    assert people.copied(pl.concat([own, copy]), DAY).level == "error"


@pytest.mark.parametrize("clock", [SECOND, MINUTE])
def test_a_copied_hour_of_two_weeks_is_told(clock: float) -> None:
    own = returning(200, clock)
    copy = part(own, 72, HOUR).with_columns(pl.col("occurred_at") + 3 * HOUR)
    assert people.copied(pl.concat([own, copy]), HOUR).level == "warning"


@pytest.mark.parametrize("clock", [SECOND, MINUTE])
def test_one_day_over_and_over_is_found(clock: float) -> None:
    day = honest(hours=24).with_columns(pl.col("occurred_at").dt.truncate(f"{clock}s"))
    days = pl.concat([day.with_columns(pl.col("occurred_at") + number * DAY) for number in range(10)])
    found = people.copied(days, DAY)
    assert found.level == "error"
    assert found.share > 0.6
    assert found.examples
