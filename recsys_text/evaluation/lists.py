"""What the first K candidates of each impression are like, whoever clicked. Knows scores, no clicks.

Shapes: N impressions, P pairs of an impression and a candidate, K places of a list, I items, D dimensions.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_text.evaluation.metrics import Bool, Double, Float, Int
from recsys_text.evaluation.parts import parts
from recsys_text.ranking.log import Impressions, Int64
from recsys_text.ranking.topk import topk
from recsys_text.threads import in_threads

Float32 = NDArray[np.float32]
Int32 = NDArray[np.int32]

#: How long the lists are.
K = 10
#: The metrics of `Catalogue.describe`, in its order.
METRICS = ("diversity@10", "novelty@10")
_CHUNK = 1 << 20
# Lists compared at a time: their vectors take some tens of megabytes.
_LISTS = 1 << 15


@dataclass(frozen=True, kw_only=True, eq=False)
class Catalogue:
    """What is known of the items apart from the impressions.

    neutral: int64[I], the order of equal scores (`Log.neutral`); vectors: float32[I, D], of any length; surprise:
    float64[I], from `surprise`.
    """

    neutral: Int64
    vectors: Float32
    surprise: Double

    def describe(self, first_NK: Int32) -> dict[str, Double]:
        """The METRICS of each list, float64[N]; first_NK from `first`.

        diversity: 1 minus the mean cosine of the vectors of two of its items (Smyth and McClave 2001), NaN for a list
        of less than two; novelty: the mean surprise of its items in bits (Zhou et al. 2010), NaN for an empty one.
        """
        starts = range(0, len(first_NK), _LISTS)
        diversity = [self._diversity(first_NK[at : at + _LISTS]) for at in starts]
        known_NK = first_NK >= 0
        length_N = known_NK.sum(axis=1)
        total_N = np.where(known_NK, self.surprise[first_NK], 0.0).sum(axis=1)
        novelty = np.divide(total_N, length_N, out=np.full(len(first_NK), np.nan), where=length_N > 0)
        return dict(zip(METRICS, (np.concatenate([np.zeros(0), *diversity]), novelty), strict=True))

    def _diversity(self, first_NK: Int32) -> Double:
        known_NK = first_NK >= 0
        vectors_NKD = self.vectors[first_NK] * known_NK[:, :, None]
        length_NK = np.sqrt(np.einsum("nkd,nkd->nk", vectors_NKD, vectors_NKD))
        unit_NK = np.divide(1, length_NK, out=np.zeros_like(length_NK), where=length_NK > 0)
        sum_ND = np.einsum("nkd,nk->nd", vectors_NKD, unit_NK)
        own_N = (unit_NK > 0).sum(axis=1)
        size_N = known_NK.sum(axis=1)
        pairs_N = (size_N * (size_N - 1)).astype(np.float64)
        together_N = np.einsum("nd,nd->n", sum_ND, sum_ND).astype(np.float64) - own_N
        cosine_N: Double = np.divide(together_N, pairs_N, out=np.full(len(first_NK), np.nan), where=pairs_N > 0)
        return 1 - cosine_N


def surprise(clicks_I: Int) -> Double:
    """Minus the binary logarithm of each item's share of all clicks, float64[I]; each item has one click more, so that
    one never clicked has a share too (Laplace).
    """
    return np.asarray(-np.log2((clicks_I + 1) / (clicks_I.sum() + len(clicks_I))))


def first(scores_P: Float, impressions: Impressions, neutral_I: Int64, *, threads: int = 0) -> Int32:
    """The items of the K highest scores of each impression, int32[N, K], best first; -1 fills short lists.

    Equal scores come by `neutral_I`. threads: 0 takes all cores; their number changes nothing.
    """
    offsets = impressions.offsets

    def take(part: slice) -> Int32:
        pairs = slice(offsets[part.start], offsets[part.stop])
        bounds = offsets[part.start : part.stop + 1] - offsets[part.start]
        return _first(scores_P[pairs], impressions.item[pairs], bounds, neutral_I)

    return np.concatenate([np.zeros((0, K), np.int32), *in_threads(take, parts(offsets, _CHUNK), threads)])


def coverage(first_NK: Int32, candidates: NDArray[Any]) -> float:
    """The share of the distinct `candidates` that are in a list; NaN without candidates."""
    return float(np.isin(candidates, first_NK).mean()) if len(candidates) else float("nan")


def _first(scores_P: Float, item_P: Int32, offsets: Int64, neutral_I: Int64) -> Int32:
    """Leaves out what is below the K-th score of its impression before the rest is sorted."""
    size_N = np.diff(offsets)
    found_NK = np.full((len(size_N), K), -1, np.int32)
    longest = int(size_N.max(initial=0))
    if not longest:
        return found_NK
    keep_P: Bool = np.ones(len(scores_P), np.bool_)
    if longest > K:
        table_NL = np.full((len(size_N), longest), -np.inf, np.float32)
        table_NL[np.arange(longest) < size_N[:, None]] = scores_P
        table_NL.partition(longest - K, axis=1)
        keep_P = scores_P.astype(np.float32) >= np.repeat(table_NL[:, longest - K], size_N)
    kept = np.flatnonzero(keep_P)
    bounds = np.searchsorted(kept, offsets)
    starts, pair = topk(scores_P[kept].astype(np.float32), neutral_I[item_P[kept]], bounds, K)
    place = np.arange(len(pair)) - np.repeat(starts[:-1], np.diff(starts))
    found_NK[np.repeat(np.arange(len(size_N)), np.diff(starts)), place] = item_P[kept[pair]]
    return found_NK
