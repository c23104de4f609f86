from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from recsys_text.evaluation.freshness import aged, drawn
from recsys_text.ranking.features import counts
from recsys_text.ranking.log import Impressions, build_log

START = datetime(2024, 1, 1, tzinfo=UTC)
TIME = pl.Datetime("us", "UTC")


def at(hours):
    return int((START + timedelta(hours=hours)).timestamp() * 1e6)


def log_of(events):
    """Item a is known from hour 0, b from hour 27, c from hour 29.5."""
    known = [START + timedelta(hours=hours) for hours in (0, 27, 29.5)]
    items = pl.DataFrame({"item_id": ["a", "b", "c"], "known_at": known}, schema_overrides={"known_at": TIME})
    items = items.with_columns(published_at="known_at", expires_at=pl.lit(None, TIME))
    rows = [(user, item, "click", START + timedelta(hours=hours)) for user, item, hours in events]
    schema = {"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "occurred_at": TIME}
    return build_log(items, pl.DataFrame(rows, schema=schema, orient="row"))


def shown(*hours):
    return Impressions(
        user=np.zeros(len(hours), np.int32),
        time=np.array([at(hour) for hour in hours]),
        offsets=np.arange(len(hours) + 1) * 3,
        item=np.tile(np.arange(3, dtype=np.int32), len(hours)),
        clicked=np.zeros(3 * len(hours), np.bool_),
    )


def clicks(log):
    """A score of clicks alone: the share of an item's clicks so far."""
    return lambda impressions: counts(log, impressions)["clicks_total"] / 10


def test_clicks_are_counted_as_of_the_time_of_the_scores():
    log = log_of([("u", "a", hours) for hours in (1, 5.5, 10, 23.5, 25, 28.5, 29.8)])
    found = aged(clicks(log), log, shown(30))
    assert {name: round(10 * float(score[0])) for name, score in found.items()} == {
        "score, 1 h old": 6,
        "score, 6 h old": 4,
        "score, 24 h old": 2,
    }


def test_what_was_not_known_then_is_ranked_last():
    log = log_of([("u", "a", 1)])
    found = aged(clicks(log), log, shown(30))
    assert [score.tolist()[1:] for score in found.values()] == [[0, -1], [-1, -1], [-1, -1]]


def test_nothing_at_or_after_the_time_of_the_scores_changes_them():
    events = [("u", "a", hours) for hours in (1, 5.9, 6, 10, 23.9)]
    later = {"1 h old": 29, "6 h old": 24, "24 h old": 6}
    for name, hour in later.items():
        one, other = (
            aged(clicks(log), log, shown(30))[f"score, {name}"]
            for log in (
                log_of(events),
                log_of([*(e for e in events if e[2] < hour), ("v", "a", hour), ("v", "b", hour)]),
            )
        )
        np.testing.assert_array_equal(one, other)


def test_impressions_are_drawn_evenly_up_to_a_number_of_candidates():
    many = shown(*range(1, 101))
    found = [drawn(many, 30, seed) for seed in range(300)]
    assert all(len(rows) == 10 and (np.diff(rows) > 0).all() for rows in found)
    often = np.bincount(np.concatenate(found), minlength=100)
    assert often.min() > 10
    assert often.max() < 60
    assert drawn(many, 10_000, 0).tolist() == list(range(100))
    assert len(drawn(many, 1, 0)) == 1
