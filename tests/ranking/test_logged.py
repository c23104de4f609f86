from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.ranking import logged
from recsys_text.ranking.candidates import sampled_impressions
from recsys_text.ranking.log import Log, build_log, micros
from recsys_text.ranking.logged import impressions_between, take, teaching_impressions, with_logged
from recsys_text.sections import Candidates

START = datetime(2024, 5, 1, tzinfo=UTC)
TIME: Any = pl.Datetime("us", "UTC")
SETTINGS = Candidates(pool="all")


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def log_of(*clicks: tuple[str, str, float]) -> Log:
    """A log of the items a to e, known since the start, and these clicks."""
    items = pl.DataFrame(
        {"item_id": list("abcde"), "known_at": [START] * 5, "published_at": [START] * 5, "expires_at": [None] * 5},
        schema={"item_id": pl.String, "known_at": TIME, "published_at": TIME, "expires_at": TIME},
    )
    events = pl.DataFrame(
        [(user, item, "click", at(hours)) for user, item, hours in clicks],
        schema={"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "occurred_at": TIME},
        orient="row",
    )
    return build_log(items, events)


def frame_of(*shown: tuple[str, str, float, str, str]) -> pl.DataFrame:
    """Impressions of (id, user, hours, candidates, clicked ones)."""
    rows = [
        (name, user, at(hours), list(items), [i in clicked for i in items])
        for name, user, hours, items, clicked in shown
    ]
    return pl.DataFrame(
        rows,
        schema={
            "impression_id": pl.String,
            "user_id": pl.String,
            "shown_at": TIME,
            "candidates": pl.List(pl.String),
            "clicked": pl.List(pl.Boolean),
        },
        orient="row",
    )


CLICKS = (("v", "a", 1.0), ("u", "b", 2.0), ("v", "c", 4.0))
SHOWN = (
    ("3", "u", 5.0, "ecb", "c"),
    ("1", "new", 2.0, "dab", "bd"),
    ("2", "u", 3.0, "ab", ""),
    ("4", "v", 6.0, "a", "a"),
    ("5", "v", 7.0, "axyb", "bx"),
)


def test_impressions_are_coded_in_the_order_of_time_and_their_users_are_known() -> None:
    log = with_logged(log_of(*CLICKS), frame_of(*SHOWN))
    assert log.user_ids == ["new", "u", "v"]
    assert [log.user_ids[code] for code in log.user] == ["v", "u", "v"]
    assert [log.user_ids[code] for code in log.logged.user] == ["new", "u", "u", "v", "v"]
    assert log.logged.time.tolist() == [micros(at(hours)) for hours in (2, 3, 5, 6, 7)]
    assert np.split(log.logged.item, log.logged.offsets[1:-1])[0].tolist() == [0, 1, 3]
    assert log.logged.clicked[:3].tolist() == [False, True, True]


def test_unknown_candidates_are_left_out_and_counted() -> None:
    log = with_logged(log_of(), frame_of(*SHOWN, ("6", "w", 8.0, "xyz", "x")))
    assert log.unknown == 5
    assert np.diff(log.logged.offsets).tolist() == [3, 2, 3, 1, 2, 0]


def test_a_candidate_shown_twice_counts_once_and_is_clicked_if_once() -> None:
    frame = frame_of(("1", "u", 1.0, "aba", "")).with_columns(clicked=pl.Series([[False, False, True]]))
    log = with_logged(log_of(), frame)
    assert log.logged.item.tolist() == [0, 1]
    assert log.logged.clicked.tolist() == [True, False]


def test_shown_candidates_are_counted_strictly_before_a_time() -> None:
    log = with_logged(log_of(*CLICKS), frame_of(*SHOWN))
    shown, b = log.shown_rates, np.array([1, 1, 1])
    rank = shown.rank(np.array([micros(at(3)), micros(at(3)) + 1, micros(at(9))]))
    assert [counts.tolist() for counts in shown.within(b, None, rank)] == [[1, 2, 4], [1, 1, 2]]
    assert [counts.tolist() for counts in shown.within(b, rank[:1].repeat(3), rank)] == [[0, 1, 3], [0, 0, 1]]
    assert [counts.tolist() for counts in shown.overall(rank)] == [[3, 5, 11], [2, 2, 5]]


def test_nothing_logged_is_an_empty_timeline() -> None:
    log = log_of(*CLICKS)
    assert with_logged(log, frame_of()) is log
    shown = log.shown_rates
    found = shown.within(np.array([0, 4]), None, shown.rank(np.array([micros(at(9))] * 2)))
    assert [counts.tolist() for counts in found] == [[0, 0], [0, 0]]


def test_only_impressions_with_a_click_and_something_else_are_ranked() -> None:
    log = with_logged(log_of(*CLICKS), frame_of(*SHOWN))
    found, left_out = impressions_between(log, at(0), at(24), SETTINGS, max_impressions=10, seed=1)
    assert found.time.tolist() == [micros(at(hours)) for hours in (2, 5, 7)]
    assert found.offsets.tolist() == [0, 3, 6, 8]
    assert found.clicked.tolist() == [False, True, True, False, True, False, False, True]
    assert left_out == 1, "the impression of one candidate, which was clicked"


def test_the_consumed_filter_and_the_pool_do_not_apply_to_what_was_shown() -> None:
    log = with_logged(log_of(("u", "a", 1.0), ("u", "b", 2.0)), frame_of(("1", "u", 3.0, "ab", "a")))
    found, _ = impressions_between(log, at(3), at(4), SETTINGS, max_impressions=10, seed=1)
    assert found.item.tolist() == [0, 1]


def test_a_span_without_logged_impressions_is_sampled() -> None:
    log = log_of(*CLICKS)
    late = with_logged(log, frame_of(("1", "u", 30.0, "ab", "a")))
    for some in (log, late):
        found, dropped = impressions_between(some, at(0), at(24), SETTINGS, max_impressions=10, seed=1)
        expected, expected_dropped = sampled_impressions(some, at(0), at(24), SETTINGS, max_impressions=10, seed=1)
        assert len(found) == 3
        assert found.item.tolist() == expected.item.tolist()
        assert dropped == expected_dropped


def test_the_text_model_also_learns_from_clicks_of_before_anything_was_logged() -> None:
    clicks = (("v", "a", 1.0), ("u", "b", 2.0), ("v", "c", 4.0), ("v", "d", 5.5))
    log = with_logged(log_of(*clicks), frame_of(*SHOWN[:1], ("7", "u", 5.2, "ab", "a"), ("8", "u", 5.3, "ab", "")))

    def hours(start: float, end: float, most: int = 10) -> tuple[list[float], list[int]]:
        found = teaching_impressions(log, at(start), at(end), SETTINGS, max_impressions=most, seed=1, negatives=9)
        return ((found.time - micros(START)) / 3.6e9).tolist(), np.diff(found.offsets).tolist()

    assert hours(0, 24) == ([1, 2, 4, 5, 5.2], [5, 5, 4, 3, 2]), "d at 5.5 was clicked while impressions were logged"
    assert hours(0, 4.5) == ([1, 2, 4], [5, 5, 4])
    assert hours(5.1, 24) == ([5.2], [2])
    assert hours(5.4, 24) == ([5.5], [3]), "a span of its own in which nothing is logged is sampled"
    assert hours(0, 24, most=2) == ([5, 5.2], [3, 2]), "what was shown comes first"
    assert len(hours(0, 24, most=4)[0]) == 4


def test_without_logged_impressions_the_text_model_learns_from_samples() -> None:
    log = log_of(*CLICKS)
    found = teaching_impressions(log, at(0), at(24), SETTINGS, max_impressions=9, seed=1, negatives=2)
    expected, _ = sampled_impressions(log, at(0), at(24), SETTINGS, max_impressions=9, seed=1, negatives=2)
    assert found.item.tolist() == expected.item.tolist()


def test_the_span_is_half_open() -> None:
    log = with_logged(log_of(*CLICKS), frame_of(*SHOWN))
    found, _ = impressions_between(log, at(2), at(5), SETTINGS, max_impressions=10, seed=1)
    assert found.time.tolist() == [micros(at(2))]


@given(st.integers(0, 4), st.integers(1, 6), st.integers(0, 9))
def test_draws_and_negatives_keep_every_click_of_the_impressions_drawn(most: int, negatives: int, seed: int) -> None:
    log = with_logged(log_of(), frame_of(*((str(n), "u", float(n), "abcde", "ad") for n in range(4))))
    found, _ = impressions_between(log, at(0), at(24), SETTINGS, max_impressions=most, seed=seed, negatives=negatives)
    assert len(found) == most
    assert (np.diff(found.time) > 0).all()
    assert np.diff(found.offsets).tolist() == [2 + min(negatives, 3)] * most
    assert found.item[found.clicked].tolist() == [0, 3] * most


def test_coding_in_pieces_is_coding_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = with_logged(log_of(*CLICKS), frame_of(*SHOWN))
    monkeypatch.setattr(logged, "_ROWS", 2)
    pieces = with_logged(log_of(*CLICKS), frame_of(*SHOWN))
    for name in ("user", "time", "offsets", "item", "clicked"):
        assert getattr(whole.logged, name).tolist() == getattr(pieces.logged, name).tolist()
    assert whole.unknown == pieces.unknown == 2


def test_taken_impressions_keep_their_candidates() -> None:
    shown = with_logged(log_of(*CLICKS), frame_of(*SHOWN)).logged
    some = take(shown, np.array([3, 0]))
    assert some.item.tolist() == [0, 0, 1, 3]
    assert some.offsets.tolist() == [0, 1, 4]
    assert len(take(shown, np.array([], dtype=np.int64))) == 0
