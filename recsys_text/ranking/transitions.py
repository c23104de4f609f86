"""Which click followed which, and when. Knows grouped events, neither the log nor a score.

A transition (a, b) is a click on b among the next WINDOW clicks of a user after a click on a. Its time is that of the
later click, so that a transition counted at t lies wholly before t.
"""

from dataclasses import dataclass

import numpy as np

from recsys_text.ranking.timeline import Int64, Ints, Timeline, timeline

WINDOW = 5


@dataclass(frozen=True, kw_only=True, eq=False)
class PairIndex:
    """The transitions between I items: `codes` are the Q distinct `a * I + b`, ascending, and `times` their times.

    `after` holds all of them by their first item, so that counts can become shares.
    """

    codes: Int64
    times: Timeline
    after: Timeline
    catalogue: int

    def find(self, a: Ints, b: Ints) -> Int64:
        """The position of each pair in `codes`, -1 where b never followed a (or a is -1)."""
        if not len(self.codes):
            return np.full(len(b), -1, dtype=np.int64)
        code = a.astype(np.int64) * self.catalogue + b
        at = np.minimum(np.searchsorted(self.codes, code), len(self.codes) - 1)
        return np.where((self.codes[at] == code) & (a >= 0), at, -1)


def pair_index(clicks_of_user: Timeline, catalogue: int, window: int = WINDOW) -> PairIndex:
    """The transitions among the clicks of each user (values are item codes below `catalogue`).

    With a window of 1 only the very next click follows.
    """
    item, time, start = clicks_of_user.value, clicks_of_user.time, clicks_of_user.start
    place = np.arange(len(item))
    first = np.repeat(start[:-1], np.diff(start))
    later = [place[place - lag >= first] for lag in range(1, window + 1)]
    former = [at - lag for lag, at in enumerate(later, start=1)]
    a, b, at = item[np.concatenate(former)], item[np.concatenate(later)], time[np.concatenate(later)]
    moved = a != b
    a, b, at = a[moved], b[moved], at[moved]
    codes, group = np.unique(a.astype(np.int64) * catalogue + b, return_inverse=True)
    return PairIndex(
        codes=codes,
        times=timeline(group, at, b, len(codes)),
        after=timeline(a, at, b, catalogue),
        catalogue=catalogue,
    )
