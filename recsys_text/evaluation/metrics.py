"""Ranking metrics per impression and calibration error, from plain arrays. Knows no method, user or item.

Shapes: N impressions, P pairs of an impression and a candidate, Q clicked pairs, M impressions with a
click. The pairs of impression n are the slice offsets_N1[n]:offsets_N1[n + 1].
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_text.errors import ContractError

Float = NDArray[np.floating[Any]]
Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.integer[Any]]

# Pairs compared at a time: bounds the working set to some tens of MB whatever P is.
_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Where the clicked candidates stand among the candidates of their impression.

    Of each of the Q: its impression (ascending); greater, the candidates scored strictly higher; tied, the
    candidates scored equally, itself included. Of each of the N: length, its candidates; positives, the clicked.
    """

    impression: Int
    greater: Int
    tied: Int
    length: Int
    positives: Int


def evaluate(scores_P: Float, clicked_P: Bool, offsets_N1: Int, *, k: int = 10) -> dict[str, Double]:
    """AUC, MRR, nDCG@5, nDCG@10 and recall@k of every impression: metric name -> float64[N].

    Higher scores rank first. Equal scores count as if their order were drawn at random: each metric is
    its expected value over all such orders, so no order of the items is favoured. An impression for
    which a metric has no meaning (nothing clicked; for AUC also everything clicked) gets NaN.

    Sorts nothing: costs one comparison per clicked pair and candidate of its impression.

    Raises ContractError for a score that is not a number, and for arrays that do not fit together.
    """
    ranks = rank_clicked(scores_P, clicked_P, offsets_N1)
    return {
        "auc": auc(ranks),
        "mrr": mrr(ranks),
        "ndcg@5": ndcg(ranks, 5),
        "ndcg@10": ndcg(ranks, 10),
        f"recall@{k}": recall(ranks, k),
    }


def rank_clicked(scores_P: Float, clicked_P: Bool, offsets_N1: Int) -> Ranks:
    """Counts, for every clicked pair, the candidates above it and level with it. Raises as `evaluate` does."""
    if not len(scores_P) == len(clicked_P) == offsets_N1[-1]:
        raise ContractError(
            f"{len(scores_P)} scores, {len(clicked_P)} labels and offsets of {offsets_N1[-1]} pairs; make them one each"
        )
    if unknown := int(np.isnan(scores_P).sum()):
        raise ContractError(f"{unknown} of {len(scores_P)} scores are not a number; score every pair")
    length_N = np.diff(offsets_N1)
    pair_Q = np.flatnonzero(clicked_P)
    impression_Q = np.searchsorted(offsets_N1, pair_Q, side="right") - 1
    greater_Q, tied_Q = np.zeros((2, len(pair_Q)), np.int64)
    for part, first, within in _chunks(length_N[impression_Q]):
        own = np.repeat(scores_P[pair_Q[part]], length_N[impression_Q[part]])
        rival = scores_P[within + np.repeat(offsets_N1[impression_Q[part]], length_N[impression_Q[part]])]
        greater_Q[part] = np.add.reduceat(rival > own, first, dtype=np.int64)
        tied_Q[part] = np.add.reduceat(rival == own, first, dtype=np.int64)
    return Ranks(
        impression=impression_Q,
        greater=greater_Q,
        tied=tied_Q,
        length=length_N,
        positives=np.bincount(impression_Q, minlength=len(length_N)),
    )


def auc(ranks: Ranks) -> Double:
    """Share of (clicked, not clicked) pairs in the right order, ties one half (Mann and Whitney 1947)."""
    positives_N = ranks.positives
    below_Q = ranks.length[ranks.impression] - ranks.greater - ranks.tied
    wins_N = _sum(ranks, below_Q + (ranks.tied - 1) / 2)
    # Among themselves the clicked ones win half of their positives * (positives - 1) comparisons.
    return _ratio(wins_N - positives_N * (positives_N - 1) / 2, positives_N * (ranks.length - positives_N))


