"""What users say beside their clicks: which categories they read, and what values their events carry.

Shapes: N impressions, P pairs of an impression and a candidate, I items, G groups of a timeline.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from recsys_text.ranking.log import Impressions, Log
from recsys_text.ranking.timeline import Int64, Ints, Timeline, timeline

Float32 = NDArray[np.float32]
Doubles = NDArray[np.float64]

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
        of_user_P, of_all_P = category_shares(log, log.category, impressions, _TASTE)
        some_P = (log.category[impressions.item] >= 0) & (of_all_P > 0)
        affinity_P[some_P] = np.log(of_user_P[some_P] / of_all_P[some_P])
    means, usual_P = shrunk_means(log.values_of_item, impressions, {"value": None}, _VALUES)
    return {"category_affinity": affinity_P, "value": (means["value"] - usual_P).astype(np.float32)}


def category_shares(log: Log, category_I: Ints, impressions: Impressions, weight: float) -> tuple[Doubles, Doubles]:
    """The share of the candidate's category of the user's clicks and of everybody's, float64[P] each.

    The user's has `weight` clicks more, spread as everybody's are. Items of category -1 share one.
    """
    code_I = category_I.astype(np.int64) + 1
    groups = int(code_I.max(initial=0)) + 1
    clicks, own = log.clicks_of_item, log.clicks_of_user
    of_category = timeline(np.repeat(code_I, np.diff(clicks.start)), clicks.time, clicks.value, groups)
    user = np.repeat(np.arange(len(log.user_ids)), np.diff(own.start))
    pair, place = np.unique(user * groups + code_I[own.value], return_inverse=True)
    of_pair = timeline(place, own.time, own.value, len(pair))
    row_P, category_P, all_N = impressions.row, code_I[impressions.item], clicks.rank(impressions.time)
    everyone_P = of_category.stop(category_P, all_N[row_P]) - of_category.begin(category_P)
    share_P = everyone_P / np.maximum(all_N, 1)[row_P]
    user_clicks_N = own.stop(impressions.user, all_N) - own.begin(impressions.user)
    wanted_P = impressions.user[row_P].astype(np.int64) * groups + category_P
    at_P = np.minimum(np.searchsorted(pair, wanted_P), max(0, len(pair) - 1))
    none_P = np.full(len(at_P), -1) if not len(pair) else np.where(pair[at_P] == wanted_P, at_P, -1)
    both_P = of_pair.stop(none_P, all_N[row_P]) - of_pair.begin(none_P)
    return (both_P + weight * share_P) / (user_clicks_N + weight)[row_P], share_P


def shrunk_means(
    events: Timeline, impressions: Impressions, spans: Mapping[str, int | None], weight: float
) -> tuple[dict[str, Doubles], Doubles]:
    """The mean value of each candidate's events in the last microseconds of each span (None: ever), float64[P] each.

    Shrunk to the mean of all events before the impression, the second result, by as much as `weight` events weigh;
    0 before the first event. events: by item.
    """
    item_P, row_P = impressions.item, impressions.row
    sum_E1 = np.concatenate(([0.0], np.cumsum(events.value, dtype=np.float64)))
    everywhere = np.concatenate(([0.0], np.cumsum(events.value[np.argsort(events.time, kind="stable")], dtype=float)))
    now_N = events.rank(impressions.time)
    usual_P = (everywhere[now_N] / np.maximum(now_N, 1))[row_P]
    stop_P: Int64 = events.stop(item_P, now_N[row_P])
    means = {}
    for name, span in spans.items():
        begin_P = events.begin(item_P)
        if span is not None:
            begin_P = events.stop(item_P, events.rank(impressions.time - span)[row_P])
        means[name] = (sum_E1[stop_P] - sum_E1[begin_P] + weight * usual_P) / (stop_P - begin_P + weight)
    return means, usual_P
