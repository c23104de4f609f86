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
    order, new = ordered(-score_P, offsets)
    tied = np.flatnonzero(~new | ~np.concatenate((new[1:], [True]))[: len(new)])
    pairs = order[tied]
    order[tied] = pairs[np.lexsort((neutral_P[pairs], np.cumsum(new)[tied]))]
    size_N = np.diff(offsets)
    kept_N = np.minimum(size_N, k)
    place_P = np.arange(len(order)) - np.repeat(offsets[:-1], size_N)
    return np.concatenate(([0], np.cumsum(kept_N, dtype=np.int64))), order[place_P < k]
