"""What the items' vectors say of a user and a candidate beside the interest. Knows vectors and clicks, no model.

Shapes: N impressions, P pairs of an impression and a candidate, I items, D dimensions, H clicks of a history.
"""

import itertools
from dataclasses import dataclass

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
#: Impressions share a matrix of the items of all their pools where there are so many of them, and where the pairs of
#: each of both are at most so many times those that are asked for: a product of matrices takes a tenth of the time that
#: single ones take, and with the few vectors of a history two thirds of it.
_FEWEST_SHARING, _SPARE, _SPARE_OF_HISTORY = 4, 8, 1.3
#: Rows that matrix products are made of at a time, or a multiple of it, in the libraries of linear algebra.
_TILE = 64


def affinity(log: Log, items_ID: Float32, impressions: Impressions, history_NH: Int32) -> dict[str, Float32]:
    """The columns of AFFINITY, float32[P] each, from events strictly before each impression.

    near, near_newest: see `nearness`, with the history as from `histories`; near_disliked: cosine of the candidate and
    the nearest of what the user disliked, 0 where that is nothing; trend: cosine of the candidate and the sum
    of all that anybody clicked in the 24 hours before: text that many read now, 0 where there is none.
    """
    unit_ID = unit(items_ID)
    trend_P = dots(_trend(log, unit_ID, impressions.time), unit_ID, impressions.item, impressions.offsets)
    near = _nearness(unit_ID, impressions.item, impressions.offsets, history_NH)
    return near | {"near_disliked": _near_disliked(log, unit_ID, impressions), "trend": trend_P}


def _near_disliked(log: Log, unit_ID: Float32, impressions: Impressions) -> Float32:
    if not log.disliked.any():
        return np.zeros(len(impressions.item), np.float32)
    disliked_NH = newest(log.dislikes_of_user, impressions.user, impressions.time, _DISLIKES)
    return _nearness(unit_ID, impressions.item, impressions.offsets, disliked_NH)["near"]


def dots(users_ND: Float32, items_ID: Float32, item_P: Ints, offsets_N1: Int64) -> Float32:
    """The dot product of each candidate and the vector of its impression, float32[P]."""
    shared = _shared(item_P, offsets_N1, len(items_ID), spare=_SPARE)
    if shared is not None:
        return (_tiles(users_ND) @ _tiles(items_ID, shared.item_J).T)[shared.row_P, shared.place_P]
    dot_P = np.zeros(len(item_P), dtype=np.float32)
    for row, pairs in enumerate(_slices(offsets_N1)):
        dot_P[pairs] = (_tiles(users_ND, slice(row, row + 1)) @ _tiles(items_ID, item_P[pairs]).T)[
            0, : pairs.stop - pairs.start
        ]
    return dot_P


def nearness(items_ID: Float32, item_P: Ints, offsets_N1: Int64, history_NH: Int32) -> dict[str, Float32]:
    """Cosine of each candidate and the nearest item of its user's history (near), and the newest (near_newest).

    float32[P] each, 0 without a history. history_NH: oldest first, -1 is padding before the oldest.
    """
    return _nearness(unit(items_ID), item_P, offsets_N1, history_NH)


def _nearness(unit_ID: Float32, item_P: Ints, offsets_N1: Int64, history_NH: Int32) -> dict[str, Float32]:
    """As `nearness`, of vectors of length 1."""
    shared = _shared(item_P, offsets_N1, len(unit_ID), spare=_SPARE_OF_HISTORY)
    of_all_JD = None if shared is None else _tiles(unit_ID, shared.item_J)
    columns = {name: np.zeros(len(item_P), dtype=np.float32) for name in ("near", "near_newest")}
    for pairs, history_H in zip(_slices(offsets_N1), history_NH, strict=True):
        clicks = history_H[history_H >= 0]
        if not len(clicks) or pairs.start == pairs.stop:
            continue
        if shared is None or of_all_JD is None:
            place_C, vectors_JD = np.arange(pairs.stop - pairs.start), _tiles(unit_ID, item_P[pairs])
        else:
            place_C, vectors_JD = shared.place_P[pairs], of_all_JD
        cosine_HJ = unit_ID[clicks] @ vectors_JD.T
        columns["near"][pairs], columns["near_newest"][pairs] = cosine_HJ.max(axis=0)[place_C], cosine_HJ[-1, place_C]
    return columns


