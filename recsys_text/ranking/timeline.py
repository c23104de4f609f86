"""Grouped events, counted strictly before a time by binary search. Knows neither items nor users.

A time is replaced by its rank, the number of times on a clock strictly before it, and packed with its group into one
sorted integer: `group * (C + 1) + rank`. An event lies strictly before t exactly when its rank is below the rank of t,
so a windowed count is the difference of two binary searches, exact to the microsecond. That takes 8 bytes an event, and
timelines over the same events share their clock.

Shapes: E events in G groups, C times on a clock, one of each event or of each list of events.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Values = NDArray[np.integer] | NDArray[np.floating]

#: Events that are worked on at a time while a timeline is made, so that little is held beside what is kept.
_CHUNK = 1 << 18


@dataclass(frozen=True, kw_only=True, eq=False)
class Times:
    """When the events of each group happened; those of group g stand at `start[g]` up to `start[g + 1]`, by time.

    packed: int64[E]; start: int64[G + 1]; clock: int64[C], times in order, those of the events among them.
    """

    packed: Int64
    start: Int64
    clock: Int64

    def rank(self, times: Int64) -> Int64:
        """How many times on the clock lie strictly before each one."""
        return np.searchsorted(self.clock, times, side="left")

    def stop(self, group: Ints, rank: Int64) -> Int64:
        """One past the last event of each group before each rank; `stop - start[group]` is their count.

        A group of -1 has no events: its stop is 0.
        """
        return np.searchsorted(self.packed, group.astype(np.int64) * (len(self.clock) + 1) + rank, side="left")

    def begin(self, group: Ints) -> Int64:
        """The first event of each group; 0 for the group -1."""
        return np.where(group < 0, 0, self.start[group])

    def span(self, group: Ints, since: Int64 | None, until: Int64) -> tuple[Int64, Int64]:
        """Where the events of each group in [since, until), ranks (None: ever), begin and stop."""
        return self.begin(group) if since is None else self.stop(group, since), self.stop(group, until)

    def ranks(self, at: Int64 | slice) -> Int64:
        """The rank of the time of each of the events at these positions."""
        return self.packed[at] % (len(self.clock) + 1)

    def times(self, at: Int64 | slice) -> Int64:
        """The time of each of the events at these positions, in microseconds."""
        return self.clock[self.ranks(at)]

    @classmethod
    def of(cls, group: Ints, rank: Int64, clock: Int64, groups: int) -> Self:
        """Groups events, in any order, by the rank of each on a clock that they share with others.

        A group of 64 bits is used up: what it becomes needs no memory of its own.
        """
        packed = group.astype(np.int64, copy=False)
        packed *= len(clock) + 1
        packed += rank
        packed.sort()
        return cls(packed=packed, start=_starts(packed, len(clock), groups), clock=clock)


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline(Times):
    """Events with a value each; value: [E], in the order of `packed`."""

    value: Values


def timeline(group: Ints, time: Int64, value: Values, groups: int) -> Timeline:
    """Group events that come in any order; events of one group and time keep theirs.

    Where they come in the order of time, `time` itself is the clock, and not copied.
    """
    if np.any(time[1:] < time[:-1]):
        order = np.argsort(time, kind="stable")
        group, time, value = group[order], time[order], value[order]
    size = len(time) + 1
    packed = group.astype(np.int64)
    packed *= size
    for low in range(0, len(packed), _CHUNK):
        part = packed[low : low + _CHUNK]
        part += np.arange(low, low + len(part))
    # What is sorted has the place of each event, which tells its value; only then comes the rank in its stead.
    packed.sort()
    ordered, rank = np.empty_like(value), np.searchsorted(time, time, side="left")
    for low in range(0, len(packed), _CHUNK):
        part = packed[low : low + _CHUNK]
        place = part % size
        ordered[low : low + _CHUNK] = value[place]
        part += rank[place] - place
    return Timeline(packed=packed, start=_starts(packed, len(time), groups), value=ordered, clock=time)


def _starts(packed: Int64, events: int, groups: int) -> Int64:
    return np.searchsorted(packed, np.arange(groups + 1) * (events + 1))


def expand(start: Int64, length: Int64) -> Int64:
    """The positions of ragged slices, one after the other: `start[0], start[0] + 1, ...`, `length[0]` of them, ..."""
    ends = np.cumsum(length)
    total = int(ends[-1]) if len(ends) else 0
    return np.arange(total) + np.repeat(start - ends + length, length)
