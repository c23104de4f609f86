"""Timelines and transitions against a reading of their definition, one event at a time."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_text.ranking import coclick, timeline, transitions
from recsys_text.ranking.features import HISTORY
from recsys_text.ranking.log import HOUR
from recsys_text.ranking.timeline import Times
from tests.ranking.test_features import ITEMS, NOW, USERS, clicks_of, event_lists, everything, histories, log_of

GROUPS = 4
events_of_groups = st.lists(st.tuples(st.integers(0, GROUPS - 1), st.integers(-3, 9)), max_size=30)
asked = st.lists(st.tuples(st.integers(-1, GROUPS - 1), st.integers(-5, 11)), max_size=8)


@given(events_of_groups, asked, st.booleans(), st.integers(1, 4))
def test_a_timeline_counts_what_lies_strictly_before(
    events: list[tuple[int, int]], questions: list[tuple[int, int]], in_order: bool, chunk: int
) -> None:
    events = sorted(events, key=lambda event: event[1]) if in_order else events
    group, time = (np.array([event[column] for event in events], dtype=np.int64) for column in (0, 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timeline, "_CHUNK", chunk)
        found = timeline.timeline(group, time, np.arange(len(events), dtype=np.int32), GROUPS)
    expected = sorted(range(len(events)), key=lambda at: (events[at][0], events[at][1]))
    assert found.value.tolist() == expected
    assert found.times(slice(None)).tolist() == [events[at][1] for at in expected]
    assert np.diff(found.start).tolist() == [sum(g == group for group, _ in events) for g in range(GROUPS)]
    ranked = Times.of(group, found.rank(time), found.clock, GROUPS)
    of_group, before = (np.array([question[column] for question in questions], dtype=np.int64) for column in (0, 1))
    wanted = [sum(g == group and time < t for group, time in events) for g, t in questions]
    for each in (found, ranked):
        assert (each.stop(of_group, each.rank(before)) - each.begin(of_group)).tolist() == wanted


def test_the_clock_of_events_in_order_is_not_copied() -> None:
    time = np.array([1, 2, 2, 5])
    assert timeline.timeline(np.array([1, 0, 1, 0]), time, np.arange(4), 2).clock is time


def after(events: list[tuple[str, str, int]], item: str, time: int, newest: int, window: int) -> list[tuple[str, int]]:
    """What the users of the newest clicks on an item before a time clicked next before it, and when."""
    clicks = [(who, place, done) for who in USERS for place, done in enumerate(clicks_of(events, who))]
    of_item = sorted(
        (done[0], who, place) for who, place, done in clicks if done[1] == item and done[0] < time
    )  # those of one time by user
    found = []
    for _, who, place in of_item[max(0, len(of_item) - newest) :]:
        later = clicks_of(events, who)[place + 1 : place + 1 + window]
        found += [(b, when) for when, b in later if when < time and b != item]
    return sorted(found)


@settings(deadline=None)
@given(event_lists, st.integers(1, 80), st.sampled_from([1, 2, 3, 1000]), st.sampled_from([1, 2, 5]))
def test_transitions_are_what_followed_the_newest_clicks_on_an_item(
    events: list[tuple[str, str, int]], half_hours: int, newest: int, window: int
) -> None:
    log, time = log_of(events), half_hours * HOUR // 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transitions, "NEWEST", newest)
        item_Q = np.arange(-1, len(ITEMS), dtype=np.int32)
        rank_Q = np.full(len(item_Q), log.clicks_of_item.rank(np.array([time]))[0])
        found = log.transitions.after(item_Q, rank_Q, window)
    for question, item in enumerate(item_Q.tolist()):
        mine = found.question == question
        times = log.click_times[found.rank[mine]].tolist()
        said = sorted(zip([ITEMS[b] for b in found.item[mine]], times, strict=True))
        assert said == (after(events, ITEMS[item], time, newest, window) if item >= 0 else [])


@settings(deadline=None)
@given(event_lists, st.integers(1, 9), st.integers(1, 9))
def test_however_many_impressions_are_looked_at_together_the_columns_are_the_same(
    events: list[tuple[str, str, int]], clicks: int, sums: int
) -> None:
    log = log_of(events)
    shown = everything(log, [*USERS, "stranger", "u"], NOW)

    def columns() -> dict[str, Any]:
        history_NH = histories(log, shown.user, shown.time, HISTORY)
        return coclick.coclick(log, shown, history_NH) | coclick.following(log, shown, history_NH[:, -1])

    whole = columns()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coclick, "_CLICKS", clicks)
        patch.setattr(coclick, "_SUMS", sums)
        parts = columns()
    for name, column in whole.items():
        np.testing.assert_array_equal(column, parts[name])
