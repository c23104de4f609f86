"""What grouped events add up to strictly before a time, and which groups users turn to. Knows timelines, no log.

Shapes: E events in G groups, U users, Q questions, N impressions, P pairs of an impression and a candidate.
"""

import itertools
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys_text.ranking.timeline import Int64, Ints, Timeline, Times, Values, timeline

Doubles = NDArray[np.float64]

#: Events that are summed at a time, and those of one group that has more.
_CHUNK = 1 << 18


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums:
    """own: float64[E], the sum of a group's values up to each event; all: float64[E + 1], of all events by time.

    Each group is summed by itself: what rounding does to one depends on no other, nor on what comes later.
    """

    events: Times
    own: Doubles
    all: Doubles

    def rank(self, times: Int64) -> Int64:
        """The rank of each time, which the other methods ask for."""
        return self.events.rank(times)

    def overall(self, rank_N: Int64) -> tuple[Int64, Doubles]:
        """How many events lie before each rank, and the sum of their values."""
        return rank_N, self.all[rank_N]

    def within(self, group_Q: Ints, since_Q: Int64 | None, until_Q: Int64) -> tuple[Int64, Doubles]:
        """How many events of each group lie in [since, until), ranks (None: ever), and the sum of their values."""
        begin_Q, stop_Q = self.events.span(group_Q, since_Q, until_Q)
        return stop_Q - begin_Q, self._up_to(group_Q, stop_Q) - self._up_to(group_Q, begin_Q)

    def _up_to(self, group_Q: Ints, stop_Q: Int64) -> Doubles:
        if not len(self.own):
            return np.zeros(len(stop_Q))
        return np.where(stop_Q > self.events.begin(group_Q), self.own[np.maximum(stop_Q - 1, 0)], 0.0)


def sums(group: Ints, time: Int64, value: Values, groups: int) -> Sums:
    """Of events that come in the order of time."""
    events = timeline(group, time, value.astype(np.float64), groups)
    return Sums(
        events=Times(packed=events.packed, start=events.start, clock=events.clock),
        own=_sums_of_groups(events),
        all=np.concatenate(([0.0], np.cumsum(value, dtype=np.float64))),
    )


def _sums_of_groups(events: Timeline) -> Doubles:
    """The sum of a group's values up to each event, some groups at a time: polars holds several copies."""
    own = np.empty(len(events.value))
    cuts = np.searchsorted(events.start, np.arange(0, len(own), _CHUNK))
    for first, last in itertools.pairwise([*np.unique(cuts).tolist(), len(events.start) - 1]):
        stops = events.start[first : last + 1]
        group = np.repeat(np.arange(last - first), np.diff(stops))
        part = slice(stops[0], stops[-1])
        values = pl.DataFrame({"group": group, "value": events.value[part]})
        own[part] = values.select(pl.col("value").cum_sum().over("group"))["value"].to_numpy()
    return own


@dataclass(frozen=True, kw_only=True, eq=False)
class Rates:
    """Candidates of N impressions by item, whose value is 1 where they were clicked, else 0: no sums need be kept.

    shown, clicked: all candidates and those that were clicked, both by the clock of the impressions; shown_before,
    clicked_before: int64[N + 1], how many belong to the impressions before each one.
    """

    shown: Times
    clicked: Times
    shown_before: Int64
    clicked_before: Int64

    def rank(self, times: Int64) -> Int64:
        """The rank of each time, which the other methods ask for."""
        return self.shown.rank(times)

    def overall(self, rank_N: Int64) -> tuple[Int64, Int64]:
        """How many candidates were shown before each rank, and how many of them were clicked."""
        return self.shown_before[rank_N], self.clicked_before[rank_N]

    def within(self, item_Q: Ints, since_Q: Int64 | None, until_Q: Int64) -> tuple[Int64, Int64]:
        """How often each item was shown in [since, until), ranks (None: ever), and how often it was clicked there."""
        (begin_Q, stop_Q), (first_Q, last_Q) = (
            each.span(item_Q, since_Q, until_Q) for each in (self.shown, self.clicked)
        )
        return stop_Q - begin_Q, last_Q - first_Q


def rates(item_P: Ints, clicked_P: NDArray[np.bool_], offsets_N1: Int64, time_N: Int64, items: int) -> Rates:
    """Of the candidates of impressions that come in the order of time."""
    rank_P = np.repeat(np.searchsorted(time_N, time_N), np.diff(offsets_N1))
    at = np.flatnonzero(clicked_P)
    return Rates(
        shown=Times.of(item_P, rank_P, time_N, items),
        clicked=Times.of(item_P[at], rank_P[at], time_N, items),
        shown_before=offsets_N1,
        clicked_before=np.searchsorted(at, offsets_N1),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Categories:
    """Clicks by category and by user and category; code: int64[I], an item's category, 0 where it has none.

    of_category: the clicks by category; of_pair: by `user * G + category`, where there are G categories.
    """

    code: Int64
    of_category: Times
    of_pair: Times

    def shares(
        self, user_Q: Ints, item_Q: Ints, rank_Q: Int64, clicks_Q: Int64, weight: float
    ) -> tuple[Doubles, Doubles]:
        """The share of an item's category of the user's clicks before a rank and of everybody's, float64[Q] each.

        The user's `clicks_Q` have `weight` clicks more, spread as everybody's are. Items without a category share one.
        """
        category_Q = self.code[item_Q]
        everyone_Q = self.of_category.stop(category_Q, rank_Q) - self.of_category.begin(category_Q)
        share_Q = everyone_Q / np.maximum(rank_Q, 1)
        pair_Q = user_Q.astype(np.int64) * (len(self.of_category.start) - 1) + category_Q
        both_Q = self.of_pair.stop(pair_Q, rank_Q) - self.of_pair.stop(pair_Q, np.zeros_like(rank_Q))
        return (both_Q + weight * share_Q) / (clicks_Q + weight), share_Q


def categories(clicks_of_user: Timeline, category_I: Ints) -> Categories:
    """category_I: -1 for an item without one."""
    code_I, own = category_I.astype(np.int64) + 1, clicks_of_user
    groups, rank = int(code_I.max(initial=0)) + 1, own.ranks(slice(None))
    of_category = Times.of(code_I[own.value], rank, own.clock, groups)
    pair = np.repeat(np.arange(len(own.start) - 1), np.diff(own.start))
    pair *= groups
    pair += code_I[own.value]
    # Where each pair begins is searched for: the users times the categories may be more than the clicks.
    return Categories(code=code_I, of_category=of_category, of_pair=Times.of(pair, rank, own.clock, 0))
