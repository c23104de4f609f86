"""Grouped events, counted strictly before a time by binary search. Knows neither items nor users.

A time is replaced by its rank, the number of events strictly before it, and packed with its group into one sorted
integer: `group * (E + 1) + rank`. An event lies strictly before t exactly when its rank is below the rank of t, so
a windowed count is the difference of two binary searches, exact to the microsecond and free of overflow.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Int64 = NDArray[np.int64]
Values = NDArray[np.integer] | NDArray[np.floating]


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """E events in G groups. `time` and `value` are ordered by (group, time); those of g start at `start[g]`.

    packed: int64[E]; start: int64[G + 1]; time: int64[E]; value: [E]; clock: int64[E], all times in order.
    """

    packed: Int64
    start: Int64
    time: Int64
    value: Values
    clock: Int64

    def rank(self, times: Int64) -> Int64:
        """How many events lie strictly before each time."""
        return np.searchsorted(self.clock, times, side="left")

    def stop(self, group: Ints, rank: Int64) -> Int64:
        """One past the last event of each group before each rank; `stop - start[group]` is their count.

        A group of -1 has no events: its stop is 0.
        """
        return np.searchsorted(self.packed, group.astype(np.int64) * (len(self.clock) + 1) + rank, side="left")

    def begin(self, group: Ints) -> Int64:
        """The first event of each group; 0 for the group -1."""
        return np.where(group < 0, 0, self.start[group])


def timeline(group: Ints, time: Int64, value: Values, groups: int) -> Timeline:
    """Groups events that come in any order; events of one group and time keep theirs."""
    clock = np.sort(time)
    packed = group.astype(np.int64) * (len(time) + 1) + np.searchsorted(clock, time, side="left")
    order = np.argsort(packed, kind="stable")
    return Timeline(
        packed=packed[order],
        start=np.concatenate(([0], np.cumsum(np.bincount(group, minlength=groups), dtype=np.int64))),
        time=time[order],
        value=value[order],
        clock=clock,
    )


def expand(start: Int64, length: Int64) -> Int64:
    """The positions of ragged slices, one after the other: `start[0], start[0] + 1, ...`, `length[0]` of them, ..."""
    ends = np.cumsum(length)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(start - ends + length, length)
