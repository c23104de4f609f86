from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.ranking.candidates import pools
from recsys_text.ranking.log import Log, build_log
from recsys_text.ranking.window_impressions import window_impressions
from recsys_text.sections import Candidates

START = datetime(2024, 1, 1, tzinfo=UTC)
TIME: Any = pl.Datetime("us", "UTC")
ITEMS, USERS = "abcdef", "uvwxyz"
ALL = Candidates(pool="all")
Event = tuple[str, str, str, float]


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def micros(hours: float) -> int:
    return int(at(hours).timestamp() * 1e6)


def log_of(events: list[Event], known: float = 0) -> Log:
    items = pl.DataFrame({"item_id": list(ITEMS)}).with_columns(
        known_at=pl.lit(at(known), TIME), published_at=pl.lit(at(known), TIME), expires_at=pl.lit(None, TIME)
    )
    schema = {"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "occurred_at": TIME}
    rows = [(user, item, kind, at(hours)) for user, item, kind, hours in events]
    return build_log(items, pl.DataFrame(rows, schema=schema, orient="row"))


def windows(*hours: tuple[float, float]) -> list[tuple[datetime, datetime]]:
    return [(at(start), at(end)) for start, end in hours]


def read(log: Log, events: list[Event], *spans: tuple[float, float], most: int = 100, **options: Any) -> Any:
    """(user, hour, candidates, clicked) of each impression by names, and the clicks left out."""
    shown, dropped = window_impressions(log, windows(*spans), ALL, max_impressions=most, seed=1, **options)
    found = []
    for n in range(len(shown)):
        part = slice(shown.offsets[n], shown.offsets[n + 1])
        items = np.array(list(ITEMS))[shown.item[part]]
        hour = (shown.time[n] - micros(0)) / 3.6e9
        found.append((log.user_ids[shown.user[n]], hour, "".join(items), "".join(items[shown.clicked[part]])))
    return found, dropped


def test_what_a_user_clicks_in_the_window_is_ranked_together_at_its_start() -> None:
    events = [
        ("u", "a", "click", 1),  # before: no candidate any more
        ("u", "b", "click", 24),  # at the start: in the window
        ("u", "d", "click", 30),
        ("u", "d", "click", 31),  # again: counts once
        ("u", "e", "view", 32),  # a view is no click
        ("u", "c", "click", 48),  # at the end: the next window
        ("v", "a", "click", 25),
        ("w", "a", "view", 25),  # clicks nothing
    ]
    log = log_of(events)
    found, dropped = read(log, events, (24, 48))
    assert found == [("u", 24, "bcdef", "bd"), ("v", 24, "abcdef", "a")]
    assert dropped == 0


def test_each_window_has_impressions_of_its_own() -> None:
    events = [("u", "a", "click", 1), ("u", "b", "click", 25), ("v", "c", "click", 2)]
    found, _ = read(log_of(events), events, (0, 24), (24, 48))
    assert found == [("u", 0, "abcdef", "a"), ("v", 0, "abcdef", "c"), ("u", 24, "bcdef", "b")]


def test_clicks_outside_the_pool_are_left_out_and_counted() -> None:
    # u clicks again what u knows; v clicks what becomes known within the window.
    events = [("u", "a", "click", 1), ("u", "a", "click", 25), ("u", "b", "click", 26)]
    assert read(log_of(events), events, (24, 48)) == ([("u", 24, "bcdef", "b")], 1)
    again = [("u", "a", "click", 1), ("u", "a", "click", 25)]
    assert read(log_of(again), again, (24, 48)) == ([], 1)
    late = [("v", "a", "click", 26), ("v", "b", "click", 27)]
    assert read(log_of(late, known=25), late, (24, 48)) == ([], 2)


def test_users_are_drawn_with_all_their_windows() -> None:
    events = [(user, item, "click", hour) for user in USERS for item, hour in (("a", 1.0), ("b", 25.0), ("c", 49.0))]
    log = log_of(events)
    spans = ((0, 24), (24, 48), (48, 72))
    everyone, _ = read(log, events, *spans)
    assert len(everyone) == 18
    some, _ = read(log, events, *spans, most=6)
    assert len(some) == 6
    assert len({user for user, *_ in some}) == 2
    assert [row for row in everyone if row in some] == some
    assert len(read(log, events, *spans, most=2)[0]) == 2


def test_few_others_beside_the_clicks() -> None:
    events = [("u", "a", "click", 1), ("u", "b", "click", 2), ("v", "c", "click", 3)]
    found, _ = read(log_of(events), events, (0, 24), negatives=2)
    assert [(user, clicked, len(shown)) for user, _, shown, clicked in found] == [("u", "ab", 4), ("v", "c", 3)]


def test_a_window_without_clicks() -> None:
    assert read(log_of([]), [], (0, 24)) == ([], 0)
    events = [("u", "a", "click", 1.0)]
    assert read(log_of(events), events, (24, 48)) == ([], 0)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(USERS), st.sampled_from(ITEMS), st.sampled_from(("view", "click")), st.integers(0, 71)
        ),
        max_size=30,
    )
)
def test_candidates_are_the_pool_at_the_start_and_later_events_only_label(events: list[Event]) -> None:
    log = log_of(events)
    alive = Candidates(active=timedelta(hours=12), fresh=timedelta(hours=30))
    shown, dropped = window_impressions(log, windows((24, 48)), alive, max_impressions=100, seed=1)
    offsets, item = pools(log, shown.time, shown.user, alive)
    np.testing.assert_array_equal(offsets, shown.offsets)
    np.testing.assert_array_equal(item, shown.item)
    wanted = {(u, i) for u, i, kind, hour in events if kind == "click" and 24 <= hour < 48}
    found = {
        (log.user_ids[shown.user[n]], log.item_ids[i])
        for n, i in zip(shown.row[shown.clicked], shown.item[shown.clicked], strict=True)
    }
    assert found <= wanted
    assert len(wanted) == len(found) + dropped
    assert np.bincount(shown.row[shown.clicked], minlength=len(shown)).all()


def test_who_is_drawn_is_no_matter_of_who_comes_later() -> None:
    events: list[Event] = [(user, "a", "click", 25) for user in USERS]
    later: list[Event] = [(user, "b", "click", 60) for user in "abcdefghijklmn"]
    drawn = read(log_of(events), events, (24, 48), most=3)
    assert len(drawn[0]) == 3
    assert read(log_of(events + later), events, (24, 48), most=3) == drawn
