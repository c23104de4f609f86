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
from recsys_text.ranking.coclick import NEXT_SPANS, coclick, following
from recsys_text.ranking.log import HOUR, Bool, Impressions, Int64, Log
from recsys_text.ranking.neighbours import TOGETHER
from recsys_text.ranking.opinions import OPINIONS, opinions, shrunk_means
from recsys_text.ranking.states import arrives
from recsys_text.ranking.timeline import Times

Float32 = NDArray[np.float32]

#: Clicks of a user's history that co-clicks are counted from.
HISTORY = 10
#: Clicks of a user that tell a taste.
_TASTE = 20
#: Impressions of the usual rate that an item's click rate starts with.
_SHOWN = 20.0
#: The share of an impression's clicks is shrunk as if it had so many more.
_DOUBT = 5.0
_DAY = 24 * HOUR
_THREADS = 2
_ROWS = 4096
# Pairs that are sorted at a time, unless one impression has more: their places, and the numbers of their impressions,
# have 16 bits each beside the 32 of a value.
_PLACE_BITS = 16
_BLOCK = 1 << _PLACE_BITS
_SPANS = {"clicks_30m": HOUR // 2, "clicks_2h": 2 * HOUR, "clicks_6h": 6 * HOUR, "clicks_24h": _DAY}
_ALIKE = {"alike_2h": 2 * HOUR, "alike_24h": _DAY}
_NEXT = tuple(f"next_{span}" for span in NEXT_SPANS)
_NEXT_SHARES = tuple(f"next_share_{span}" for span in NEXT_SPANS)
_COUNTS = (*_SPANS, "clicks_total", "user_clicks", *_ALIKE, *_NEXT)
_HOURS = ("age_hours", "since_click_hours", "user_idle_hours")
_COCLICKS = (
    "coclick_6h", "coclick_24h", "coclick_total", "coclick_last_6h", "coclick_last_24h", "coclick_last_total",
)  # fmt: skip
_TASTES = ("taste_age", "taste_clicks")
_RATES = ("click_rate", "click_rate_24h")
_RANKED = (
    "clicks_30m", "clicks_2h", "clicks_24h", "age_hours", "since_click_hours",
    "coclick_6h", "coclick_24h", "coclick_total", "coclick_last_total", "interest", "near",
    "together_late",
)  # fmt: skip

#: The columns of `counts`.
COUNTS: tuple[str, ...] = (*_COUNTS, *_HOURS, "hour", *_COCLICKS, *_NEXT_SHARES, *_TASTES, *_RATES, *OPINIONS)
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

    clicks_30m, _2h, _6h, _24h, _total: positive events on the item; user_clicks: of the user; alike_2h, _24h: on the
    item, by users who arrived with that click where this user arrives, else by users who read on (`ranking.states`);
    next_*, coclick_*: see `ranking.coclick`; age_hours: since the item is known; since_click_hours: since its last
    click (its age where it has none); user_idle_hours: since the user's last click (a month where there is none or it
    is longer ago); hour: of the day, UTC; taste_*: see `_tastes`; click_rate*: see `_click_rates`;
    category_affinity, value: see `opinions`.
    """
    time_N, row_P, item_P = impressions.time, impressions.row, impressions.item
    clicks = log.clicks_of_item
    stop_P, begin_P = clicks.stop(item_P, clicks.rank(time_N)[row_P]), clicks.begin(item_P)
    columns = {
        name: (stop_P - clicks.stop(item_P, clicks.rank(time_N - span)[row_P])).astype(np.float32)
        for name, span in _SPANS.items()
    }
    columns["clicks_total"] = (stop_P - begin_P).astype(np.float32)
    age_P = np.maximum(time_N[row_P] - log.known_at[item_P], 0)
    since_P = age_P.copy()
    some_P = stop_P > begin_P
    since_P[some_P] = (time_N[row_P] - _last(clicks, stop_P))[some_P]
    columns["age_hours"] = _hours(age_P)
    columns["since_click_hours"] = _hours(since_P)
    own = log.clicks_of_user
    stop_N, begin_N = own.stop(impressions.user, own.rank(time_N)), own.begin(impressions.user)
    idle_N = np.where(stop_N > begin_N, time_N - _last(own, stop_N), 30 * _DAY)
    columns["user_clicks"] = (stop_N - begin_N).astype(np.float32)[row_P]
    columns["user_idle_hours"] = _hours(np.minimum(idle_N, 30 * _DAY))[row_P]
    columns["hour"] = _hours(time_N % _DAY)[row_P]
    history_NH = histories(log, impressions.user, time_N, HISTORY)
    return (
        columns
        | _clicks_of_alike(log, impressions)
        | coclick(log, impressions, history_NH)
        | following(log, impressions, history_NH[:, -1])
        | {name: values_N[row_P] for name, values_N in _tastes(log, begin_N, stop_N).items()}
        | _click_rates(log, impressions)
        | opinions(log, impressions)
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
    columns |= ranks | shares | {name: np.log1p(columns[name]) for name in (*_COUNTS, *_HOURS)}
    matrix_PF = np.empty((len(columns["interest"]), len(FEATURES)), dtype=np.float32)
    # Some rows at a time, which stay in the cache while their columns come in.
    for start in range(0, len(matrix_PF), _ROWS):
        rows = slice(start, start + _ROWS)
        for at, name in enumerate(FEATURES):
            matrix_PF[rows, at] = columns[name][rows]
    return matrix_PF


def _clicks_of_alike(log: Log, impressions: Impressions) -> dict[str, Float32]:
    clicks, row_P = log.clicks_of_arrival, impressions.row
    arrives_N = arrives(log.clicks_of_user, impressions.user, impressions.time)
    group_P = impressions.item.astype(np.int64) * 2 + arrives_N[row_P]
    stop_P = clicks.stop(group_P, clicks.rank(impressions.time)[row_P])
    return {
        name: (stop_P - clicks.stop(group_P, clicks.rank(impressions.time - span)[row_P])).astype(np.float32)
        for name, span in _ALIKE.items()
    }


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
    now_Q, before_Q = clicks.rank(time_Q), clicks.rank(time_Q - _SPANS["clicks_2h"])
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


def _click_rates(log: Log, impressions: Impressions) -> dict[str, Float32]:
    """The share of an item's logged impressions that were clicked, ever and in a day; 0 where nothing is logged."""
    if not len(log.logged):
        return {name: np.zeros(len(impressions.item), np.float32) for name in _RATES}
    spans = dict(zip(_RATES, (None, _DAY), strict=True))
    means, _ = shrunk_means(log.shown_rates, impressions, spans, _SHOWN)
    return {name: mean_P.astype(np.float32) for name, mean_P in means.items()}


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
