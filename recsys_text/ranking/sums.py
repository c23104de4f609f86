"""What grouped events add up to strictly before a time, and which groups users turn to. Knows timelines, no log.

Shapes: E events in G groups, U users, Q questions.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys_text.ranking.timeline import Int64, Ints, Timeline, timeline

Doubles = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sums:
    """own: float64[E], the sum of a group's values up to each event; all: float64[E + 1], of all events by time.

    Each group is summed by itself: what rounding does to one depends on no other, nor on what comes later.
    """

    events: Timeline
    own: Doubles
    all: Doubles

    def between(self, group_Q: Ints, begin_Q: Int64, stop_Q: Int64) -> Doubles:
        """The sum of a group's events in [begin, stop), positions of the timeline."""
        return self._until(group_Q, stop_Q) - self._until(group_Q, begin_Q)

    def _until(self, group_Q: Ints, stop_Q: Int64) -> Doubles:
        if not len(self.own):
            return np.zeros(len(stop_Q))
        return np.where(stop_Q > self.events.begin(group_Q), self.own[np.maximum(stop_Q - 1, 0)], 0.0)


def sums(events: Timeline) -> Sums:
    group_E = np.repeat(np.arange(len(events.start) - 1), np.diff(events.start))
    values = pl.DataFrame({"group": group_E, "value": events.value.astype(np.float64)})
    by_time = events.value[np.argsort(events.time, kind="stable")]
    return Sums(
        events=events,
        own=values.select(pl.col("value").cum_sum().over("group"))["value"].to_numpy(),
        all=np.concatenate(([0.0], np.cumsum(by_time, dtype=np.float64))),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Categories:
    """Clicks by category and by user and category; code: int64[I], an item's category, 0 where it has none.

    pair: the users and categories that met, `user * G + category`, sorted; of_pair: their clicks.
    """

    code: Int64
    of_category: Timeline
    pair: Int64
    of_pair: Timeline

    def shares(
        self, user_Q: Ints, item_Q: Ints, rank_Q: Int64, clicks_Q: Int64, weight: float
    ) -> tuple[Doubles, Doubles]:
        """The share of an item's category of the user's clicks before a rank and of everybody's, float64[Q] each.

        The user's `clicks_Q` have `weight` clicks more, spread as everybody's are. Items without a category share one.
        """
        category_Q = self.code[item_Q]
        everyone_Q = self.of_category.stop(category_Q, rank_Q) - self.of_category.begin(category_Q)
        share_Q = everyone_Q / np.maximum(rank_Q, 1)
        wanted_Q = user_Q.astype(np.int64) * (len(self.of_category.start) - 1) + category_Q
        at_Q = np.minimum(np.searchsorted(self.pair, wanted_Q), max(0, len(self.pair) - 1))
        known_Q = self.pair[at_Q] == wanted_Q if len(self.pair) else np.zeros(len(at_Q), np.bool_)
        met_Q = np.where(known_Q, at_Q, -1)
        both_Q = self.of_pair.stop(met_Q, rank_Q) - self.of_pair.begin(met_Q)
        return (both_Q + weight * share_Q) / (clicks_Q + weight), share_Q


def categories(clicks_of_item: Timeline, clicks_of_user: Timeline, category_I: Ints) -> Categories:
    """category_I: -1 for an item without one."""
    code_I, own = category_I.astype(np.int64) + 1, clicks_of_user
    groups = int(code_I.max(initial=0)) + 1
    of_items = np.repeat(code_I, np.diff(clicks_of_item.start))
    user = np.repeat(np.arange(len(own.start) - 1), np.diff(own.start))
    pair, place = np.unique(user * groups + code_I[own.value], return_inverse=True)
    return Categories(
        code=code_I,
        of_category=timeline(of_items, clicks_of_item.time, clicks_of_item.value, groups),
        pair=pair,
        of_pair=timeline(place, own.time, own.value, len(pair)),
    )
