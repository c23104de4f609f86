"""Nothing at or after t changes a pool, a history or a feature at t, compared by ids since codes may shift."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_text.lake.clicks import found_clicks, with_clicked
from recsys_text.ranking import transitions
from recsys_text.ranking.affinity import affinity
from recsys_text.ranking.candidates import histories, pools
from recsys_text.ranking.features import assemble, counts
from recsys_text.ranking.log import Log, build_log, impressions_from_frame
from recsys_text.ranking.logged import with_logged
from recsys_text.ranking.neighbours import KINDS, Neighbours, nearest, together
from recsys_text.sections import Candidates
from tests.ranking.test_features import valued

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME: Any = pl.Datetime("us", "UTC")
ITEMS, USERS = "abcde", "tuvwx"
QUARTER = 900_000_000
VECTORS = np.random.default_rng(0).normal(size=(len(ITEMS), 3)).astype(np.float32)
BELONGING = Neighbours(
    item_ids=list(ITEMS),
    weights={
        kind: nearest(np.random.default_rng(n).normal(size=(len(ITEMS), len(ITEMS))).astype(np.float32), 2)
        for n, kind in enumerate(KINDS, start=1)
    },
)
CATEGORIES = dict(zip(ITEMS, ("one", "one", "two", None, "two"), strict=True))
#: So that a sum over all of them rounds, and would tell of what comes later.
VALUES = (None, 0.1, 2.0, 1e12)
Event = tuple[str, str, str, int]

times = st.builds(lambda quarter, micros: quarter * QUARTER + micros, st.integers(1, 120), st.integers(-1, 1))
event_lists = st.lists(
    st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), st.sampled_from(("view", "click", "dislike")), times),
    max_size=30,
)
catalogues = st.lists(st.tuples(times, st.none() | times), min_size=len(ITEMS), max_size=len(ITEMS))


def log_of(items: list[tuple[int, int | None]], events: list[Event]) -> Log:
    known = pl.DataFrame(
        [
            (name, at(known), None, at(expires), CATEGORIES[name])
            for name, (known, expires) in zip(ITEMS, items, strict=True)
        ],
        schema={
            "item_id": pl.String,
            "known_at": TIME,
            "published_at": TIME,
            "expires_at": TIME,
            "category": pl.String,
        },
        orient="row",
    )
    done = valued([(user, item, kind, at(time), VALUES[time % len(VALUES)]) for user, item, kind, time in events])
    return build_log(known, done)


def at(micros: int | None) -> datetime | None:
    return None if micros is None else EPOCH + timedelta(microseconds=micros)


def seen(log: Log, asked: list[int]) -> tuple[list[list[str]], list[list[str]], np.ndarray]:
    """Pools and histories by ids, and the features of every item, for each user at each time."""
    frame = pl.DataFrame(
        {
            "user_id": [user for user in [*USERS, "stranger"] for _ in asked],
            "shown_at": [at(t) for _ in [*USERS, "stranger"] for t in asked],
        },
        schema={"user_id": pl.String, "shown_at": TIME},
    ).with_columns(candidates=pl.lit(list(ITEMS)), impression_id=pl.int_range(pl.len()).cast(pl.String))
    shown = impressions_from_frame(frame, log)
    offsets, item = pools(log, shown.time, shown.user, Candidates(active=timedelta(hours=3), fresh=timedelta(hours=2)))
    pool = [[log.item_ids[code] for code in part] for part in np.split(item, offsets[1:-1])]
    past = [
        [log.item_ids[code] if code >= 0 else "" for code in row] for row in histories(log, shown.user, shown.time, 4)
    ]
    history_NH = histories(log, shown.user, shown.time, 10)
    text = {"interest": np.zeros(len(shown.item), np.float32)} | affinity(log, VECTORS, shown, history_NH)
    text |= together(log, shown, BELONGING)
    return pool, past, assemble(counts(log, shown), text, shown.offsets)


@settings(deadline=None)
@given(catalogues, event_lists, event_lists, times, times, st.sampled_from([1, 2, transitions.NEWEST]))
def test_what_happens_at_or_after_t_changes_nothing_at_t(
    items: list[tuple[int, int | None]], events: list[Event], others: list[Event], t: int, earlier: int, newest: int
) -> None:
    asked = [min(t, earlier), t]
    past = [event for event in events if event[3] < t]
    future = [event for event in others if event[3] >= t] + [(user, item, kind, t) for user, item, kind, _ in others]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transitions, "NEWEST", newest)
        before = seen(log_of(items, events), asked)
        for changed in (past, past + future):
            after = seen(log_of(items, changed), asked)
            assert after[:2] == before[:2]
            np.testing.assert_array_equal(after[2], before[2])


@settings(deadline=None)
@given(
    event_lists,
    st.lists(st.tuples(st.sampled_from(USERS), times, st.sets(st.sampled_from(ITEMS))), min_size=1, max_size=10),
    st.sampled_from([0, 1, QUARTER, 4 * QUARTER]),
)
def test_clicks_at_or_after_t_on_what_was_shown_before_change_nothing_at_t(
    events: list[Event], shown: list[tuple[str, int, set[str]]], within: int
) -> None:
    t = shown[0][1] + within
    # A click at the last moment that counts for what was shown at the first.
    events = [
        *events,
        *((user, item, "click", time + within) for user, time, items in shown for item in sorted(items)[:1]),
    ]
    frame = pl.DataFrame(
        [(f"s{number}", user, at(time), sorted(items)) for number, (user, time, items) in enumerate(shown)],
        schema={"impression_id": pl.String, "user_id": pl.String, "shown_at": TIME, "candidates": pl.List(pl.String)},
        orient="row",
    )
    settle = timedelta(microseconds=within)
    found = []
    for happened in (events, [event for event in events if event[3] < t]):
        done = valued([(user, item, kind, at(time), None) for user, item, kind, time in happened])
        (labelled,) = with_clicked([frame], found_clicks([frame], done, settle))
        log = log_of([(0, None)] * len(ITEMS), happened)
        found.append(seen(with_logged(log, labelled, settle=settle), [t]))
    assert found[0][:2] == found[1][:2]
    np.testing.assert_array_equal(found[0][2], found[1][2])
