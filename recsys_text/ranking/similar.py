"""The items that are most alike by their vectors. Knows vectors, neither texts nor clicks.

Shapes: I items, D dimensions, A items that may be named, R items at a time.
"""

import numpy as np

from recsys_text.ranking.affinity import Float32, unit
from recsys_text.ranking.log import Int32, Int64
from recsys_text.ranking.topk import topk

# Cosines that are held at a time: 16 MB.
_CHUNK = 1 << 22


def most_alike(items_ID: Float32, among_A: Int32, neutral_I: Int64, count: int) -> tuple[Int64, Int32]:
    """The `count` items of `among_A` nearest to each item by cosine, nearest first: `(offsets_I1, item)`.

    Never the item itself, and none whose cosine is not above 0: fewer where fewer have something in common. Equal
    cosines, to four digits, come by `neutral_I`, which is `log.neutral`.
    """
    unit_ID = unit(items_ID)
    among_AD = unit_ID[among_A]
    sizes, found = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)]
    step = max(1, _CHUNK // max(1, len(among_A)))
    for start in range(0, len(unit_ID), step):
        # Rounded: the last bits depend on where an item stands among others, and must not order equal texts.
        cosine_RA = np.round(unit_ID[start : start + step] @ among_AD.T, 4)
        cosine_RA[among_A == np.arange(start, start + len(cosine_RA))[:, None]] = 0
        least = max(0, len(among_A) - count)
        least_R = np.partition(cosine_RA, least, axis=1)[:, least] if len(among_A) else np.zeros(len(cosine_RA))
        row, place = np.nonzero((cosine_RA >= least_R[:, None]) & (cosine_RA > 0))
        offsets = np.searchsorted(row, np.arange(len(cosine_RA) + 1))
        ends, best = topk(cosine_RA[row, place], neutral_I[among_A[place]], offsets, count)
        sizes.append(np.diff(ends))
        found.append(among_A[place[best]])
    return np.cumsum(np.concatenate(sizes)), np.concatenate(found)
