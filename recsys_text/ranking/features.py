"""What the blend sees of a user and a candidate, as of the impression's time. Knows no model and no clock.

One implementation serves training, evaluation, `rank` and publishing. Everything at t is made of events strictly
before t. Ranks are within the impression; when a whole pool is scored, the pool is the impression.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from recsys_text.ranking.candidates import histories
from recsys_text.ranking.coclick import coclick
from recsys_text.ranking.log import HOUR, Impressions, Int64, Log

Float32 = NDArray[np.float32]

#: Clicks of a user's history that co-clicks are counted from.
HISTORY = 10
_DAY = 24 * HOUR
_SPANS = {"clicks_30m": HOUR // 2, "clicks_2h": 2 * HOUR, "clicks_6h": 6 * HOUR, "clicks_24h": _DAY}
_COUNTS = (*_SPANS, "clicks_total", "user_clicks")
_HOURS = ("age_hours", "since_click_hours", "user_idle_hours")
_COCLICKS = (
    "coclick_6h", "coclick_24h", "coclick_total", "coclick_last_6h", "coclick_last_24h", "coclick_last_total",
)  # fmt: skip
_RANKED = ("clicks_2h", "clicks_24h", "clicks_total", "age_hours", "coclick_24h", "interest")

#: The columns of `counts`.
COUNTS: tuple[str, ...] = (*_COUNTS, *_HOURS, "hour", *_COCLICKS)

FEATURES: tuple[str, ...] = (
    *_COUNTS, *_HOURS, *_COCLICKS, "hour", "velocity", "interest", *(f"{name}_rank" for name in _RANKED),
)  # fmt: skip


def counts(log: Log, impressions: Impressions) -> dict[str, Float32]:
    """What the log says of each pair strictly before its impression's time, float32[P] each, on natural scales.

    clicks_30m, _2h, _6h, _24h, _total: positive events on the item; user_clicks: of the user; age_hours: since the
    item is known; since_click_hours: since its last click (its age where it has none); user_idle_hours: since the
    user's last click (a month where there is none or it is longer ago); hour: of the day, UTC; coclick_*: see there.
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
    since_P[some_P] = (time_N[row_P] - _last(clicks.time, stop_P))[some_P]
    columns["age_hours"] = _hours(age_P)
    columns["since_click_hours"] = _hours(since_P)
    own = log.clicks_of_user
    stop_N, begin_N = own.stop(impressions.user, own.rank(time_N)), own.begin(impressions.user)
    idle_N = np.where(stop_N > begin_N, time_N - _last(own.time, stop_N), 30 * _DAY)
    columns["user_clicks"] = (stop_N - begin_N).astype(np.float32)[row_P]
    columns["user_idle_hours"] = _hours(np.minimum(idle_N, 30 * _DAY))[row_P]
    columns["hour"] = _hours(time_N % _DAY)[row_P]
    return columns | coclick(log, impressions, histories(log, impressions.user, time_N, HISTORY))


def assemble(counts: Mapping[str, Float32], interest_P: Float32, offsets: Int64) -> Float32:
    """float32[P, F] with the columns of FEATURES: counts and hours as log1p, and ranks within each impression.

    velocity is log((clicks_2h + 1) / (clicks_24h / 12 + 1)): above 0 where the last two hours beat the day.
    """
    columns: dict[str, Float32] = dict(counts) | {"interest": interest_P.astype(np.float32)}
    ranks = {f"{name}_rank": percentile(columns[name], offsets) for name in _RANKED}
    columns["velocity"] = np.log1p(columns["clicks_2h"]) - np.log1p(columns["clicks_24h"] / 12)
    columns |= ranks | {name: np.log1p(columns[name]) for name in (*_COUNTS, *_HOURS)}
    return np.column_stack([columns[name] for name in FEATURES])


def percentile(values_P: Float32, offsets: Int64) -> Float32:
    """The share of an impression's other candidates below each one, equal ones counting half; 0.5 when alone."""
    size_N = np.diff(offsets)
    row_P = np.repeat(np.arange(len(size_N)), size_N)
    key = ordered(values_P, row_P)
    order = np.argsort(key)
    new = np.concatenate(([True], np.diff(key[order]) != 0))[: len(key)]
    run = np.cumsum(new) - 1
    first = np.flatnonzero(new)
    middle = first + (np.diff(np.concatenate((first, [len(key)]))) - 1) / 2
    rank_P = np.empty(len(key))
    rank_P[order] = middle[run]
    others_N = size_N - 1
    share = (rank_P - offsets[row_P]) / np.maximum(others_N, 1)[row_P]
    return np.where(others_N[row_P] == 0, 0.5, share).astype(np.float32)


def ordered(values_P: Float32, row_P: Int64) -> NDArray[np.uint64]:
    """One integer for each pair that sorts by impression, then by value: a single sort of integers is ten times as fast
    as one by two keys. Negative floats have their bits flipped, others their sign (IEEE 754 orders the rest).
    """
    bits = (values_P.astype(np.float32) + np.float32(0)).view(np.uint32)
    sortable = np.where(bits >> 31 != 0, ~bits, bits | np.uint32(1 << 31))
    return row_P.astype(np.uint64) << np.uint64(32) | sortable


def _last(times: Int64, stop: Int64) -> Int64:
    return times[np.maximum(stop - 1, 0)] if len(times) else np.zeros(len(stop), dtype=np.int64)


def _hours(micros: Int64) -> Float32:
    return (micros / HOUR).astype(np.float32)
