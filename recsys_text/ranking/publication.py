"""Impressions as they are served: ranked by what was known when scores were last published. Knows the log, no model.

Shapes: N impressions, P pairs of an impression and a candidate, T times of publication.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from recsys_text.ranking.candidates import kept
from recsys_text.ranking.log import Bool, Impressions, Int64, Log, micros
from recsys_text.ranking.logged import take


@dataclass(frozen=True, kw_only=True, eq=False)
class Publications:
    """The times at which scores are published, int64[T] in microseconds, ascending, and how long each is served."""

    times: Int64
    horizon: int

    def before(self, times_N: Int64) -> Int64:
        """The last publication at or before each time, int64[N]; the time itself where there is none."""
        place_N = np.searchsorted(self.times, times_N, side="right") - 1
        return np.where(place_N >= 0, self.times[np.maximum(place_N, 0)], times_N) if len(self.times) else times_N


def publications(spans: Sequence[tuple[datetime, datetime]], refresh: timedelta | None) -> Publications:
    """Scores are published at the start of each window [start, end), and every `refresh` within it where it is given.

    Each is served until the next one. Without windows there are none, and scores are made when they are asked for.
    """
    longest = max((end - start for start, end in spans), default=timedelta())
    if not longest:
        return Publications(times=np.zeros(0, np.int64), horizon=0)
    every = min(refresh or longest, longest)
    steps = [number * every for number in range(-(-longest // every))]
    times = {micros(start + step) for start, end in spans for step in steps if start + step < end}
    return Publications(times=np.array(sorted(times), np.int64), horizon=every // timedelta(microseconds=1))


def as_published(impressions: Impressions, publications: Publications) -> Impressions:
    """The same lists, whose scores are as of the last publication before they were shown."""
    return replace(impressions, time=publications.before(impressions.time), horizon=publications.horizon)


def unknown_then(log: Log, published: Impressions) -> Bool:
    """Whether each candidate was not known yet when its list was published, bool[P]: it has no score."""
    return np.asarray(log.known_at[published.item] > published.time[published.row])


def useful(log: Log, published: Impressions) -> tuple[Impressions, Int64]:
    """The impressions that still say something of an order once what was unknown then is left out; which they are."""
    known = kept(published, np.flatnonzero(~unknown_then(log, published)))
    clicks_N = np.bincount(known.row[known.clicked], minlength=len(known))
    rows = np.flatnonzero((clicks_N > 0) & (clicks_N < np.diff(known.offsets)))
    return take(known, rows), rows
