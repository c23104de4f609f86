"""What the blend sees of a user and a candidate, as of the impression's time. Knows no model and no clock.

One implementation serves training, evaluation, `rank` and publishing. Everything at t is made of events strictly
before t. Ranks are within the impression; when a whole pool is scored, the pool is the impression.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from recsys_text.ranking.affinity import AFFINITY
from recsys_text.ranking.candidates import histories
from recsys_text.ranking.categories import category_affinity
from recsys_text.ranking.coclick import NEXT_SPANS, coclick, following
from recsys_text.ranking.item_state import (
    AGES,
    ALIKE_SPANS,
    CLICK_SPANS,
    FIRST_SPANS,
    ITEM_COLUMNS,
    clicks_of_alike,
    item_state,
)
from recsys_text.ranking.log import HOUR, Bool, Impressions, Int64, Log
from recsys_text.ranking.neighbours import TOGETHER
from recsys_text.ranking.repeats import REPEATS, repeats
from recsys_text.ranking.states import arrives
from recsys_text.ranking.timeline import Times

Float32 = NDArray[np.float32]

#: Clicks of a user's history that co-clicks are counted from.
HISTORY = 10
#: Clicks of a user that tell a taste.
_TASTE = 20
#: The share of an impression's clicks is shrunk as if it had so many more.
_DOUBT = 5.0
_DAY = 24 * HOUR
_THREADS = 2
_ROWS = 4096
# Pairs that are sorted at a time, unless one impression has more: their places, and the numbers of their impressions,
# have 16 bits each beside the 32 of a value.
_PLACE_BITS = 16
_BLOCK = 1 << _PLACE_BITS
_NEXT = tuple(f"next_{span}" for span in NEXT_SPANS)
_NEXT_SHARES = tuple(f"next_share_{span}" for span in NEXT_SPANS)
_COCLICKS = (
    "coclick_6h", "coclick_24h", "coclick_total", "coclick_last_6h", "coclick_last_24h", "coclick_last_total",
)  # fmt: skip
_TASTES = ("taste_age", "taste_clicks")
#: Counts and hours, which are given as log1p.
_LOGARITHMS = (
    *CLICK_SPANS, "clicks_total", *FIRST_SPANS, "user_clicks", *ALIKE_SPANS, *_NEXT, "own_clicks",
    *AGES, "user_idle_hours", "own_since_hours", "own_interval_hours", "horizon_hours",
)  # fmt: skip
_RANKED = (
    "clicks_30m", "clicks_2h", "clicks_24h", "clicks_7d", "clicks_28d", "first_clicks_28d", "age_hours",
    "since_click_hours", "coclick_6h", "coclick_24h", "coclick_total", "coclick_last_total", "interest", "near",
    "together_late", "bm25",
)  # fmt: skip

#: The columns of `counts`.
COUNTS: tuple[str, ...] = (
    *ITEM_COLUMNS, *ALIKE_SPANS, "user_clicks", "user_idle_hours", "hour", "horizon_hours", *_COCLICKS, *_NEXT,
    *_NEXT_SHARES, *_TASTES, "category_affinity", *REPEATS,
)  # fmt: skip
#: Columns that are also given as their share of the impression's sum.
_SHARED = ("clicks_2h", "coclick_6h", "coclick_24h")
#: The columns that come from the items' texts; what is left without them is the ranker without text.
INTEREST_FEATURES: tuple[str, ...] = ("interest", *AFFINITY, "interest_rank", "near_rank")

FEATURES: tuple[str, ...] = (
    *COUNTS, *TOGETHER, "velocity", "pace", "interest", *AFFINITY,
    *(f"{name}_share" for name in _SHARED), *(f"{name}_rank" for name in _RANKED),
)  # fmt: skip


def counts(log: Log, impressions: Impressions) -> dict[str, Float32]:
    """What the log says of each pair strictly before its impression's time, float32[P] each, on natural scales.

    Of the item: see `item_state`. alike_2h, _24h: clicks on it by users who arrived with that click where this user
    arrives, else by users who read on (`ranking.states`). user_clicks: of the user; user_idle_hours: since the last of
    them (a month where there is none or it is longer ago); hour: of the day, UTC; horizon_hours: for how long the
    scores are used; next_*, coclick_*: see `ranking.coclick`; taste_*: see `_tastes`; category_affinity: see there;
    what the user had before: see `ranking.repeats`.
    """
    time_N, row_P = impressions.time, impressions.row
    own = log.clicks_of_user
    stop_N, begin_N = own.stop(impressions.user, own.rank(time_N)), own.begin(impressions.user)
    idle_N = np.where(stop_N > begin_N, time_N - _last(own, stop_N), 30 * _DAY)
    of_users = {
        "user_clicks": (stop_N - begin_N).astype(np.float32),
        "user_idle_hours": _hours(np.minimum(idle_N, 30 * _DAY)),
        "hour": _hours(time_N % _DAY),
        "horizon_hours": np.full(len(time_N), impressions.horizon / HOUR, np.float32),
    }
    history_NH = histories(log, impressions.user, time_N, HISTORY)
    return (
        item_state(log, impressions)
        | clicks_of_alike(log, impressions, arrives(own, impressions.user, time_N))
        | {name: values_N[row_P] for name, values_N in (of_users | _tastes(log, begin_N, stop_N)).items()}
        | coclick(log, impressions, history_NH)
        | following(log, impressions, history_NH[:, -1])
        | category_affinity(log, impressions)
        | repeats(log, impressions)
    )


def assemble(counts: Mapping[str, Float32], said: Mapping[str, Float32], offsets: Int64) -> Float32:
    """float32[P, F] with the columns of FEATURES: counts and hours as log1p, and ranks within each impression.

    said: what fitted parts say, "interest" and the columns of AFFINITY and of TOGETHER. velocity is
    log((clicks_2h + 1) / (clicks_24h / 12 + 1)): above 0 where the last two hours beat the day; pace is the log of the
    clicks per hour since the item is known; `_share` is the log of a candidate's share of the impression's sum.
    """
    columns: dict[str, Float32] = dict(counts) | {
        name: said[name].astype(np.float32) for name in ("interest", *AFFINITY, *TOGETHER)
    }
    # Sorting is what takes the time, and numpy sorts without Python's lock.
    with ThreadPoolExecutor(_THREADS) as pool:
        sorted_P = pool.map(lambda name: percentile(columns[name], offsets), _RANKED)
        ranks = {f"{name}_rank": rank_P for name, rank_P in zip(_RANKED, sorted_P, strict=True)}
    shares = {f"{name}_share": _log_share(columns[name], offsets) for name in _SHARED}
    columns["velocity"] = np.log1p(columns["clicks_2h"]) - np.log1p(columns["clicks_24h"] / 12)
    columns["pace"] = np.log((columns["clicks_total"] + 0.5) / (columns["age_hours"] + 1))
    columns |= ranks | shares | {name: np.log1p(columns[name]) for name in _LOGARITHMS}
    matrix_PF = np.empty((len(columns["interest"]), len(FEATURES)), dtype=np.float32)
    # Some rows at a time, which stay in the cache while their columns come in.
    for start in range(0, len(matrix_PF), _ROWS):
        rows = slice(start, start + _ROWS)
        for at, name in enumerate(FEATURES):
            matrix_PF[rows, at] = columns[name][rows]
    return matrix_PF


def _log_share(values_P: Float32, offsets: Int64) -> Float32:
    row_P = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    sum_N = np.bincount(row_P, weights=values_P, minlength=len(offsets) - 1)
    return np.log((values_P + 0.1) / (sum_N[row_P] + _DOUBT)).astype(np.float32)


def _tastes(log: Log, begin_N: Int64, stop_N: Int64) -> dict[str, Float32]:
    """How old and how popular a user likes items to be: means over the last _TASTE of the clicks [begin, stop) of each.

    float32[N] of the log1p of the hours since the item was known (taste_age) and of its clicks in the two hours before
    (taste_clicks), as of each click; 0 without clicks.
    """
    at_NH = stop_N[:, None] + np.arange(-_TASTE, 0)
    known_NH = at_NH >= begin_N[:, None]
    own, clicks = log.clicks_of_user, log.clicks_of_item
    at_Q = at_NH[known_NH]
    item_Q, time_Q = own.value[at_Q], own.times(at_Q)
    now_Q, before_Q = clicks.rank(time_Q), clicks.rank(time_Q - 2 * HOUR)
    values = {
        "taste_age": np.maximum(time_Q - log.known_at[item_Q], 0) / HOUR,
        "taste_clicks": clicks.stop(item_Q, now_Q) - clicks.stop(item_Q, before_Q),
    }
    row_Q = np.nonzero(known_NH)[0]
    of_N = np.maximum(known_NH.sum(axis=1), 1)
    return {
        name: (np.bincount(row_Q, weights=np.log1p(value_Q), minlength=len(of_N)) / of_N).astype(np.float32)
        for name, value_Q in values.items()
    }


def percentile(values_P: Float32, offsets: Int64) -> Float32:
    """The share of an impression's other candidates below each one, equal ones counting half; 0.5 when alone."""
    size_N = np.diff(offsets)
    order, new = ordered(values_P, offsets)
    first = np.flatnonzero(new)
    equal = np.diff(first, append=len(order))
    # Half of its equals stand below it, itself not counted; alone, a pair is in the middle.
    share = np.repeat(first + (equal - 1) / 2, equal)
    share -= np.repeat(offsets[:-1] - 0.5 * (size_N == 1), size_N)
    share /= np.repeat(np.maximum(size_N - 1, 1), size_N)
    share_P = np.empty(len(order), np.float32)
    share_P[order] = share
    return share_P


