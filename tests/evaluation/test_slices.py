from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.evaluation.slices import slices
from recsys_text.ranking.log import Impressions, build_log

START = datetime(2024, 1, 1, tzinfo=UTC)
ITEMS = "abcdefgh"


def at(hours):
    return int((START + timedelta(hours=hours)).timestamp() * 1e6)


def log_of(events):
    items = pl.DataFrame({"item_id": list(ITEMS), "known_at": [START] * len(ITEMS)}).with_columns(
        published_at="known_at", expires_at=pl.lit(None, pl.Datetime("us", "UTC"))
    )
    rows = [(user, item, kind, START + timedelta(hours=hours)) for user, item, kind, hours in events]
    schema = {
        "user_id": pl.String,
        "item_id": pl.String,
        "event_type": pl.String,
        "occurred_at": pl.Datetime("us", "UTC"),
    }
    return build_log(items, pl.DataFrame(rows, schema=schema, orient="row"))


def shown(users, hours, clicked):
    """Every item is a candidate of each impression; `clicked` are the letters of those clicked."""
    return Impressions(
        user=np.array(users, np.int32),
        time=np.array([at(hour) for hour in hours]),
        offsets=np.arange(len(users) + 1) * len(ITEMS),
        item=np.tile(np.arange(len(ITEMS), dtype=np.int32), len(users)),
        clicked=np.array([item in letters for letters in clicked for item in ITEMS]),
    )


def names(found, place):
    return {name for name, chosen in found.items() if chosen[place]} - {"all"}


def test_new_is_what_nobody_had_done_before_the_cutoff():
    log = log_of([("u", "a", "click", 1), ("v", "b", "view", 1), ("v", "b", "click", 2)])
    found = slices(log, shown([0, 1, -1, 1], [1, 2, 2, 3], "abab"), [None] * 8, cutoff=at(2))
    assert found["all"].tolist() == [True] * 4
    assert found["new_item"].tolist() == [False, True, False, True]
    assert found["new_user"].tolist() == [False, True, True, True]


def test_a_user_without_history_and_one_with_one_click():
    # A view is no click, and a click at the time of the impression is not before it.
    log = log_of([("u", "a", "view", 1), ("u", "a", "click", 2), ("u", "b", "click", 3)])
    found = slices(log, shown([0, 0, 0, 0, -1], [1.5, 2, 2.5, 3, 9], "aaabb"), [None] * 8, cutoff=at(0))
    assert found["no_history"].tolist() == [True, True, False, False, True]
    assert found["one_click"].tolist() == [False, False, True, True, False]


def test_an_item_never_clicked_and_one_with_few_clicks():
    # The cutoff lies before it all: new_item is as of the training, never_clicked as of the impression.
    events = [("u", "a", "click", hours) for hours in (1, 2, 3, 4, 5, 6)] + [("u", "b", "view", 1)]
    found = slices(log_of(events), shown([-1] * 6, [1, 1.5, 5.5, 6.5, 26.5, 9], "aaaaab"), [None] * 8, cutoff=at(0))
    assert found["new_item"].tolist() == [True] * 6
    assert found["never_clicked"].tolist() == [True, False, False, False, False, True]
    # Six clicks before 6.5; of those in the day before 26.5, four.
    assert found["few_clicks"].tolist() == [True, True, True, False, True, True]


def test_any_of_several_clicked_items_counts():
    log = log_of([("u", "a", "click", 1)])
    found = slices(log, shown([-1, -1], [2, 2], ["ab", "a"]), [None] * 8, cutoff=at(2))
    assert found["never_clicked"].tolist() == [True, False]
    assert found["new_item"].tolist() == [True, False]


def test_the_largest_categories_have_a_slice():
    categories = ["x", "x", "y", "z", "w", None, "", "unclicked"]
    found = slices(
        log_of([]), shown([-1] * 8, [1] * 8, ["a", "b", "ac", "c", "d", "d", "e", "f"]), categories, cutoff=0
    )
    assert [name for name in found if name.startswith("category")] == ["category: x", "category: y", "category: z"]
    assert found["category: x"].tolist() == [True, True, True] + [False] * 5
    assert found["category: y"].tolist() == [False, False, True, True] + [False] * 4


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6))
def test_each_impression_has_one_length_of_history(lengths):
    events = [(f"u{user}", "a", "click", hour / 100) for user, length in enumerate(lengths) for hour in range(length)]
    log = log_of(events)
    users = [log.user_ids.index(f"u{user}") if length else -1 for user, length in enumerate(lengths)]
    found = slices(log, shown(users, [1] * len(users), "a" * len(users)), [None] * 8, cutoff=0)
    bounds = {"no_history": 0, "one_click": 1, "history_2-5": 5, "history_6-20": 20, "history_over_20": 99}
    for place, length in enumerate(lengths):
        expected = next(name for name, most in bounds.items() if length <= most)
        assert names(found, place) & set(bounds) == {expected}


def test_slices_without_impressions_are_left_out():
    found = slices(log_of([]), shown([-1], [1], "a"), [None] * 8, cutoff=0)
    assert set(found) == {"all", "new_item", "new_user", "no_history", "never_clicked", "few_clicks"}
    assert slices(log_of([]), shown([], [], []), [None] * 8, cutoff=0) == {}
