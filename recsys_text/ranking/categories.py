"""Which categories a user reads, beside what everybody reads.

Shapes: N impressions, P pairs of an impression and a candidate.
"""

import numpy as np
from numpy.typing import NDArray

from recsys_text.ranking.log import Impressions, Log
from recsys_text.ranking.sums import Doubles

Float32 = NDArray[np.float32]

#: Clicks spread as everybody's are that a user's share of categories starts with.
_TASTE = 5.0


def category_affinity(log: Log, impressions: Impressions) -> dict[str, Float32]:
    """The column category_affinity, float32[P], from events strictly before each impression.

    The log of the candidate's category's share of the user's clicks over its share of everybody's, shrunk to 0 where
    little is known; 0 for a user without clicks and an item without a category.
    """
    affinity_P = np.zeros(len(impressions.item), np.float32)
    if (log.category >= 0).any():
        of_user_P, of_all_P = category_shares(log, impressions, _TASTE)
        some_P = (log.category[impressions.item] >= 0) & (of_all_P > 0)
        affinity_P[some_P] = np.log(of_user_P[some_P] / of_all_P[some_P])
    return {"category_affinity": affinity_P}


def category_shares(log: Log, impressions: Impressions, weight: float) -> tuple[Doubles, Doubles]:
    """`Categories.shares` of each pair, as of its impression's time."""
    own, row_P = log.clicks_of_user, impressions.row
    rank_N = own.rank(impressions.time)
    clicks_N = own.stop(impressions.user, rank_N) - own.begin(impressions.user)
    user_P = impressions.user[row_P]
    return log.categories.shares(user_P, impressions.item, rank_N[row_P], clicks_N[row_P], weight)
