import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import ndcg_score, roc_auc_score

from recsys_text.errors import ContractError
from recsys_text.evaluation import metrics

# Few distinct scores, so that ties are the rule.
impression = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=0, max_size=9)
ragged = st.lists(impression, min_size=1, max_size=6)


def arrays(lists):
    offsets = np.cumsum([0, *map(len, lists)])
    pairs = [pair for pairs in lists for pair in pairs]
    return np.array([s for s, _ in pairs], float), np.array([c for _, c in pairs], bool), offsets


def one(scores, clicked):
    found = metrics.evaluate(np.array(scores, float), np.array(clicked, bool), np.array([0, len(scores)]))
    return {name: value[0] for name, value in found.items()}


def by_hand(scores, clicked, k):
    """The mean over every order that agrees with the scores, by the plain definitions."""
    found = []
    for order in itertools.permutations(range(len(scores))):
        if all(scores[a] >= scores[b] for a, b in itertools.pairwise(order)):
            hits = [clicked[i] for i in order]
            gains = [1 / np.log2(r + 2) for r in range(len(hits))]
            total = sum(hits)
            ideal = sum(gains[: min(k, total)])
            found.append(
                (
                    1 / (hits.index(True) + 1),
                    sum(g for g, hit in zip(gains[:k], hits[:k], strict=True) if hit) / ideal,
                    sum(hits[:k]) / total,
                )
            )
    return np.mean(found, axis=0)


def test_a_case_worked_by_hand():
    # Order: b (not clicked), a (clicked), d (not), c (clicked).
    found = one([3, 4, 1, 2], [1, 0, 1, 0])
    assert found["auc"] == pytest.approx(1 / 4)  # of (a,b) (a,d) (c,b) (c,d) only a > d
    assert found["mrr"] == pytest.approx(1 / 2)
    gain = 1 / np.log2(3) + 1 / np.log2(5)
    assert found["ndcg@10"] == found["ndcg@5"] == pytest.approx(gain / (1 + 1 / np.log2(3)))
    ranks = metrics.rank_clicked(np.array([3, 4, 1, 2]), np.array([1, 0, 1, 0], bool), np.array([0, 4]))
    assert metrics.recall(ranks, 2) == pytest.approx(1 / 2)


def test_equal_scores_favour_no_order():
    clicked_first, clicked_last = one([0, 0, 0, 0], [1, 0, 0, 0]), one([0, 0, 0, 0], [0, 0, 0, 1])
    assert clicked_first == clicked_last
    assert clicked_first["auc"] == 0.5
    assert clicked_first["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
    ranks = metrics.rank_clicked(np.zeros(4), np.array([1, 0, 0, 0], bool), np.array([0, 4]))
    assert metrics.recall(ranks, 1) == 0.25


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=6), st.integers(1, 4))
def test_ties_are_the_mean_over_every_order(pairs, k):
    scores, clicked, offsets = arrays([[*pairs, (1, True)]])
    ranks = metrics.rank_clicked(scores, clicked, offsets)
    mrr, ndcg, recall = by_hand(scores.tolist(), clicked.tolist(), k)
    assert metrics.mrr(ranks)[0] == pytest.approx(mrr)
    assert metrics.ndcg(ranks, k)[0] == pytest.approx(ndcg)
    assert metrics.recall(ranks, k)[0] == pytest.approx(recall)


@given(ragged)
def test_agrees_with_sklearn(lists):
    scores, clicked, offsets = arrays(lists)
    found = metrics.evaluate(scores, clicked, offsets)
    for n, (a, b) in enumerate(itertools.pairwise(offsets)):
        labels = clicked[a:b]
        if labels.any() and b - a > 1:
            assert found["ndcg@5"][n] == pytest.approx(ndcg_score([labels], [scores[a:b]], k=5))
            assert found["ndcg@10"][n] == pytest.approx(ndcg_score([labels], [scores[a:b]], k=10))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            expected = roc_auc_score(labels, scores[a:b]) if 0 < labels.sum() < b - a else np.nan
        assert found["auc"][n] == pytest.approx(expected, nan_ok=True)


@given(ragged)
def test_bounds_and_where_a_metric_has_no_meaning(lists):
    scores, clicked, offsets = arrays(lists)
    for name, value in metrics.evaluate(scores, clicked, offsets).items():
        defined = [any(c for _, c in pairs) for pairs in lists]
        if name == "auc":
            defined = [ok and not all(c for _, c in pairs) for ok, pairs in zip(defined, lists, strict=True)]
        assert (~np.isnan(value)).tolist() == defined
        assert np.all((value[defined] >= 0) & (value[defined] <= 1 + 1e-12))


@given(ragged)
def test_a_monotone_transform_changes_nothing(lists):
    scores, clicked, offsets = arrays(lists)
    before, after = (metrics.evaluate(s, clicked, offsets) for s in (scores, np.exp(scores) * 1e-3 - 5))
    for name in before:
        np.testing.assert_array_equal(before[name], after[name])


@given(ragged, st.randoms(use_true_random=False))
def test_the_order_of_candidates_changes_nothing(lists, random):
    shuffled = [random.sample(pairs, len(pairs)) for pairs in lists]
    before, after = metrics.evaluate(*arrays(lists)), metrics.evaluate(*arrays(shuffled))
    for name in before:
        np.testing.assert_allclose(before[name], after[name], rtol=1e-12)


@given(ragged)
def test_a_perfect_ranking_is_one_everywhere(lists):
    _, clicked, offsets = arrays(lists)
    found = metrics.evaluate(clicked.astype(float), clicked, offsets)
    for name in ("auc", "mrr", "ndcg@5", "ndcg@10"):
        assert found[name][~np.isnan(found[name])] == pytest.approx(1)


def test_neither_chunks_nor_threads_change_anything(monkeypatch):
    random = np.random.default_rng(3)
    offsets = np.cumsum([0, *random.integers(0, 9, 40)])
    scores, clicked = random.integers(0, 4, offsets[-1]).astype(float), random.random(offsets[-1]) < 0.4
    whole = metrics.evaluate(scores, clicked, offsets)
    for chunk, threads in ((1, 1), (5, 3), (40, 2)):
        monkeypatch.setattr(metrics, "_CHUNK", chunk)
        for name, value in metrics.evaluate(scores, clicked, offsets, threads=threads).items():
            np.testing.assert_array_equal(value, whole[name])


def test_refuses_scores_that_are_not_numbers_and_arrays_that_do_not_fit():
    with pytest.raises(ContractError, match="1 of 2 scores are not a number"):
        one([np.nan, 1], [1, 0])
    with pytest.raises(ContractError, match="2 scores, 1 labels"):
        one([2, 1], [1])


def test_no_impressions():
    found = metrics.evaluate(np.zeros(0), np.zeros(0, bool), np.zeros(1, np.int64))
    assert all(len(value) == 0 for value in found.values())
