"""Features against a reading of their definition, one pair at a time."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from recsys_text.ranking.affinity import affinity
from recsys_text.ranking.candidates import histories
from recsys_text.ranking.coclick import DECAY
from recsys_text.ranking.features import FEATURES, HISTORY, INTEREST_FEATURES, assemble, counts, percentile
from recsys_text.ranking.log import HOUR, Impressions, Log, build_log
from recsys_text.ranking.neighbours import KINDS, Neighbours, nearest, together
from recsys_text.ranking.states import PAUSE
from recsys_text.ranking.transitions import WINDOW

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME: Any = pl.Datetime("us", "UTC")
ITEMS, USERS = "abcd", "uv"
NOW = 40 * HOUR
Event = tuple[str, str, int]

half_hours = st.builds(lambda half, micros: half * HOUR // 2 + micros, st.integers(1, 82), st.integers(-1, 1))
event_lists = st.lists(st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), half_hours), max_size=30, unique=True)


BELONGING = Neighbours(
    item_ids=list(ITEMS),
    weights={
        kind: nearest(np.random.default_rng(n).normal(size=(len(ITEMS), len(ITEMS))).astype(np.float32), 2)
        for n, kind in enumerate(KINDS, start=1)
    },
)


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


def valued(rows: Iterable[tuple[str, str, str, datetime | None, float | None]]) -> pl.DataFrame:
    """Events: user, item, type, time, value."""
    schema: Any = {"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "occurred_at": TIME}
    return pl.DataFrame(list(rows), schema=schema | {"value": pl.Float64}, orient="row")


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


def matrix(log: Log, shown: Impressions, interest: np.ndarray, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(len(ITEMS), 3)).astype(np.float32)
    history = histories(log, shown.user, shown.time, HISTORY)
    said = {"interest": interest} | affinity(log, vectors, shown, history) | together(log, shown, BELONGING)
    return assemble(counts(log, shown), said, shown.offsets)


def clicks_of(events: list[Event], user: str) -> list[tuple[int, str]]:
    """The clicks of a user in the order of time; those of one time in an order that the names do not tell."""
    turn = log_of([]).neutral
    mine = [(time, item) for who, item, time in events if who == user]
    return sorted(mine, key=lambda click: (click[0], turn[ITEMS.index(click[1])]))


def transitions(events: list[Event]) -> list[tuple[str, str, int]]:
    found = []
    for user in USERS:
        clicks = clicks_of(events, user)
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
    spans = {
        "clicks_30m": 0.5,
        "clicks_2h": 2,
        "clicks_6h": 6,
        "clicks_24h": 24,
        "clicks_7d": 168,
        "clicks_total": math.inf,
    }
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
    since_first = [(NOW - min(clicked[item] or [known[item]])) / HOUR for _, item in pairs]
    assert columns["since_first_click_hours"] == pytest.approx(since_first, rel=1e-6)
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
            history = [item for time, item in clicks_of(events, user) if time < NOW][-HISTORY:]
            for item in ITEMS:
                share = [moves.count((a, item)) / max(sum(first == a for first, _ in moves), 1) for a in history[::-1]]
                expected.append(sum(DECAY**k * part for k, part in enumerate(share)))
                last.append(share[0] if share else 0.0)
        assert columns[f"coclick_{name}"] == pytest.approx(expected, rel=1e-5)
        assert columns[f"coclick_last_{name}"] == pytest.approx(last, rel=1e-5)


@settings(deadline=None)
@given(event_lists)
def test_next_clicks_are_shrunk_shares_of_where_the_newest_click_led(events: list[Event]) -> None:
    log = log_of(events)
    columns = counts(log, everything(log, [*USERS, "stranger"], NOW))
    own = {user: clicks_of(events, user) for user in USERS}
    moves = [(a, b, t) for clicks in own.values() for (_, a), (t, b) in itertools.pairwise(clicks) if a != b]
    for name, span in (("2h", 2.0), ("24h", 24.0), ("total", math.inf)):
        past = [(a, b) for a, b, time in moves if time < NOW and NOW - time <= span * HOUR]
        number, share = [], []
        for user in [*USERS, "stranger"]:
            newest = ([item for time, item in own.get(user, []) if time < NOW] or [""])[-1]
            number += [past.count((newest, item)) for item in ITEMS]
            share += [past.count((newest, item)) / (sum(a == newest for a, _ in past) + 3) for item in ITEMS]
        assert columns[f"next_{name}"].tolist() == number
        assert columns[f"next_share_{name}"] == pytest.approx(share)


@settings(deadline=None)
@given(event_lists)
def test_clicks_of_users_alike_are_those_who_arrived_or_read_on_as_this_user_does(events: list[Event]) -> None:
    log = log_of(events)
    columns = counts(log, everything(log, [*USERS, "stranger"], NOW))

    def arrives(user: str, time: int) -> bool:
        return not any(who == user and 0 < time - t <= PAUSE for who, _, t in events)

    # Where a user clicks twice at one time, which click arrived is not for the definition to say.
    assume(len({(user, time) for user, _, time in events}) == len(events))
    for name, span in (("alike_2h", 2), ("alike_24h", 24)):
        expected = [
            sum(
                item == candidate and 0 < NOW - time <= span * HOUR and arrives(who, time) == arrives(user, NOW)
                for who, item, time in events
            )
            for user in [*USERS, "stranger"]
            for candidate in ITEMS
        ]
        assert columns[name].tolist() == expected


def test_tastes_are_means_of_what_the_clicks_were_like_when_they_came() -> None:
    # b is known for 9, then 10 hours; of the two clicks on it within the two hours before the second, one is another's.
    log = log_of([("u", "b", 10 * HOUR), ("v", "b", 10 * HOUR + 1), ("u", "b", 11 * HOUR), ("v", "a", NOW)])
    columns = counts(log, everything(log, ["u", "stranger"], NOW))
    assert columns["taste_age"] == pytest.approx([(math.log(10) + math.log(11)) / 2] * 4 + [0] * 4)
    assert columns["taste_clicks"] == pytest.approx([(0 + math.log(3)) / 2] * 4 + [0] * 4)


def test_click_rates_are_shrunk_to_what_is_usual_and_know_nothing_of_the_present() -> None:
    log = log_of([])
    shown = Impressions(
        user=np.full(4, -1, np.int32),
        time=np.array([NOW - 30 * HOUR, NOW - HOUR, NOW - 1, NOW]),
        offsets=np.array([0, 2, 4, 5, 9]),
        item=np.array([0, 1, 0, 1, 0, 0, 1, 2, 3], np.int32),
        clicked=np.array([1, 0, 0, 0, 1, 1, 1, 1, 1], np.bool_),
    )
    columns = counts(replace(log, logged=shown), everything(log, ["v"], NOW))
    # Five were shown before now, of which two were clicked: the usual rate is .4 and weighs as twenty.
    assert columns["click_rate"] == pytest.approx([(2 + 8) / 23, 8 / 22, 0.4, 0.4])
    assert columns["click_rate_24h"] == pytest.approx([(1 + 8) / 22, 8 / 21, 0.4, 0.4])
    assert counts(log, everything(log, ["v"], NOW))["click_rate"].tolist() == [0] * 4


def test_shares_are_of_the_impression() -> None:
    log = log_of([("u", "a", NOW - n) for n in range(1, 6)] + [("u", "b", NOW - 1)])
    share = matrix(log, everything(log, ["v"], NOW), np.zeros(4, np.float32))[:, FEATURES.index("clicks_2h_share")]
    assert share == pytest.approx(np.log([5.1 / 11, 1.1 / 11, 0.1 / 11, 0.1 / 11]), rel=1e-5)


def test_the_columns_of_texts_are_those_that_change_with_the_vectors() -> None:
    log = log_of([("u", "a", NOW - 1), ("v", "b", NOW - 2), ("v", "c", NOW - 3), ("v", "d", NOW - 4)])
    log = replace(log, disliked=log.item == 3)
    shown = everything(log, ["u", "v"], NOW)
    one, other = matrix(log, shown, np.arange(8, dtype=np.float32)), matrix(log, shown, -np.arange(8), seed=1)
    changed = [name for name, a, b in zip(FEATURES, one.T, other.T, strict=True) if not np.array_equal(a, b)]
    assert set(changed) == set(INTEREST_FEATURES)


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


@pytest.mark.parametrize("sizes", [[3, 70_000, 2, 1, 0, 5], [0] * 70_000 + [4, 2], [2_000] * 70, [1] * 70_000])
def test_percentile_holds_however_many_pairs_an_impression_or_a_block_has(sizes: list[int]) -> None:
    values = np.random.default_rng(0).integers(-50, 50, sum(sizes)).astype(np.float32)
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    found = percentile(values, offsets)
    expected = [
        (rankdata(row) - 1) / (len(row) - 1) if len(row) > 1 else np.full(len(row), 0.5)
        for row in np.split(values, offsets[1:-1])
    ]
    np.testing.assert_allclose(found, np.concatenate(expected), rtol=1e-6)


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