def mrr(ranks: Ranks) -> Double:
    """1 / rank of the first clicked candidate, the best rank being 1 (Voorhees 1999, TREC-8).

    Where q clicked candidates share the best score with m - q others below a better ones, the first of
    them comes at rank a + 1 + j with probability C(m - j - 1, q - 1) / C(m, q).
    """
    best_N = np.full(len(ranks.length), np.iinfo(np.int64).max)
    np.minimum.at(best_N, ranks.impression, ranks.greater)
    leading_Q = ranks.greater == best_N[ranks.impression]
    impression_M, first_M, clicked_M = np.unique(ranks.impression[leading_Q], return_index=True, return_counts=True)
    above_M, tied_M = ranks.greater[leading_Q][first_M], ranks.tied[leading_Q][first_M]
    factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, tied_M.max(initial=0) + 1)))])  # its logarithm
    value_N = np.full(len(best_N), np.nan)
    places_M = tied_M - clicked_M + 1
    for part, first, j in _chunks(places_M):
        a, m, q = (np.repeat(x[part], places_M[part]) for x in (above_M, tied_M, clicked_M))
        ways = factorial[m - j - 1] - factorial[q - 1] - factorial[m - j - q]
        probability = np.exp(ways - factorial[m] + factorial[q] + factorial[m - q])
        value_N[impression_M[part]] = np.add.reduceat(probability / (a + 1 + j), first)
    return value_N


def ndcg(ranks: Ranks, k: int) -> Double:
    """DCG@k over the best possible, gain 1 of a click, discount 1 / log2(rank + 1) (Jarvelin and Kekalainen 2002).

    Ties as in McSherry and Najork 2008: each of the tied candidates gets the mean discount of their ranks.
    """
    discount = np.cumsum(np.concatenate([[0.0], 1 / np.log2(np.arange(k) + 2)]))
    ideal_N = discount[np.minimum(ranks.positives, k)]
    return _ratio(_sum(ranks, _mean_of_ranks(ranks, discount, k)), ideal_N)


def recall(ranks: Ranks, k: int) -> Double:
    """Share of the clicked candidates among the first k."""
    return _ratio(_sum(ranks, _mean_of_ranks(ranks, np.arange(k + 1.0), k)), ranks.positives)


def calibration_error(probability_P: Float, clicked_P: Bool, *, bins: int = 15, top: float = 1.0) -> float:
    """Expected calibration error over bins of equal mass, on the share `top` of highest predictions.

    sum over bins of (bin's share of pairs) * |mean prediction - click rate| (Naeini et al. 2015, with the
    equal-mass bins of Nguyen and O'Connor 2015). With one click in hundreds of candidates the error over
    all pairs flatters anything, hence `top` = 0.01. Equal predictions share their mean label, so that the
    cut between bins favours no order. NaN without pairs.

    Raises ContractError for a prediction outside [0, 1].
    """
    if not len(probability_P):
        return float("nan")
    low, high = probability_P.min(), probability_P.max()
    if not (low >= 0 and high <= 1):
        raise ContractError(f"predictions from {low} to {high} are no probabilities; calibrate them first")
    value, group_P, size = np.unique(probability_P, return_inverse=True, return_counts=True)
    rate = np.bincount(group_P, weights=clicked_P) / size
    group_P = np.repeat(np.arange(len(value)), size)[-max(1, round(top * len(group_P))) :]
    gap = (value - rate)[group_P]
    return float(sum(abs(part.sum()) for part in np.array_split(gap, bins)) / len(gap))


def _chunks(length: Int) -> Iterator[tuple[slice, Int, Int]]:
    """Cuts rows of the given lengths (all > 0) into parts of about _CHUNK elements.

    Yields the part's rows, the position of each row's first element in the part, and each element's
    place within its row.
    """
    ends = np.cumsum(length)
    start = 0
    while start < len(length):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _CHUNK, side="right")))
        part = slice(start, stop)
        first = ends[part] - length[part] - done
        yield part, first, np.arange(ends[stop - 1] - done) - np.repeat(first, length[part])
        start = stop


def _mean_of_ranks(ranks: Ranks, total: Double, k: int) -> Double:
    """float64[Q]: mean worth of the ranks that a clicked candidate shares; total[r] is the worth of the first r."""
    last_Q = np.minimum(ranks.greater + ranks.tied, k)
    mean_Q: Double = (total[last_Q] - total[np.minimum(ranks.greater, k)]) / ranks.tied
    return mean_Q


def _sum(ranks: Ranks, value_Q: Double) -> Double:
    return np.bincount(ranks.impression, weights=value_Q, minlength=len(ranks.length)).astype(np.float64)


def _ratio(value_N: Double, of_N: Float | Int) -> Double:
    return np.asarray(np.divide(value_N, of_N, out=np.full(len(value_N), np.nan), where=of_N > 0))
