"""Whether a user arrives with a click or reads on. Knows grouped events, neither the log nor a score.

Who arrives from elsewhere clicks what is shared elsewhere, who reads on clicks what the site shows: the clicks of those
in the user's own state say more than all clicks.
"""

import numpy as np
from numpy.typing import NDArray

from recsys_text.ranking.timeline import Int64, Ints, Timeline, Times

Bool = NDArray[np.bool_]

#: A user without a click for more microseconds than these arrives with the next one: half an hour.
PAUSE = 1_800_000_000


def clicks_by_arrival(clicks_of_user: Timeline, catalogue: int) -> Times:
    """The clicks in groups `item * 2 + (whether the user arrived with it)`; values of `clicks_of_user` are items."""
    own = clicks_of_user
    arrived = np.ones(len(own.value), dtype=np.bool_)
    time = own.times(slice(None))
    arrived[1:] = time[1:] - time[:-1] > PAUSE
    del time
    arrived[own.start[:-1][np.diff(own.start) > 0]] = True
    group, rank = own.value.astype(np.int64), own.ranks(slice(None))
    group *= 2
    group += arrived
    return Times.of(group, rank, own.clock, 2 * catalogue)


def arrives(clicks_of_user: Times, users_N: Ints, times_N: Int64) -> Bool:
    """Whether each user (-1: unknown) arrives at each time, bool[N]: has no click in the PAUSE strictly before it."""
    stop_N = clicks_of_user.stop(users_N, clicks_of_user.rank(times_N))
    before_N = clicks_of_user.stop(users_N, clicks_of_user.rank(times_N - PAUSE))
    return np.asarray(stop_N == before_N)
