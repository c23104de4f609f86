from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_matrix

from recsys_text.evaluation import collaborative
from recsys_text.evaluation.collaborative import collaborative_scores
from recsys_text.evaluation.metrics import evaluate
from recsys_text.model.collaborative import ease
from recsys_text.ranking.log import Impressions, build_log

START = datetime(2024, 1, 1, tzinfo=UTC)
USERS, ITEMS = 60, 24
CUTOFF = int((START + timedelta(hours=100)).timestamp() * 1e6)


def events_of(seed=0):
    """Users of three tastes click items of theirs, at distinct times; the last of each lies after the cutoff."""
    random = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        own = np.flatnonzero(np.arange(ITEMS) % 3 == user % 3)
        hours = np.sort(random.uniform(0, 99, 5))
        rows += [(user, item, hour) for item, hour in zip(random.permutation(own)[:5], hours, strict=True)]
        rows += [(user, random.choice(own), 101 + user / 100)]
    return rows


def log_of(rows, name=lambda item: f"i{item:02d}"):
    items = pl.DataFrame({"item_id": [name(item) for item in range(ITEMS)]}).with_columns(
        known_at=pl.lit(START), published_at=pl.lit(START), expires_at=pl.lit(None, pl.Datetime("us", "UTC"))
    )
    events = pl.DataFrame(
        [(f"u{user:02d}", name(item), "click", START + timedelta(hours=float(hour))) for user, item, hour in rows],
        schema={
            "user_id": pl.String,
            "item_id": pl.String,
            "event_type": pl.String,
            "occurred_at": pl.Datetime("us", "UTC"),
        },
        orient="row",
    )
    return build_log(items.cast({name: pl.Datetime("us", "UTC") for name in ("known_at", "published_at")}), events)


def shown(log, items, hour=100.5):
    """All items, in the order given, for each user; those of the user's taste count as clicked."""
    users = len(log.user_ids)
    time = int((START + timedelta(hours=hour)).timestamp() * 1e6)
    codes = log.item_codes(pl.Series(items))
    return Impressions(
        user=np.arange(users, dtype=np.int32),
        time=np.full(users, time),
        offsets=np.arange(users + 1) * len(codes),
        item=np.tile(codes, users),
        clicked=np.tile(np.arange(len(codes)), users) % 3 == np.repeat(np.arange(users), len(codes)) % 3,
    )


NAMES = [f"i{item:02d}" for item in range(ITEMS)]


@pytest.fixture(scope="module")
def found():
    log = log_of(events_of())
    impressions = shown(log, NAMES)
    return log, impressions, collaborative_scores(log, impressions, cutoff=CUTOFF, threads=1)


def test_each_finds_the_users_taste(found):
    _, impressions, scores = found
    assert list(scores) == ["EASE", "BM25 item-item", "ALS"]
    for name, score in scores.items():
        assert score.dtype == np.float32
        assert evaluate(score, impressions.clicked, impressions.offsets)["auc"].mean() > 0.9, name


def test_the_score_is_that_of_all_clicks_before_the_impression(found, monkeypatch):
    log, impressions, scores = found
    before = log.time < CUTOFF
    X = np.zeros((USERS, ITEMS), np.float32)
    X[log.user[before], log.item[before]] = 1
    weights = ease(csr_matrix(X), collaborative.EASE_PENALTY)
    np.testing.assert_allclose(scores["EASE"].reshape(USERS, ITEMS), X @ weights, atol=1e-6)
    monkeypatch.setattr(collaborative, "_CHUNK", 3 * ITEMS)
    for name, score in collaborative_scores(log, impressions, cutoff=CUTOFF, threads=1).items():
        np.testing.assert_allclose(score, scores[name], atol=1e-5, err_msg=name)


def test_nothing_at_or_after_the_impression_changes_a_score(found):
    _, impressions, scores = found
    log = log_of([*(row for row in events_of() if row[2] < 100), *((user, 5, 100.5) for user in range(USERS))])
    for name, score in collaborative_scores(log, impressions, cutoff=CUTOFF, threads=1).items():
        np.testing.assert_array_equal(score, scores[name], err_msg=name)


def test_clicks_after_the_cutoff_are_history_but_teach_nothing():
    rows = [row for row in events_of() if row[2] < 100]
    log = log_of([*rows, (0, 1, 100.2)])
    plain = log_of(rows)
    one, other = (collaborative_scores(each, shown(each, NAMES), cutoff=CUTOFF, threads=1) for each in (log, plain))
    for name in one:
        moved = (one[name] != other[name]).reshape(USERS, ITEMS).any(axis=1)
        assert moved.tolist() == [True, *[False] * (USERS - 1)], name


def test_the_ids_mean_nothing(found):
    scores = found[2]
    turned = np.random.default_rng(8).permutation(ITEMS)
    log = log_of(events_of(), name=lambda item: f"i{turned[item]:02d}")
    again = collaborative_scores(
        log, shown(log, [f"i{turned[item]:02d}" for item in range(ITEMS)]), cutoff=CUTOFF, threads=1
    )
    for name, score in again.items():
        np.testing.assert_allclose(score, scores[name], atol=1e-4, err_msg=name)


def test_ease_takes_the_most_clicked_items(found, monkeypatch):
    log, impressions, _ = found
    monkeypatch.setattr(collaborative, "EASE_ITEMS", 10)
    scores = collaborative_scores(log, impressions, cutoff=CUTOFF, threads=1)["EASE"].reshape(USERS, ITEMS)
    clicks = np.bincount(log.item[log.time < CUTOFF], minlength=ITEMS)
    some = (scores != 0).any(axis=0)
    assert some.sum() == 10
    assert clicks[some].min() >= clicks[~some].max()


def test_users_without_clicks_and_a_log_without_clicks_get_zeros(found):
    log, impressions, _ = found
    nobody = replace(impressions, user=np.full(len(impressions), -1, np.int32))
    for scores in (
        collaborative_scores(log, nobody, cutoff=CUTOFF, threads=1),
        collaborative_scores(log, impressions, cutoff=0, threads=1),
    ):
        assert all((score == 0).all() for score in scores.values())
