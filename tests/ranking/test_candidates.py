"""Pools, histories and sampled impressions against a reading of their definition, one candidate at a time."""

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_text.ranking.candidates import (
    histories,
    pool_chunks,
    pool_sizes,
    pools,
    sampled_impressions,
    with_negatives,
)
from recsys_text.ranking.log import Impressions, Log, build_log
from recsys_text.sections import Candidates

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME: Any = pl.Datetime("us", "UTC")
ITEMS, USERS, END = "abcdef", "uvw", 30
Event = tuple[str, str, str, int]
Item = tuple[str, int, int | None]
Absences = dict[str, list[tuple[int, int | None]]]


def at(micros: int) -> datetime:
    return EPOCH + timedelta(microseconds=micros)


def log_of(items: list[Item], events: list[Event], absent: Absences | None = None) -> Log:
    schema = {"item_id": pl.String, "known_at": TIME, "published_at": TIME, "expires_at": TIME}
    rows = [(item, at(known), None, None if expires is None else at(expires)) for item, known, expires in items]
    columns = {"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "occurred_at": TIME}
    done = [(user, item, kind, at(time)) for user, item, kind, time in events]
    catalogue = pl.DataFrame(rows, schema=schema, orient="row")
    if absent is not None:
        spans = [
            [{"start": at(start), "end": None if end is None else at(end)} for start, end in absent[item]] or None
            for item, _, _ in items
        ]
        dtype = pl.List(pl.Struct({"start": TIME, "end": TIME}))
        catalogue = catalogue.with_columns(pl.Series("absent", spans, dtype=dtype))
    return build_log(catalogue, pl.DataFrame(done, schema=columns, orient="row"))


def in_pool(
    items: list[Item], events: list[Event], user: str, t: int, rules: Candidates, absent: Absences | None = None
) -> set[str]:
    pool = set()
    for item, known, expires in items:
        if known > t or (expires is not None and expires <= t):
            continue
        if any(start <= t and (end is None or t < end) for start, end in (absent or {}).get(item, [])):
            continue
        own = [event for event in events if event[1] == item]
        if any(event[0] == user and event[3] < t for event in own):
            continue
        active = any(kind == "click" and t - micros(rules.active) <= time < t for _, _, kind, time in own)
        if rules.pool == "all" or active or t - micros(rules.fresh) <= known < t:
            pool.add(item)
    return pool


def micros(span: timedelta) -> int:
    return span // timedelta(microseconds=1)


catalogues = st.tuples(
    *(st.tuples(st.just(item), st.integers(0, END), st.none() | st.integers(0, END)) for item in ITEMS)
).map(list)
event_lists = st.lists(
    st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), st.sampled_from(("view", "click")), st.integers(0, END)),
    max_size=25,
)


def spans_of(cuts: list[int], forever: bool) -> list[tuple[int, int | None]]:
    """Disjoint spans between sorted cuts, the last perhaps without an end."""
    pairs: list[tuple[int, int | None]] = list(zip(cuts[::2], cuts[1::2], strict=False))
    return [*pairs, (cuts[-1], None)] if forever and len(cuts) % 2 else pairs


absences = st.fixed_dictionaries(
    {
        item: st.builds(spans_of, st.lists(st.integers(0, END), unique=True, max_size=5).map(sorted), st.booleans())
        for item in ITEMS
    }
)
rule_sets = st.builds(
    Candidates,
    pool=st.sampled_from(("alive", "all")),
    active=st.integers(1, 12).map(lambda n: timedelta(microseconds=n)),
    fresh=st.integers(1, 12).map(lambda n: timedelta(microseconds=n)),
)
queries = st.lists(st.tuples(st.sampled_from([*USERS, "stranger"]), st.integers(0, END + 2)), max_size=12)


def coded(log: Log, asked: list[tuple[str, int]]) -> tuple[np.ndarray, np.ndarray]:
    users = log.user_codes(pl.Series([user for user, _ in asked], dtype=pl.String))
    return users, np.array([time for _, time in asked], dtype=np.int64)


def sets(log: Log, offsets: np.ndarray, item: np.ndarray) -> Iterator[list[str]]:
    for low, high in itertools.pairwise(offsets.tolist()):
        yield [log.item_ids[code] for code in item[low:high]]


@settings(deadline=None)
@given(catalogues, event_lists, rule_sets, queries, st.integers(1, 20))
def test_pools_are_what_the_definition_says(
    items: list[Item], events: list[Event], rules: Candidates, asked: list[tuple[str, int]], pairs: int
) -> None:
    log = log_of(items, events)
    users, times = coded(log, asked)
    found = list(sets(log, *pools(log, times, users, rules)))
    assert found == [sorted(in_pool(items, events, user, t, rules)) for user, t in asked]
    chunks = list(pool_chunks(log, times, users, rules, pairs))
    assert [part for part, _, _ in chunks] == [
        slice(low.start, low.stop) for low, _, _ in chunks if low.stop - low.start > 0
    ]
    assert [pool for _, offsets, item in chunks for pool in sets(log, offsets, item)] == found


