"""Candidate pools, histories and sampled impressions as of a time. Knows the log and the settings of the pool.

An item is in the pool of a user at t when it is known (`known_at <= t < expires_at`) and not absent, when (unless the
pool is the whole catalogue) it was clicked in [t - active, t) or became known in [t - fresh, t), and when the user has
no event with it strictly before t. With `repeat`, items that the user had before stay in the pool.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from weakref import WeakKeyDictionary

import numpy as np
import polars as pl

from recsys_text.ranking.log import NEVER, Bool, Impressions, Int32, Int64, Log, micros, no_impressions
from recsys_text.ranking.timeline import Timeline, expand, timeline
from recsys_text.sections import Candidates

#: Pairs that are expanded at a time; an eighth of a gigabyte with what it takes to make them.
CHUNK = 2_000_000
_QUERIES = 1 << 16


def pools(log: Log, times_N: Int64, users_N: Int32, settings: Candidates) -> tuple[Int64, Int32]:
    """The pool of each user (-1: unknown) at each time, as `(offsets_N1, item_P)`; items ascend in each pool."""
    chunks = list(pool_chunks(log, times_N, users_N, settings))
    sizes = np.concatenate([np.zeros(0, np.int64), *(np.diff(offsets) for _, offsets, _ in chunks)])
    items = np.concatenate([np.zeros(0, np.int32), *(item for _, _, item in chunks)])
    return _offsets(sizes), items


def pool_chunks(
    log: Log, times_N: Int64, users_N: Int32, settings: Candidates, pairs: int = CHUNK
) -> Iterator[tuple[slice, Int64, Int32]]:
    """The pools of consecutive queries, about `pairs` candidates at a time: which queries, offsets and items.

    Queries of one time share the work, so that the pools of many users at one time cost little more than one.
    """
    alive = _alive(log, settings)
    total_N = np.cumsum(alive.size(times_N))
    chunk_N = total_N // pairs + np.arange(len(times_N)) // _QUERIES
    cuts = np.concatenate(([0], np.flatnonzero(np.diff(chunk_N)) + 1, [len(times_N)]))
    for low, high in itertools.pairwise(cuts.tolist()):
        if low < high:
            part = slice(low, high)
            found = alive.at(times_N[part])
            yield part, *(found if settings.repeat else _without_consumed(log, times_N[part], users_N[part], *found))


def pool_impressions(
    log: Log, times_N: Int64, users_N: Int32, settings: Candidates, horizon: int = 0
) -> Iterator[Impressions]:
    """The pools of consecutive queries, as `pool_chunks` cuts them, as impressions in which nothing was clicked.

    horizon: for how long their scores are used, in microseconds.
    """
    for part, offsets, item in pool_chunks(log, times_N, users_N, settings):
        clicked = np.zeros(len(item), dtype=np.bool_)
        user, time = users_N[part], times_N[part]
        yield Impressions(user=user, time=time, offsets=offsets, item=item, clicked=clicked, horizon=horizon)


def pool_sizes(log: Log, times_N: Int64, settings: Candidates) -> Int64:
    """How many items are in the pool at each time, int64[N], before what a user consumed is left out."""
    return _alive(log, settings).size(times_N)


def histories(log: Log, users_N: Int32, times_N: Int64, length: int) -> Int32:
    """The items of the last `length` positive events strictly before each time, int32[N, length].

    Oldest first, so that the newest is in the last column; -1 fills the columns before the oldest.
    """
    return newest(log.clicks_of_user, users_N, times_N, length)


def newest(clicks: Timeline, users_N: Int32, times_N: Int64, length: int) -> Int32:
    """As `histories`, of any events by user whose values are items."""
    stop_N = clicks.stop(users_N, clicks.rank(times_N))
    at_NH = stop_N[:, None] + np.arange(-length, 0)
    missing_NH = at_NH < clicks.begin(users_N)[:, None]
    if not len(clicks.value):
        return np.full(at_NH.shape, -1, dtype=np.int32)
    return np.where(missing_NH, -1, clicks.value[np.where(missing_NH, 0, at_NH)]).astype(np.int32)


def sampled_impressions(
    log: Log,
    start: datetime,
    end: datetime,
    settings: Candidates,
    *,
    max_impressions: int,
    seed: int,
    negatives: int | None = None,
) -> tuple[Impressions, int]:
    """Each click in [start, end) ranked against its user's pool at its time, in time order.

    A click whose item is not in that pool is dropped; the second value counts all of them. Of the others, at most
    `max_impressions` are kept, drawn evenly. With `negatives`, only so many others of each pool are kept (see
    `with_negatives`), and memory stays bounded however large the pools are.
    """
    at_E = np.flatnonzero(log.positive & (log.time >= micros(start)) & (log.time < micros(end)))
    again = (np.diff(log.time[at_E]) == 0) & (np.diff(log.user[at_E]) == 0) & (np.diff(log.item[at_E]) == 0)
    at_E = np.delete(at_E, np.flatnonzero(again) + 1)
    inside = in_pool(log, log.time[at_E], log.user[at_E], log.item[at_E], settings)
    dropped = int((~inside).sum())
    at_E = at_E[inside]
    generator = np.random.default_rng(seed)
    if len(at_E) > max_impressions:
        at_E = np.sort(generator.choice(at_E, max_impressions, replace=False))
    parts = [no_impressions()]
    for part, offsets, item in pool_chunks(log, log.time[at_E], log.user[at_E], settings):
        clicks = at_E[part]
        clicked = item == np.repeat(log.item[clicks], np.diff(offsets))
        chunk = Impressions(user=log.user[clicks], time=log.time[clicks], offsets=offsets, item=item, clicked=clicked)
        parts.append(chunk if negatives is None else _thinned(chunk, negatives, generator))
    return joined(parts), dropped


def with_negatives(impressions: Impressions, n: int, seed: int) -> Impressions:
    """Keeps the clicked candidates and `n` of the others of each impression, drawn evenly without replacement.

    An impression with fewer others keeps them all; candidates stay in their order.
    """
    return _thinned(impressions, n, np.random.default_rng(seed))


#: By the settings, for as long as the log is there.
_KEPT: WeakKeyDictionary[Log, dict[Candidates, "_Alive"]] = WeakKeyDictionary()


@dataclass(frozen=True, kw_only=True, eq=False)
class _Alive:
    """The spans [start, end) in which items are in the pool, disjoint, by item and start; M of them."""

    item: Int32
    start: Int64
    end: Int64

    def size(self, times: Int64) -> Int64:
        """How many items are alive at each time."""
        begun = np.searchsorted(np.sort(self.start), times, side="right")
        return begun - np.searchsorted(np.sort(self.end), times, side="right")

    def at(self, times_N: Int64) -> tuple[Int64, Int32]:
        """The items alive at each time, ascending, as `(offsets_N1, item_P)`. At most 65,536 times."""
        distinct, which_N = np.unique(times_N, return_inverse=True)
        low_M = np.searchsorted(distinct, self.start, side="left")
        length_M = np.searchsorted(distinct, self.end, side="left") - low_M
        # The spans come by item, so a stable (and for 16 bits, linear) sort by time leaves items ascending.
        query = expand(low_M, length_M).astype(np.uint16)
        item = np.repeat(self.item, length_M)[np.argsort(query, kind="stable")]
        size = np.bincount(query, minlength=len(distinct))
        size_N = size[which_N]
        return _offsets(size_N), item[expand(_offsets(size)[which_N], size_N)]


def _alive(log: Log, settings: Candidates) -> _Alive:
    """The spans of all items, which are made once for a log: that takes long beside what a few queries take."""
    kept = _KEPT.setdefault(log, {})
    if settings not in kept:
        kept[settings] = _spans(log, settings)
    return kept[settings]


def _spans(log: Log, settings: Candidates) -> _Alive:
    items = np.arange(len(log.item_ids), dtype=np.int32)
    if settings.pool == "all":
        return _present(log, items, log.known_at, log.expires_at)
    clicks = log.clicks_of_item
    clicked, time = np.repeat(items, np.diff(clicks.start)), clicks.times(slice(None))
    # Strictly before t, and not longer ago than `active`: s < t <= s + active, one microsecond late on both sides.
    spans = pl.DataFrame(
        {
            "item": np.concatenate((clicked, items)),
            "start": np.concatenate((time, log.known_at)) + 1,
            "end": np.concatenate((time + _micros(settings.active), log.known_at + _micros(settings.fresh))) + 1,
        }
    )
    reach = pl.col("end").cum_max().shift().over("item")
    merged = (
        spans.sort("item", "start")
        .with_columns(((pl.col("start") > reach).fill_null(True)).cum_sum().alias("span"))
        .group_by("span", maintain_order=True)
        .agg(pl.col("item").first(), pl.col("start").first(), pl.col("end").max())
    )
    item = merged["item"].to_numpy()
    begin = np.maximum(merged["start"].to_numpy(), log.known_at[item])
    return _present(log, item, begin, np.minimum(merged["end"].to_numpy(), log.expires_at[item]))


def _present(log: Log, item: Int32, start: Int64, end: Int64) -> _Alive:
    """Spans by item and start without the times at which the item was absent, and without those that are empty."""
    absent, spans = log.absent, pl.DataFrame({"item": item, "start": start, "end": end})
    if len(absent.item):
        away = pl.DataFrame({"item": absent.item, "gone": absent.start, "back": absent.end})
        # An item with A absences is present in A + 1 spans: before the first, between two, and after the last.
        there = pl.concat(
            [
                away.select("item", since=pl.col("back").shift(1, fill_value=-NEVER).over("item"), until="gone"),
                away.group_by("item").agg(since=pl.col("back").max(), until=pl.lit(NEVER)),
            ]
        )
        spans = (
            spans.join(there, on="item", how="left", maintain_order="left")
            .select(
                "item",
                start=pl.max_horizontal("start", "since"),
                end=pl.min_horizontal("end", "until"),
            )
            .sort("item", "start")
        )
    spans = spans.filter(pl.col("start") < pl.col("end"))
    return _Alive(item=spans["item"].to_numpy(), start=spans["start"].to_numpy(), end=spans["end"].to_numpy())


def in_pool(log: Log, times: Int64, users: Int32, items: Int32, settings: Candidates) -> Bool:
    """Whether each item is in the pool of its user at its time, without making the pool."""
    alive = _alive(log, settings)
    spans = timeline(alive.item, alive.start, np.arange(len(alive.item)), len(log.item_ids))
    last = spans.stop(items, spans.rank(times + 1)) - 1
    inside = last >= spans.begin(items)
    inside[inside] = alive.end[last[inside]] > times[inside]
    if settings.repeat:
        return inside
    begin, count = _consumed(log, times, users)
    # Some queries at a time: what all users had before all their clicks is many times the log.
    cuts = np.flatnonzero(np.diff(np.cumsum(count) // CHUNK)) + 1
    for low, high in itertools.pairwise([0, *cuts.tolist(), len(times)]):
        query = np.repeat(np.arange(low, high), count[low:high])
        gone = log.consumed.value[expand(begin[low:high], count[low:high])] == items[query]
        inside[query[gone]] = False
    return inside


def _consumed(log: Log, times_N: Int64, users_N: Int32) -> tuple[Int64, Int64]:
    """Where in `log.consumed` the events of each user before each time begin, and how many they are."""
    begin_N = log.consumed.begin(users_N)
    return begin_N, log.consumed.stop(users_N, log.consumed.rank(times_N)) - begin_N


def _without_consumed(
    log: Log, times_N: Int64, users_N: Int32, offsets_N1: Int64, item_P: Int32
) -> tuple[Int64, Int32]:
    begin_N, count_N = _consumed(log, times_N, users_N)
    catalogue = len(log.item_ids)
    row_P = np.repeat(np.arange(len(times_N)), np.diff(offsets_N1))
    key_P = row_P * catalogue + item_P
    gone = np.repeat(np.arange(len(times_N)), count_N) * catalogue + log.consumed.value[expand(begin_N, count_N)]
    at = np.searchsorted(key_P, gone)
    at = at[(at < len(key_P)) & (key_P[np.minimum(at, len(key_P) - 1)] == gone)] if len(key_P) else at[:0]
    keep_P = np.ones(len(item_P), dtype=np.bool_)
    keep_P[at] = False
    return _offsets(np.bincount(row_P[keep_P], minlength=len(times_N))), item_P[keep_P]


def _thinned(impressions: Impressions, n: int, generator: np.random.Generator) -> Impressions:
    """Floyd's sampling without replacement (CACM 30:9, 1987), one step for all impressions at a time."""
    others = np.flatnonzero(~impressions.clicked)
    size_N = np.bincount(impressions.row[others], minlength=len(impressions))
    chosen_NC = np.full((len(impressions), n), -1, dtype=np.int64)
    for step in range(n):
        top_N = size_N - n + step
        draw_N = generator.integers(0, np.maximum(top_N, 0) + 1)
        taken_N = (chosen_NC[:, :step] == draw_N[:, None]).any(axis=1)
        chosen_NC[:, step] = np.where(top_N < 0, -1, np.where(taken_N, top_N, draw_N))
    drawn = (chosen_NC + _offsets(size_N)[:-1, None])[chosen_NC >= 0]
    keep = np.sort(np.concatenate((np.flatnonzero(impressions.clicked), others[drawn])))
    return kept(impressions, keep)


def kept(impressions: Impressions, pairs: Int64) -> Impressions:
    """The impressions with these pairs alone, positions that ascend; those that keep none are empty."""
    return replace(
        impressions,
        offsets=_offsets(np.bincount(impressions.row[pairs], minlength=len(impressions))),
        item=impressions.item[pairs],
        clicked=impressions.clicked[pairs],
    )


def joined(parts: list[Impressions]) -> Impressions:
    """The impressions of all parts, at least one of them, one part after the other."""
    return Impressions(
        user=np.concatenate([part.user for part in parts]),
        time=np.concatenate([part.time for part in parts]),
        offsets=_offsets(np.concatenate([np.diff(part.offsets) for part in parts])),
        item=np.concatenate([part.item for part in parts]),
        clicked=np.concatenate([part.clicked for part in parts]),
    )


def _offsets(sizes: Int64) -> Int64:
    return np.concatenate(([0], np.cumsum(sizes, dtype=np.int64)))


def _micros(span: timedelta) -> int:
    return span // timedelta(microseconds=1)
