from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys_text.evaluation.baselines import _tfidf, baseline_scores, category_popularity, tfidf_profile
from recsys_text.ranking.features import counts
from recsys_text.ranking.log import NEVER, Impressions, build_log

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
CATEGORIES = ["sport", "sport", "money", "money", None]
TEXTS = ["football cup", "football match", "stock market", "股市大跌", ""]


def at(hours):
    return START + hours * HOUR


def micros(hours):
    return int(at(hours).timestamp() * 1_000_000)


def log_of(events, categories=CATEGORIES):
    times = pl.Datetime("us", "UTC")
    items = pl.DataFrame(
        {"item_id": list("abcde"), "published_at": [at(0), at(1), at(2), at(3), None], "expires_at": [None] * 5},
        schema_overrides={"published_at": times, "expires_at": times},
    ).with_columns(pl.Series("category", categories), known_at=pl.col("published_at").fill_null(at(0)))
    rows = [{"user_id": u, "item_id": i, "event_type": e, "occurred_at": at(t)} for u, i, e, t in events]
    schema = {"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "occurred_at": times}
    return build_log(items, pl.DataFrame(rows, schema=schema))


def shown(user, hours, items):
    return Impressions(
        user=np.array([user], np.int32),
        time=np.array([micros(hours)]),
        offsets=np.array([0, len(items)]),
        item=np.array(items, np.int32),
        clicked=np.arange(len(items)) == 0,
    )


EVENTS = [("u", "a", "click", 5), ("v", "a", "click", 29), ("v", "b", "click", 29.5), ("u", "c", "view", 29.5)]


def scores(events, impressions, cutoff=30):
    log = log_of(events)
    return baseline_scores(log, impressions, TEXTS, counts(log, impressions), cutoff=micros(cutoff))


def test_counts_and_ages_worked_by_hand():
    found = scores(EVENTS, shown(0, 30, [0, 1, 2]))
    assert found["popularity 2h"].tolist() == [1, 1, 0]
    assert found["popularity 24h"].tolist() == [1, 1, 0]
    assert found["popularity all time"].tolist() == [2, 1, 0]
    assert found["recency"].tolist() == [-30, -29, -28]
    assert found["pop/age"] == pytest.approx([1.5 / 31**0.8, 1.5 / 30**0.8, 0.5 / 29**0.8])


def test_co_clicks_are_those_of_all_time():
    # v clicked b after a; u, who clicked a, is shown b.
    found = scores(EVENTS, shown(0, 30, [1, 2]))
    assert found["item-item co-click"].tolist() == [1, 0]


def test_category_popularity_worked_by_hand():
    # Before hour 30: sport has three clicks, a two of them; money none. u clicked once, v twice, all in sport.
    sport, none = (1 + 1) / 2, 0.0
    found = category_popularity(log_of(EVENTS), shown(0, 30, [0, 1, 2]))
    assert found == pytest.approx([2 / 3 * sport, 1 / 3 * sport, none])
    events = [*EVENTS, ("v", "d", "click", 29.8), ("v", "c", "click", 29.9)]  # two in money; v clicked two in each
    found = category_popularity(log_of(events), shown(1, 30, [0, 2]))
    assert found == pytest.approx([2 / 3 * (2 + 3 / 5) / 5, 1 / 2 * (2 + 2 / 5) / 5])


def test_category_popularity_of_a_stranger_is_popularity():
    for user in (-1, 0):
        log = log_of([*EVENTS, ("w", "d", "click", 29)])
        impressions = shown(user, 4, [0, 1, 3])
        assert category_popularity(log, impressions).tolist() == [0, 0, 0]
    found = category_popularity(log, shown(-1, 30, [0, 1, 3]))
    assert found == pytest.approx([2 / 4, 1 / 4, 1 / 4])


def test_without_categories_there_is_no_popularity_by_them():
    log, impressions = log_of(EVENTS, pl.Series([None] * 5, dtype=pl.String)), shown(0, 30, [0, 1])
    found = baseline_scores(log, impressions, TEXTS, counts(log, impressions), cutoff=micros(30))
    assert "category popularity" not in found
    assert "category popularity" in scores(EVENTS, impressions)


def test_the_profile_prefers_texts_like_those_clicked():
    # u clicked 'football cup' only: a view is no click.
    cup, match, stock, chinese, empty = scores(EVENTS, shown(0, 30, [0, 1, 2, 3, 4]))["TF-IDF profile"]
    assert cup == pytest.approx(1)
    assert 1 > match > stock > chinese == empty == 0


def test_the_profile_is_the_direction_of_the_mean_vector():
    events = [("u", "a", "click", 5), ("u", "c", "click", 6)]
    found = scores(events, shown(0, 30, [0, 2]))["TF-IDF profile"]
    assert found[0] == pytest.approx(found[1])
    assert 0.7 < found[0] < 1


def test_an_unknown_user_and_one_without_clicks_get_zeros():
    for user in (-1, 0):
        assert scores([("u", "a", "view", 5)], shown(user, 30, [0, 1]))["TF-IDF profile"].tolist() == [0, 0]


def test_nothing_at_or_after_the_impression_changes_a_score():
    impressions = shown(0, 30, [0, 1, 2, 3])
    before = scores(EVENTS, impressions)
    later = [*EVENTS, ("u", "d", "click", 30), ("v", "c", "click", 30), ("u", "c", "click", 31)]
    for name, value in scores(later, impressions).items():
        np.testing.assert_array_equal(value, before[name], err_msg=name)


def test_term_weights_come_from_items_known_before_the_cutoff_only():
    log = log_of(EVENTS)
    impressions = shown(0, 30, [0, 1, 2, 3])
    changed = [*TEXTS[:3], "football football", TEXTS[4]]  # item d, known at hour 3
    early, late = (
        [tfidf_profile(log, impressions, texts, cutoff=micros(hours))[:3] for texts in (TEXTS, changed)]
        for hours in (3, 4)
    )
    np.testing.assert_array_equal(early[0], early[1])
    assert (late[0] != late[1]).any()


def test_terms_and_weights_are_those_that_scikit_learn_fits_on_the_known_texts(monkeypatch):
    known = [0, 2, 3]
    for most in (1 << 18, 7):  # seven letters are commoner than any other term
        monkeypatch.setattr("recsys_text.evaluation.baselines._MAX_TERMS", most)
        texts = ["aaaaaaaabbbbbbb", "xyz abc", "cccccc ddddd", "eeee", ""]
        fitted = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), max_features=most, dtype=np.float32)
        expected = fitted.fit([texts[row] for row in known]).transform(texts)
        np.testing.assert_allclose(_tfidf(texts, known).toarray(), expected.toarray(), rtol=1e-6)