@settings(deadline=None)
@given(catalogues, event_lists, rule_sets, queries, absences)
def test_what_is_absent_is_in_no_pool_until_it_comes_back(
    items: list[Item], events: list[Event], rules: Candidates, asked: list[tuple[str, int]], absent: Absences
) -> None:
    log = log_of(items, events, absent)
    users, times = coded(log, asked)
    expected = [sorted(in_pool(items, events, user, t, rules, absent)) for user, t in asked]
    assert list(sets(log, *pools(log, times, users, rules))) == expected
    assert pool_sizes(log, times, rules).tolist() == [
        len(in_pool(items, events, "stranger", t, rules, absent)) for _, t in asked
    ]


@settings(deadline=None)
@given(event_lists, queries, st.integers(1, 6))
def test_histories_hold_the_last_clicks_strictly_before(
    events: list[Event], asked: list[tuple[str, int]], length: int
) -> None:
    log = log_of([(item, 0, None) for item in ITEMS], events)
    users, times = coded(log, asked)
    for (user, t), row in zip(asked, histories(log, users, times, length), strict=True):
        mine = [(time, item) for who, item, kind, time in events if (who, kind) == (user, "click") and time < t]
        clicks = sorted(mine, key=lambda click: (click[0], log.neutral[log.item_ids.index(click[1])]))
        assert [log.item_ids[code] for code in row if code >= 0] == [item for _, item in clicks][-length:]
        assert row[-1] >= 0 or not clicks
        assert len(row) == length


@settings(deadline=None)
@given(catalogues, event_lists, rule_sets, st.tuples(st.integers(0, END), st.integers(0, END)))
def test_sampled_impressions_rank_clicks_in_their_pools_and_count_the_others(
    items: list[Item], events: list[Event], rules: Candidates, span: tuple[int, int]
) -> None:
    log, (start, end) = log_of(items, events), span
    found, dropped = sampled_impressions(log, at(start), at(end), rules, max_impressions=1000, seed=1)
    clicks = {(time, user, item) for user, item, kind, time in events if kind == "click" and start <= time < end}
    pooled = [(*click, sorted(in_pool(items, events, click[1], click[0], rules))) for click in sorted(clicks)]
    kept = [ranked for ranked in pooled if ranked[2] in ranked[3]]
    assert described(log, found) == kept
    assert dropped == len(clicks) - len(kept)


@settings(deadline=None)
@given(catalogues, event_lists, st.integers(1, 8), st.integers(0, 4))
def test_a_sample_is_part_of_the_whole_and_the_same_again(
    items: list[Item], events: list[Event], most: int, negatives: int
) -> None:
    log, rules = log_of(items, events), Candidates(pool="all")
    whole, dropped = sampled_impressions(log, at(0), at(END), rules, max_impressions=1000, seed=1)
    few, still = sampled_impressions(log, at(0), at(END), rules, max_impressions=most, seed=1)
    again, _ = sampled_impressions(log, at(0), at(END), rules, max_impressions=most, seed=1)
    assert still == dropped
    assert len(few) == min(most, len(whole))
    assert described(log, few) == described(log, again)
    assert all(ranked in described(log, whole) for ranked in described(log, few))

    thin, _ = sampled_impressions(log, at(0), at(END), rules, max_impressions=1000, seed=1, negatives=negatives)
    for full, part in zip(described(log, whole), described(log, thin), strict=True):
        assert full[:3] == part[:3]
        assert set(part[3]) <= set(full[3])
        assert len(part[3]) == min(len(full[3]), negatives + 1)


def described(log: Log, impressions: Impressions) -> list[tuple[int, str, str, list[str]]]:
    lists = sets(log, impressions.offsets, impressions.item)
    (clicked,) = impressions.item[impressions.clicked].reshape(1, -1)
    return [
        (int(t), log.user_ids[user], log.item_ids[item], pool)
        for t, user, item, pool in zip(impressions.time, impressions.user, clicked, lists, strict=True)
    ]


def test_a_click_on_an_unknown_or_consumed_item_is_dropped() -> None:
    events = [("u", "a", "view", 5), ("u", "a", "click", 6), ("u", "b", "click", 7), ("v", "c", "click", 8)]
    log = log_of([("a", 0, None), ("b", 9, None), ("c", 2, None)], events)
    rules = Candidates(active=timedelta(microseconds=10), fresh=timedelta(microseconds=10))
    impressions, dropped = sampled_impressions(log, at(0), at(10), rules, max_impressions=10, seed=0)
    assert dropped == 2
    assert described(log, impressions) == [(8, "v", "c", ["a", "c"])]


def test_negatives_are_drawn_evenly() -> None:
    size, rounds = 6, 4000
    many = Impressions(
        user=np.zeros(rounds, np.int32),
        time=np.zeros(rounds, np.int64),
        offsets=np.arange(rounds + 1) * size,
        item=np.tile(np.arange(size, dtype=np.int32), rounds),
        clicked=np.tile(np.arange(size) == 2, rounds),
    )
    drawn = with_negatives(many, 2, seed=3)
    assert np.diff(drawn.offsets).tolist() == [3] * rounds
    assert (drawn.item[drawn.clicked] == 2).all()
    share = np.bincount(drawn.item[~drawn.clicked], minlength=size) / rounds
    assert share == pytest.approx([0.4, 0.4, 0, 0.4, 0.4, 0.4], abs=0.04)
