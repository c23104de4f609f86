"""Categories, values and dislikes against worked examples; causality and names are tested with all features."""

from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_text.ranking.affinity import affinity
from recsys_text.ranking.categories import category_affinity
from recsys_text.ranking.cold import without_items
from recsys_text.ranking.item_state import item_state
from recsys_text.ranking.log import HOUR, Impressions, Log, build_log
from tests.ranking.test_features import TIME, at, valued

#: item: its category
ITEMS = {"a": "sea", "b": "sea", "c": "land", "d": None}
#: user, item, event, hour, value
EVENTS = [
    ("u", "a", "click", 1, 5.0),
    ("u", "b", "click", 2, None),
    ("v", "c", "click", 3, 2.0),
    ("v", "a", "dislike", 4, 1.0),
    ("v", "c", "click", 5, 2.0),
]
Event = tuple[str, str, str, int, float | None]


def log_of(events: list[Event], items: dict[str, str | None] = ITEMS) -> Log:
    schema: Any = {"item_id": pl.String, "category": pl.String}
    known = pl.DataFrame(list(items.items()), schema=schema, orient="row").with_columns(
        known_at=pl.lit(at(0), TIME), published_at=pl.lit(None, TIME), expires_at=pl.lit(None, TIME)
    )
    done = valued([(user, item, kind, at(hour * HOUR), value) for user, item, kind, hour, value in events])
    return build_log(known, done)


def shown(log: Log, user: str, hour: int) -> Impressions:
    return Impressions(
        user=log.user_codes(pl.Series([user])),
        time=np.array([hour * HOUR]),
        offsets=np.array([0, len(ITEMS)]),
        item=np.arange(len(ITEMS), dtype=np.int32),
        clicked=np.zeros(len(ITEMS), np.bool_),
    )


def test_category_affinity_worked_by_hand() -> None:
    log = log_of(EVENTS)
    # Of four clicks two are on the sea, two on land; u has two on the sea.
    found = category_affinity(log, shown(log, "u", 6))["category_affinity"]
    sea, land = (2 + 5 * 0.5) / 7, (0 + 5 * 0.5) / 7
    np.testing.assert_allclose(found, [np.log(sea / 0.5)] * 2 + [np.log(land / 0.5), 0], rtol=1e-6)


def test_category_affinity_says_nothing_of_a_stranger_or_before_the_first_click_or_without_categories() -> None:
    log = log_of(EVENTS)
    assert category_affinity(log, shown(log, "stranger", 6))["category_affinity"].tolist() == pytest.approx(
        [0] * 4, abs=1e-7
    )
    assert category_affinity(log, shown(log, "u", 1))["category_affinity"].tolist() == [0] * 4
    plain = log_of(EVENTS, dict.fromkeys(ITEMS))
    assert category_affinity(plain, shown(plain, "u", 6))["category_affinity"].tolist() == [0] * 4


def test_value_is_how_far_an_items_values_are_above_all_values() -> None:
    log = log_of(EVENTS)
    usual = (5 + 2 + 1 + 2) / 4
    expected = [(5 + 1 + 5 * usual) / 7 - usual, 0, (2 + 2 + 5 * usual) / 7 - usual, 0]
    np.testing.assert_allclose(item_state(log, shown(log, "u", 6))["value"], expected, rtol=1e-6, atol=1e-7)
    assert item_state(log, shown(log, "u", 1))["value"].tolist() == [0] * 4
    silent = log_of([(*event[:4], None) for event in EVENTS])
    assert item_state(silent, shown(silent, "u", 6))["value"].tolist() == [0] * 4


def test_what_resembles_a_dislike_is_told_and_only_to_whom_disliked_it() -> None:
    log = log_of(EVENTS)
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1], [-1, 0]], np.float32)
    none = np.full((1, 1), -1, np.int32)
    found = affinity(log, vectors, shown(log, "v", 6), none)["near_disliked"]
    np.testing.assert_allclose(found, [1, 0.6, 0, -1], atol=1e-6)
    for user, hour in (("u", 6), ("v", 4)):
        assert affinity(log, vectors, shown(log, user, hour), none)["near_disliked"].tolist() == [0] * 4


def test_items_that_leave_the_training_take_their_values_and_dislikes_with_them() -> None:
    log = without_items(log_of(EVENTS), np.array([True, False, False, False]))
    assert not log.disliked.any()
    assert item_state(log, shown(log, "u", 6))["value"].tolist() == [0] * 4
