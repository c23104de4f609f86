"""Features against a reading of their definition, one pair at a time."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_text.ranking.affinity import affinity
from recsys_text.ranking.candidates import histories
from recsys_text.ranking.coclick import DECAY
from recsys_text.ranking.features import FEATURES, HISTORY, assemble, counts, percentile
from recsys_text.ranking.log import HOUR, Impressions, Log, build_log
from recsys_text.ranking.transitions import WINDOW

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME: Any = pl.Datetime("us", "UTC")
ITEMS, USERS = "abcd", "uv"
NOW = 40 * HOUR
Event = tuple[str, str, int]

half_hours = st.builds(lambda half, micros: half * HOUR // 2 + micros, st.integers(1, 82), st.integers(-1, 1))
event_lists = st.lists(st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), half_hours), max_size=30, unique=True)


def log_of(events: list[Event]) -> Log:
    known = pl.DataFrame(
        {"item_id": list(ITEMS), "known_at": [at(n * HOUR) for n in range(len(ITEMS))]},
        schema={"item_id": pl.String, "known_at": TIME},
    ).with_columns(pl.lit(None, TIME).alias("published_at"), pl.lit(None, TIME).alias("expires_at"))
    done = pl.DataFrame(
        [(user, item, "click", at(time)) for user, item, time in events],
        schema={"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "occurred_at": TIME},
        orient="row",
    )
    return build_log(known, done)


def at(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


def everything(log: Log, users: list[str], time: int) -> Impressions:
    return Impressions(
        user=log.user_codes(pl.Series(users, dtype=pl.String)),
        time=np.full(len(users), time),
        offsets=np.arange(len(users) + 1) * len(ITEMS),
        item=np.tile(np.arange(len(ITEMS), dtype=np.int32), len(users)),
        clicked=np.zeros(len(users) * len(ITEMS), dtype=np.bool_),
    )


def matrix(log: Log, shown: Impressions, interest: np.ndarray) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(size=(len(ITEMS), 3)).astype(np.float32)
    history = histories(log, shown.user, shown.time, HISTORY)
    return assemble(counts(log, shown), {"interest": interest} | affinity(log, vectors, shown, history), shown.offsets)


def transitions(events: list[Event]) -> list[tuple[str, str, int]]:
    found = []
    for user in USERS:
        clicks = sorted((time, item) for who, item, time in events if who == user)
        for later, (time, b) in enumerate(clicks):
            found += [(a, b, time) for _, a in clicks[max(0, later - WINDOW) : later] if a != b]
    return found


@settings(deadline=None)
@given(event_lists)
def test_counts_and_ages_are_what_the_definition_says(events: list[Event]) -> None:
    log = log_of(events)
    columns = counts(log, everything(log, [*USERS, "stranger"], NOW))
    past = [event for event in events if event[2] < NOW]
    pairs = [(user, item) for user in [*USERS, "stranger"] for item in ITEMS]
    spans = {"clicks_30m": 0.5, "clicks_2h": 2, "clicks_6h": 6, "clicks_24h": 24, "clicks_total": math.inf}
    for name, span in spans.items():
        expected = [sum(i == item and NOW - time <= span * HOUR for _, i, time in past) for _, item in pairs]
        assert columns[name].tolist() == expected, name
    clicked = {item: [time for _, i, time in past if i == item] for item in ITEMS}
    active = {user: [time for who, _, time in past if who == user] for user in [*USERS, "stranger"]}
    known = {item: n * HOUR for n, item in enumerate(ITEMS)}
    since = [(NOW - max(clicked[item] or [known[item]])) / HOUR for _, item in pairs]
    idle = [min(NOW - max(active[user] or [-(10**15)]), 720 * HOUR) / HOUR for user, _ in pairs]
    assert columns["age_hours"] == pytest.approx([40 - known[item] / HOUR for _, item in pairs])
    assert columns["since_click_hours"] == pytest.approx(since, rel=1e-6)
    assert columns["user_idle_hours"] == pytest.approx(idle, rel=1e-6)
    assert columns["user_clicks"].tolist() == [len(active[user]) for user, _ in pairs]
    assert columns["hour"].tolist() == [16.0] * len(pairs)


@settings(deadline=None)
@given(event_lists)
def test_coclicks_are_discounted_shares_of_what_followed_the_history(events: list[Event]) -> None:
    log = log_of(events)
    columns = counts(log, everything(log, [*USERS, "stranger"], NOW))
    for name, span in (("6h", 6.0), ("24h", 24.0), ("total", math.inf)):
        moves = [(a, b) for a, b, time in transitions(events) if time < NOW and NOW - time <= span * HOUR]
        expected, last = [], []
        for user in [*USERS, "stranger"]:
            history = [item for _, item in sorted((t, i) for who, i, t in events if who == user and t < NOW)][-HISTORY:]
            for item in ITEMS:
                share = [moves.count((a, item)) / max(sum(first == a for first, _ in moves), 1) for a in history[::-1]]
                expected.append(sum(DECAY**k * part for k, part in enumerate(share)))
                last.append(share[0] if share else 0.0)
        assert columns[f"coclick_{name}"] == pytest.approx(expected, rel=1e-5)
        assert columns[f"coclick_last_{name}"] == pytest.approx(last, rel=1e-5)


ragged = st.lists(st.lists(st.floats(-3, 3, width=32) | st.sampled_from([0.0, -0.0, 1.0]), max_size=6), max_size=6)


@given(ragged)
def test_percentile_is_the_share_of_others_below_with_ties_counting_half(rows: list[list[float]]) -> None:
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    found = percentile(np.array([value for row in rows for value in row], dtype=np.float32), offsets)
    expected = [
        (sum(other < value for other in row) + (row.count(value) - 1) / 2) / (len(row) - 1) if len(row) > 1 else 0.5
        for row in rows
        for value in row
    ]
    assert found == pytest.approx(expected)


@settings(deadline=None)
@given(event_lists)
def test_the_matrix_is_finite_and_no_row_depends_on_another_impression(events: list[Event]) -> None:
    log = log_of(events)
    both, one = everything(log, ["u", "v"], NOW), everything(log, ["v"], NOW)
    whole = matrix(log, both, np.arange(8, dtype=np.float32))
    assert whole.shape == (8, len(FEATURES))
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(whole[4:], matrix(log, one, np.arange(4, 8, dtype=np.float32)))


def test_velocity_is_positive_where_the_last_hours_beat_the_day() -> None:
    late = [("u", "a", NOW - n) for n in range(1, 5)] + [("u", "b", NOW - 20 * HOUR - n) for n in range(24)]
    log = log_of(late)
    shown = everything(log, ["v"], NOW)
    velocity = matrix(log, shown, np.zeros(4, np.float32))[:, FEATURES.index("velocity")]
    assert velocity == pytest.approx([math.log(5 / (4 / 12 + 1)), math.log(1 / 3), 0, 0])