def _tiles(vectors_ND: Float32, chosen: Ints | slice = slice(None)) -> Float32:
    """The chosen vectors, and as many of zeros as make their number a multiple of _TILE.

    A product of matrices is made in tiles, those at its edges in another way than the others, so that the last bits of
    equal rows differ. Filled up they are equal, where the linear algebra has one thread as in `bundle.in_parts`.
    """
    places = np.arange(len(vectors_ND))[chosen] if isinstance(chosen, slice) else chosen
    filled = np.empty((-(-len(places) // _TILE) * _TILE, vectors_ND.shape[1]), np.float32)
    filled[len(places) :] = 0
    np.take(vectors_ND, places, axis=0, out=filled[: len(places)], mode="clip")  # any other mode makes a copy first
    return filled


@dataclass(frozen=True, kw_only=True, eq=False)
class _Shared:
    """J items of which the pools of all impressions are made, and where each pair stands among them and impressions."""

    item_J: Int64
    place_P: Int64
    row_P: Int64


def _shared(item_P: Ints, offsets_N1: Int64, catalogue: int, *, spare: float) -> _Shared | None:
    """The items of the pools, None where each with each impression are more than `spare` times the pairs."""
    there_I = np.zeros(catalogue, np.bool_)
    there_I[item_P] = True
    item_J, size_N = np.flatnonzero(there_I), np.diff(offsets_N1)
    if len(size_N) < _FEWEST_SHARING or len(item_J) * len(size_N) > spare * len(item_P):
        return None
    place_I = np.cumsum(there_I) - 1
    return _Shared(item_J=item_J, place_P=place_I[item_P], row_P=np.repeat(np.arange(len(size_N)), size_N))


def _slices(offsets_N1: Int64) -> list[slice]:
    return [slice(begin, end) for begin, end in itertools.pairwise(offsets_N1.tolist())]


def _trend(log: Log, unit_ID: Float32, times_N: Int64) -> Float32:
    """The direction of the sum of the vectors of all clicks of a day before each time, float32[N, D], length 1 or 0."""
    time, item = log.click_times, log.of_clicks(log.item)
    distinct, which_N = np.unique(times_N, return_inverse=True)
    stops, begins = (np.searchsorted(time, distinct - span, side="left").tolist() for span in (0, _TREND))
    sums = np.zeros((len(distinct), unit_ID.shape[1]), dtype=np.float32)
    count_I = np.zeros(len(unit_ID), dtype=np.int64)
    last_begin = last_stop = 0
    for first in range(0, len(distinct), _TILE):
        rows = slice(first, min(first + _TILE, len(distinct)))
        counts_TI = np.zeros((_TILE, len(unit_ID)), np.float32)  # of a whole tile, as in `_tiles`
        for row in range(rows.start, rows.stop):
            # Whole numbers, so that what came into the span and left it again leaves no trace.
            np.add.at(count_I, item[last_stop : stops[row]], 1)
            np.subtract.at(count_I, item[last_begin : begins[row]], 1)
            last_begin, last_stop = begins[row], stops[row]
            counts_TI[row - first] = count_I
        sums[rows] = (counts_TI @ unit_ID)[: rows.stop - first]
    return unit(sums)[which_N]


def unit(vec_ND: Float32) -> Float32:
    """Each vector at length 1; one of length 0 as it is."""
    length_N1 = np.linalg.norm(vec_ND, axis=1, keepdims=True)
    return (vec_ND / np.where(length_N1 > 0, length_N1, 1)).astype(np.float32)
