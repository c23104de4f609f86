"""What the items' vectors say of a user and a candidate beside the interest. Knows vectors and clicks, no model.

Shapes: N impressions, P pairs of an impression and a candidate, I items, D dimensions, H clicks of a history.
"""

import itertools

import numpy as np
from numpy.typing import NDArray

from recsys_text.ranking.candidates import newest
from recsys_text.ranking.log import HOUR, Impressions, Int32, Int64, Log
from recsys_text.ranking.timeline import Ints

Float32 = NDArray[np.float32]

#: The columns of `affinity`.
AFFINITY = ("near", "near_newest", "near_disliked", "trend")
_TREND = 24 * HOUR
#: Dislikes of a user that a candidate is compared with, the newest ones.
_DISLIKES = 20


def affinity(log: Log, items_ID: Float32, impressions: Impressions, history_NH: Int32) -> dict[str, Float32]:
    """The columns of AFFINITY, float32[P] each, from events strictly before each impression.

    near, near_newest: see `nearness`, with the history as from `histories`; near_disliked: cosine of the candidate and
    the nearest of what the user disliked, 0 where that is nothing; trend: cosine of the candidate and the sum
    of all that anybody clicked in the 24 hours before: text that many read now, 0 where there is none.
    """
    unit_ID = unit(items_ID)
    trend_P = dots(_trend(log, unit_ID, impressions.time), unit_ID, impressions.item, impressions.offsets)
    near = nearness(items_ID, impressions.item, impressions.offsets, history_NH)
    return near | {"near_disliked": _near_disliked(log, items_ID, impressions), "trend": trend_P}


def _near_disliked(log: Log, items_ID: Float32, impressions: Impressions) -> Float32:
    if not log.disliked.any():
        return np.zeros(len(impressions.item), np.float32)
    disliked_NH = newest(log.dislikes_of_user, impressions.user, impressions.time, _DISLIKES)
    return nearness(items_ID, impressions.item, impressions.offsets, disliked_NH)["near"]


def dots(users_ND: Float32, items_ID: Float32, item_P: Ints, offsets_N1: Int64) -> Float32:
    """The dot product of each candidate and the vector of its impression, float32[P].

    An impression at a time: a matrix of both vectors for all pairs takes longer to write than to multiply.
    """
    dot_P = np.zeros(len(item_P), dtype=np.float32)
    for pairs, user_D in zip(_slices(offsets_N1), users_ND, strict=True):
        # Row by row, so that equal rows have equal products: those of a matrix depend on where a row stands.
        dot_P[pairs] = np.einsum("cd,d->c", items_ID[item_P[pairs]], user_D)
    return dot_P


def nearness(items_ID: Float32, item_P: Ints, offsets_N1: Int64, history_NH: Int32) -> dict[str, Float32]:
    """Cosine of each candidate and the nearest item of its user's history (near), and the newest (near_newest).

    float32[P] each, 0 without a history. history_NH: oldest first, -1 is padding before the oldest.
    """
    unit_ID = unit(items_ID)
    columns = {name: np.zeros(len(item_P), dtype=np.float32) for name in ("near", "near_newest")}
    for pairs, history_H in zip(_slices(offsets_N1), history_NH, strict=True):
        clicks = history_H[history_H >= 0]
        if len(clicks) and pairs.start < pairs.stop:
            cosine_CH = unit_ID[item_P[pairs]] @ unit_ID[clicks].T
            columns["near"][pairs] = cosine_CH.max(axis=1)
            columns["near_newest"][pairs] = cosine_CH[:, -1]
    return columns


def _slices(offsets_N1: Int64) -> list[slice]:
    return [slice(begin, end) for begin, end in itertools.pairwise(offsets_N1.tolist())]


def _trend(log: Log, unit_ID: Float32, times_N: Int64) -> Float32:
    """The direction of the sum of the vectors of all clicks of a day before each time, float32[N, D], length 1 or 0."""
    time, item = log.click_times, log.of_clicks(log.item)
    distinct, which_N = np.unique(times_N, return_inverse=True)
    stops, begins = (np.searchsorted(time, distinct - span, side="left").tolist() for span in (0, _TREND))
    sums = np.zeros((len(distinct), unit_ID.shape[1]), dtype=np.float32)
    count_I = np.zeros(len(unit_ID), dtype=np.int64)
    # Whole numbers, so that what came into the span and left it again leaves no trace.
    last_begin = last_stop = 0
    for row, (begin, stop) in enumerate(zip(begins, stops, strict=True)):
        count_I += np.bincount(item[last_stop:stop], minlength=len(count_I))
        count_I -= np.bincount(item[last_begin:begin], minlength=len(count_I))
        last_begin, last_stop = begin, stop
        clicked = np.flatnonzero(count_I)
        sums[row] = count_I[clicked].astype(np.float32) @ unit_ID[clicked]
    return unit(sums)[which_N]


def unit(vec_ND: Float32) -> Float32:
    """Each vector at length 1; one of length 0 as it is."""
    length_N1 = np.linalg.norm(vec_ND, axis=1, keepdims=True)
    return (vec_ND / np.where(length_N1 > 0, length_N1, 1)).astype(np.float32)
