"""The best candidates of each impression. Knows scores, not where they come from."""

import numpy as np
from numpy.typing import NDArray

from recsys_text.ranking.features import ordered
from recsys_text.ranking.log import Int64

Float32 = NDArray[np.float32]


def topk(score_P: Float32, neutral_P: Int64, offsets: Int64, k: int) -> tuple[Int64, Int64]:
    """The pairs of the k highest scores of each impression, best first, as `(offsets_N1, pair)`.

    Equal scores (as float32) come by `neutral_P`, which is `log.neutral[item_P]`: an order by a hash of the ids, since
    the ids themselves may follow popularity. Raises ValueError for a score that is not a number.
    """
    if np.isnan(score_P).any():
        raise ValueError(f"{int(np.isnan(score_P).sum())} of {len(score_P)} scores are not numbers")
    size_N = np.diff(offsets)
    row_P = np.repeat(np.arange(len(size_N)), size_N)
    key = ordered(-score_P, row_P)
    order = np.argsort(key)
    same = np.diff(key[order]) == 0
    tied = np.flatnonzero(np.concatenate((same, [False]))[: len(key)] | np.concatenate(([False], same))[: len(key)])
    pairs = order[tied]
    order[tied] = pairs[np.lexsort((neutral_P[pairs], key[pairs]))]
    kept_N = np.minimum(size_N, k)
    place_P = np.arange(len(key)) - offsets[row_P]
    return np.concatenate(([0], np.cumsum(kept_N, dtype=np.int64))), order[place_P < k]
