"""What users say beside their clicks: which categories they read, and what values their events carry.

Shapes: N impressions, P pairs of an impression and a candidate.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from recsys_text.ranking.log import Impressions, Log
from recsys_text.ranking.sums import Doubles, Rates, Sums

Float32 = NDArray[np.float32]

#: The columns of `opinions`.
OPINIONS = ("category_affinity", "value")
#: Clicks spread as everybody's are that a user's share of categories starts with.
_TASTE = 5.0
#: Events of the usual value that an item's mean starts with.
_VALUES = 5.0


def opinions(log: Log, impressions: Impressions) -> dict[str, Float32]:
    """The columns of OPINIONS, float32[P] each, from events strictly before each impression.

    category_affinity: log of the candidate's category's share of the user's clicks over its share of everybody's; 0
    for a user without clicks and an item without a category. value: how far the mean value of the item's events is
    above that of all events; 0 where no event has one. Both are shrunk to 0 where little is known.
    """
    affinity_P = np.zeros(len(impressions.item), np.float32)
    if (log.category >= 0).any():
        of_user_P, of_all_P = category_shares(log, impressions, _TASTE)
        some_P = (log.category[impressions.item] >= 0) & (of_all_P > 0)
        affinity_P[some_P] = np.log(of_user_P[some_P] / of_all_P[some_P])
    means, usual_P = shrunk_means(log.value_sums, impressions, {"value": None}, _VALUES)
    return {"category_affinity": affinity_P, "value": (means["value"] - usual_P).astype(np.float32)}


def category_shares(log: Log, impressions: Impressions, weight: float) -> tuple[Doubles, Doubles]:
    """`Categories.shares` of each pair, as of its impression's time."""
    own, row_P = log.clicks_of_user, impressions.row
    rank_N = own.rank(impressions.time)
    clicks_N = own.stop(impressions.user, rank_N) - own.begin(impressions.user)
    user_P = impressions.user[row_P]
    return log.categories.shares(user_P, impressions.item, rank_N[row_P], clicks_N[row_P], weight)


def shrunk_means(
    known: Sums | Rates, impressions: Impressions, spans: Mapping[str, int | None], weight: float
) -> tuple[dict[str, Doubles], Doubles]:
    """The mean value of each candidate's events in the last microseconds of each span (None: ever), float64[P] each.

    Shrunk to the mean of all events before the impression, the second result, by as much as `weight` events weigh;
    0 before the first event. known: of events by item.
    """
    item_P, row_P = impressions.item, impressions.row
    now_N = known.rank(impressions.time)
    all_N, total_N = known.overall(now_N)
    usual_P = (total_N / np.maximum(all_N, 1))[row_P]
    means = {}
    for name, span in spans.items():
        since_P = None if span is None else known.rank(impressions.time - span)[row_P]
        count_P, total_P = known.within(item_P, since_P, now_N[row_P])
        means[name] = (total_P + weight * usual_P) / (count_P + weight)
    return means, usual_P
