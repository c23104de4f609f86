"""What a user had of each candidate before: repeat purchases, rereading. Knows the log, no model.

Shapes: N impressions, P pairs of an impression and a candidate, Q clicks of the users before their impressions.
"""

import numpy as np
from numpy.typing import NDArray

from recsys_text.ranking.log import HOUR, Impressions, Log
from recsys_text.ranking.timeline import expand

Float32 = NDArray[np.float32]

#: The columns of `repeats`.
REPEATS = (
    "own_clicks", "own_share", "own_recent", "own_since_hours", "own_interval_hours", "repeat_share",
)  # fmt: skip
#: What a click counts for beside one a visit of the user later: of eight visits ago less than half.
_DECAY = 0.9
#: What a click so long ago, or never, counts as: ten years.
_NEVER_HOURS = 24 * 3650.0
#: New items that the share of a user's clicks that repeat starts with.
_DOUBT = 2.0


def repeats(log: Log, impressions: Impressions) -> dict[str, Float32]:
    """Return the columns of REPEATS, float32[P] each, from the user's positive events strictly before each impression.

    own_clicks: on the candidate; own_share: the share of the user's visits, which are the distinct times of clicks, in
    which it was clicked; own_recent: the sum of _DECAY to the power of the later visits over those in which it was
    clicked (Hu et al. 2020, "Modeling Personalized Item Frequency Information for Next-basket Recommendation");
    own_since_hours: since the last click on it, ten years where there is none; own_interval_hours: the mean time
    between two of them, 0 where there are less; repeat_share: of all the user's clicks the share that repeated an item,
    shrunk to 0 where they are few.
    """
    own, catalogue = log.clicks_of_user, len(log.item_ids)
    begin_N = own.begin(impressions.user)
    length_N = own.stop(impressions.user, own.rank(impressions.time)) - begin_N
    at_Q, row_Q = expand(begin_N, length_N), np.repeat(np.arange(len(impressions)), length_N)
    key_Q = row_Q * catalogue + own.value[at_Q]
    distinct_N = np.bincount(np.unique(key_Q) // max(1, catalogue), minlength=len(impressions))
    share_N = (length_N - distinct_N) / (length_N + _DOUBT)
    # Visits are numbered through all impressions, so that one number has one impression.
    begins_Q = np.ones(len(at_Q), np.bool_)
    begins_Q[1:] = (np.diff(own.ranks(at_Q)) != 0) | (np.diff(row_Q) != 0)
    visit_Q = np.cumsum(begins_Q)
    visits_N = np.bincount(row_Q[begins_Q], minlength=len(impressions))

    key_P = impressions.row * catalogue + impressions.item
    order = np.argsort(key_P, kind="stable")  # lists that were shown come in any order
    place_Q = np.searchsorted(key_P, key_Q, sorter=order)
    found_Q = np.flatnonzero(place_Q < len(key_P))
    found_Q = found_Q[key_P[order[place_Q[found_Q]]] == key_Q[found_Q]]
    pair_Q, time_Q = order[place_Q[found_Q]], own.times(at_Q[found_Q])
    count_P = np.bincount(pair_Q, minlength=len(key_P))
    # The clicks of a user ascend in time: of several the last assignment holds.
    first_P, last_P = np.zeros((2, len(key_P)), np.int64)
    last_P[pair_Q], first_P[pair_Q[::-1]] = time_Q, time_Q[::-1]
    since_P = np.where(count_P > 0, (impressions.time[impressions.row] - last_P) / HOUR, _NEVER_HOURS)
    # A visit in which an item was clicked twice counts once.
    _, once = np.unique(pair_Q * (len(at_Q) + 1) + visit_Q[found_Q], return_index=True)
    later_V = (np.cumsum(visits_N)[row_Q[found_Q]] - visit_Q[found_Q])[once]
    visited_P = np.bincount(pair_Q[once], minlength=len(key_P))
    recent_P = np.bincount(pair_Q[once], weights=_DECAY**later_V, minlength=len(key_P))
    return {
        "own_clicks": count_P.astype(np.float32),
        "own_share": (visited_P / np.maximum(visits_N, 1)[impressions.row]).astype(np.float32),
        "own_recent": recent_P.astype(np.float32),
        "own_since_hours": np.minimum(since_P, _NEVER_HOURS).astype(np.float32),
        "own_interval_hours": ((last_P - first_P) / HOUR / np.maximum(count_P - 1, 1)).astype(np.float32),
        "repeat_share": share_N.astype(np.float32)[impressions.row],
    }
