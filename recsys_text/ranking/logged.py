"""Impressions to learn from and to measure on: those that were logged, else sampled ones. Knows no paths.

A logged impression is used as it was shown: its candidates are not filtered by the pool nor by what the user
consumed, and several of them may be clicked. One without a click, or with nothing beside its clicks, says nothing
about an order and is left out of ranking; it still counts in `Log.shown_rates`.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

import numpy as np
import polars as pl

from recsys_text.ranking.candidates import joined, sampled_impressions, with_negatives
from recsys_text.ranking.log import Impressions, Int64, Log, micros, no_impressions
from recsys_text.ranking.timeline import expand
from recsys_text.ranking.window_impressions import window_impressions
from recsys_text.sections import Candidates

#: Impressions that are coded at a time: their candidates, exploded, are what takes memory.
_ROWS = 50_000


def with_logged(log: Log, frame: pl.DataFrame, *, settle: timedelta = timedelta()) -> Log:
    """The log with the impressions of a frame in the contract of the lake's table, in the order of time.

    Users whom only impressions know get a code too. A candidate that the catalogue lacks is left out and counted in
    `unknown`; one that was shown twice in an impression counts once. Candidates ascend in each impression. `settle` is
    how long after it was shown an impression may be clicked, none where the clicks came with it.
    """
    if frame.is_empty():
        return log
    frame = frame.select("user_id", "shown_at", "candidates", "clicked", "impression_id").sort(
        "shown_at", "user_id", "impression_id"
    )
    known = pl.Series(log.user_ids, dtype=pl.String)
    user_ids = pl.concat([known, frame["user_id"].alias("")]).unique().sort()
    log = replace(log, user_ids=user_ids.to_list(), user=user_ids.search_sorted(known).to_numpy()[log.user])
    sizes, items, clicked = [], [], []
    unknown = 0
    for part in frame.iter_slices(_ROWS):
        shown = part.select("candidates", "clicked", row=pl.int_range(pl.len())).filter(
            pl.col("candidates").list.len() > 0
        )
        shown = shown.explode("candidates", "clicked")
        shown = shown.with_columns(item=pl.Series(log.item_codes(shown["candidates"]), dtype=pl.Int32))
        unknown += int((shown["item"] < 0).sum())
        pairs = (
            shown.filter(pl.col("item") >= 0).group_by("row", "item").agg(pl.col("clicked").any()).sort("row", "item")
        )
        sizes.append(np.bincount(pairs["row"].to_numpy(), minlength=len(part)))
        items.append(pairs["item"].to_numpy())
        clicked.append(pairs["clicked"].to_numpy())
    logged = Impressions(
        user=log.user_codes(frame["user_id"]),
        time=frame["shown_at"].dt.epoch("us").to_numpy(),
        offsets=np.concatenate(([0], np.cumsum(np.concatenate(sizes), dtype=np.int64))),
        item=np.concatenate(items),
        clicked=np.concatenate(clicked),
    )
    return replace(log, logged=logged, unknown=unknown, settle=settle // timedelta(microseconds=1))


def impressions_between(
    log: Log,
    start: datetime,
    end: datetime,
    settings: Candidates,
    *,
    max_impressions: int,
    seed: int,
    negatives: int | None = None,
) -> tuple[Impressions, int]:
    """What was shown in [start, end) with a click and something else, or `sampled_impressions` where nothing is logged.

    What is not settled before `end` is left out: its clicks may come later. At most `max_impressions`, drawn evenly, in
    the order of time; with `negatives`, only so many others beside the clicks of each (see `with_negatives`). The
    second value counts the clicks of the span that say nothing about an order: for logged impressions those that had
    nothing else beside them, for sampled ones those outside their pool.
    """
    low, high = np.searchsorted(log.logged.time, [micros(start), micros(end)])
    if low == high:
        return sampled_impressions(
            log, start, end, settings, max_impressions=max_impressions, seed=seed, negatives=negatives
        )
    settled = np.searchsorted(log.logged.time, micros(end) - log.settle)
    shown = take(log.logged, np.arange(low, settled))
    clicks_N = np.bincount(shown.row[shown.clicked], minlength=len(shown))
    useful_N = (clicks_N > 0) & (clicks_N < np.diff(shown.offsets))
    chosen = np.flatnonzero(useful_N)
    if len(chosen) > max_impressions:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, max_impressions, replace=False))
    found = take(shown, chosen)
    left_out = int(clicks_N[~useful_N].sum())
    return (found if negatives is None else with_negatives(found, negatives, seed)), left_out


def evaluated_impressions(
    log: Log,
    spans: Sequence[tuple[datetime, datetime]],
    settings: Candidates,
    *,
    at: Literal["click", "window"],
    max_impressions: int,
    seed: int,
) -> tuple[Impressions, int]:
    """What is measured and calibrated on in adjoining spans [start, end).

    `window_impressions` at the start of each, or `impressions_between` all of them.
    """
    if at == "window":
        return window_impressions(log, spans, settings, max_impressions=max_impressions, seed=seed)
    return impressions_between(log, spans[0][0], spans[-1][1], settings, max_impressions=max_impressions, seed=seed)


def teaching_impressions(
    log: Log,
    start: datetime,
    end: datetime,
    settings: Candidates,
    *,
    max_impressions: int,
    seed: int,
    negatives: int,
) -> Impressions:
    """What the text model learns from: `impressions_between`, and the clicks from before anything was logged.

    Those are ranked against their pools, as many as `max_impressions` leaves room for, and come first: time goes
    forward. What is shown is chosen by somebody, a pool is not, so nothing is measured or calibrated on such a mixture.
    """
    first = int(log.logged.time[0]) if len(log.logged) else micros(end)
    since = min(max(start, start + timedelta(microseconds=first - micros(start))), end)
    shown = no_impressions()
    if since < end:
        shown, _ = impressions_between(
            log, since, end, settings, max_impressions=max_impressions, seed=seed, negatives=negatives
        )
    room = max_impressions - len(shown)
    if since == start or not room:
        return shown
    earlier, _ = sampled_impressions(log, start, since, settings, max_impressions=room, seed=seed, negatives=negatives)
    return joined([earlier, shown])


def take(impressions: Impressions, rows: Int64) -> Impressions:
    """The impressions at these positions, with all their candidates."""
    if not len(rows):
        return no_impressions()
    size_N = np.diff(impressions.offsets)[rows]
    pairs = expand(impressions.offsets[rows], size_N)
    return replace(
        impressions,
        user=impressions.user[rows],
        time=impressions.time[rows],
        offsets=np.concatenate(([0], np.cumsum(size_N))),
        item=impressions.item[pairs],
        clicked=impressions.clicked[pairs],
    )
