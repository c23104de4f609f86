"""Ranking metrics per impression, from plain arrays. Knows no method, user or item.

Shapes: N impressions, P pairs of an impression and a candidate, Q clicked pairs, M impressions with a
click. The pairs of impression n are the slice offsets_N1[n]:offsets_N1[n + 1].
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_text.errors import ContractError
from recsys_text.evaluation.parts import parts
from recsys_text.ranking.timeline import expand
from recsys_text.threads import in_threads

Float = NDArray[np.floating[Any]]
Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.integer[Any]]

# Pairs compared at a time: bounds the working set to some tens of MB whatever P is, and stays near the processor.
_CHUNK = 1 << 20
#: The metrics of `evaluate`, in its order.
METRICS = ("auc", "mrr", "ndcg@5", "ndcg@10", "recall@10", "recall@50")


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


def evaluate(scores_P: Float, clicked_P: Bool, offsets_N1: Int, *, threads: int = 0) -> dict[str, Double]:
    """The METRICS of every impression: metric name -> float64[N].

    Higher scores rank first. Equal scores count as if their order were drawn at random: each metric is
    its expected value over all such orders, so no order of the items is favoured. An impression for
    which a metric has no meaning (nothing clicked; for AUC also everything clicked) gets NaN.

    Sorts nothing: costs one comparison per clicked pair and candidate of its impression. threads: 0 takes all
    cores; their number changes no value.

    Raises ContractError for a score that is not a number, and for arrays that do not fit together.
    """
    ranks = rank_clicked(scores_P, clicked_P, offsets_N1, threads=threads)
    found = (auc(ranks), mrr(ranks), ndcg(ranks, 5), ndcg(ranks, 10), recall(ranks, 10), recall(ranks, 50))
    return dict(zip(METRICS, found, strict=True))


def rank_clicked(scores_P: Float, clicked_P: Bool, offsets_N1: Int, *, threads: int = 0) -> Ranks:
    """Counts, for every clicked pair, the candidates above it and level with it. Raises as `evaluate` does."""
    if not len(scores_P) == len(clicked_P) == offsets_N1[-1]:
        raise ContractError(
            f"{len(scores_P)} scores, {len(clicked_P)} labels and offsets of {offsets_N1[-1]} pairs; make them one each"
        )

    def count(part: slice) -> tuple[Int, Int, Int, int]:
        pairs = slice(offsets_N1[part.start], offsets_N1[part.stop])
        offsets = offsets_N1[part.start : part.stop + 1] - offsets_N1[part.start]
        return _count(scores_P[pairs], clicked_P[pairs], offsets)

    counted = list(in_threads(count, parts(offsets_N1, _CHUNK), threads))
    if unknown := sum(nan for _, _, _, nan in counted):
        raise ContractError(f"{unknown} of {len(scores_P)} scores are not a number; score every pair")
    none = np.zeros(0, np.int64)
    positives_N = np.concatenate([none, *(positives for _, _, positives, _ in counted)])
    return Ranks(
        impression=np.repeat(np.arange(len(positives_N)), positives_N),
        greater=np.concatenate([none, *(greater for greater, _, _, _ in counted)]),
        tied=np.concatenate([none, *(tied for _, tied, _, _ in counted)]),
        length=np.diff(offsets_N1),
        positives=positives_N,
    )


def _count(scores_P: Float, clicked_P: Bool, offsets_N1: Int) -> tuple[Int, Int, Int, int]:
    """Of each clicked pair: the candidates above and those level; of each impression: the clicks; scores that are NaN.

    Takes the first clicks of all impressions, then the second ones, ...: candidates are compared where they lie.
    """
    length_N = np.diff(offsets_N1)
    pair_Q = np.flatnonzero(clicked_P)
    impression_Q = np.searchsorted(offsets_N1, pair_Q, side="right") - 1
    positives_N = np.bincount(impression_Q, minlength=len(length_N))
    place_Q = np.arange(len(pair_Q)) - np.repeat(np.cumsum(positives_N) - positives_N, positives_N)
    greater_Q, tied_Q = np.zeros((2, len(pair_Q)), np.int64)
    for place in range(int(positives_N.max(initial=0))):
        here = np.flatnonzero(place_Q == place)
        shown = impression_Q[here]
        length = length_N[shown]
        whole = len(shown) == len(length_N)
        rival = scores_P if whole else scores_P[expand(offsets_N1[shown].astype(np.int64), length.astype(np.int64))]
        own = np.repeat(scores_P[pair_Q[here]], length)
        first = np.cumsum(length) - length
        # Sums of 32 bits are four times as fast as those of 64, and no impression has 2 ** 31 candidates.
        greater_Q[here] = np.add.reduceat(rival > own, first, dtype=np.int32)
        tied_Q[here] = np.add.reduceat(rival == own, first, dtype=np.int32)
    return greater_Q, tied_Q, positives_N, int(np.isnan(scores_P).sum())


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
    offsets_M1 = np.concatenate(([0], np.cumsum(places_M)))
    for part in parts(offsets_M1, _CHUNK):
        places = places_M[part]
        j = expand(np.zeros(len(places), np.int64), places)
        a, m, q = (np.repeat(x[part], places) for x in (above_M, tied_M, clicked_M))
        ways = factorial[m - j - 1] - factorial[q - 1] - factorial[m - j - q]
        probability = np.exp(ways - factorial[m] + factorial[q] + factorial[m - q])
        first = np.cumsum(places) - places
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


def _mean_of_ranks(ranks: Ranks, total: Double, k: int) -> Double:
    """float64[Q]: mean worth of the ranks that a clicked candidate shares; total[r] is the worth of the first r."""
    last_Q = np.minimum(ranks.greater + ranks.tied, k)
    mean_Q: Double = (total[last_Q] - total[np.minimum(ranks.greater, k)]) / ranks.tied
    return mean_Q


def _sum(ranks: Ranks, value_Q: Double) -> Double:
    return np.bincount(ranks.impression, weights=value_Q, minlength=len(ranks.length)).astype(np.float64)


def _ratio(value_N: Double, of_N: Float | Int) -> Double:
    return np.asarray(np.divide(value_N, of_N, out=np.full(len(value_N), np.nan), where=of_N > 0))