def ordered(values_P: Float32, offsets: Int64) -> tuple[Int64, Bool]:
    """The pairs by impression, then by value, then as they come; and whether each is above the one before it, or of
    another impression.

    One integer for each pair, of its impression, value and place, is sorted in blocks of what fits: integers alone sort
    several times as fast as their positions, and a block stays in the cache.
    """
    order, new = np.empty(len(values_P), np.int64), np.empty(len(values_P), np.bool_)
    start = 0
    while start < len(offsets) - 1:
        full = int(np.searchsorted(offsets, offsets[start] + _BLOCK, side="right")) - 1
        stop = max(start + 1, min(full, start + _BLOCK))
        pairs = slice(offsets[start], offsets[stop])
        # An impression by itself needs no bits for its number and may be of any size.
        place_bits = np.uint64(_PLACE_BITS if stop - start > 1 else 32)
        key = _sortable(values_P[pairs]).astype(np.uint64)
        key <<= place_bits
        row = np.arange(stop - start, dtype=np.uint64) << np.uint64(32 + _PLACE_BITS)
        key |= np.repeat(row, np.diff(offsets[start : stop + 1]))
        key |= np.arange(len(key), dtype=np.uint64)
        key.sort()
        order[pairs] = key & (np.uint64(1) << place_bits) - np.uint64(1)
        order[pairs] += offsets[start]
        key >>= place_bits
        new[pairs] = True
        new[pairs][1:] = key[1:] != key[:-1]
        start = stop
    return order, new


def _sortable(values_P: Float32) -> NDArray[np.uint32]:
    """Integers in the order of the values: negative floats have all their bits flipped, others their sign (IEEE 754
    orders the rest).
    """
    bits = (values_P.astype(np.float32) + np.float32(0)).view(np.int32)
    return (bits ^ (bits >> 31 | np.int32(-(1 << 31)))).view(np.uint32)


def _last(events: Times, stop: Int64) -> Int64:
    return events.times(np.maximum(stop - 1, 0)) if len(events.clock) else np.zeros(len(stop), dtype=np.int64)


def _hours(micros: Int64) -> Float32:
    return (micros / HOUR).astype(np.float32)