def test_no_known_text_and_no_impressions():
    log = log_of(EVENTS)
    impressions = shown(0, 30, [0, 1])
    assert tfidf_profile(log, impressions, TEXTS, cutoff=micros(0)).tolist() == [0, 0]
    assert tfidf_profile(log, impressions, [""] * 5, cutoff=NEVER).tolist() == [0, 0]
    nobody = Impressions(
        user=np.zeros(0, np.int32),
        time=np.zeros(0, np.int64),
        offsets=np.zeros(1, np.int64),
        item=np.zeros(0, np.int32),
        clicked=np.zeros(0, np.bool_),
    )
    assert len(tfidf_profile(log, nobody, TEXTS, cutoff=NEVER)) == 0


def test_the_size_of_a_chunk_changes_nothing(monkeypatch):
    log = log_of(EVENTS)
    users = np.array([0, 1, -1, 0, 1], np.int32)
    impressions = Impressions(
        user=users,
        time=np.full(5, micros(30)),
        offsets=np.array([0, 3, 3, 4, 6, 9]),
        item=np.array([0, 1, 2, 3, 1, 2, 0, 1, 3], np.int32),
        clicked=np.zeros(9, np.bool_),
    )
    whole = tfidf_profile(log, impressions, TEXTS, cutoff=NEVER)
    assert np.count_nonzero(whole) >= 6
    monkeypatch.setattr("recsys_text.evaluation.baselines._CHUNK", 1)
    np.testing.assert_allclose(tfidf_profile(log, impressions, TEXTS, cutoff=NEVER), whole, rtol=1e-6)
