"""How often candidates were clicked after the items of a user's history, as of a time. Knows no model.

Two readings of it: `coclick` takes the whole history and what came up to five clicks later, which says what belongs
together; `following` takes the newest click and the very next one, which says where a page leads.
"""

import numpy as np
from numpy.typing import NDArray

from recsys_text.ranking.log import HOUR, Impressions, Int32, Log

Float32 = NDArray[np.float32]

#: The weight of the k-th newest click of a history is DECAY ** k.
DECAY = 0.85
#: Hours within which a transition counts, by column; None is for ever.
SPANS: dict[str, int | None] = {"6h": 6, "24h": 24, "total": None}
#: Hours within which a next click counts, by column.
NEXT_SPANS: dict[str, int | None] = {"2h": 2, "24h": 24, "total": None}
#: Next clicks without a candidate that are added to those seen: a share of few is no evidence.
_DOUBT = 3


def coclick(log: Log, impressions: Impressions, history_NH: Int32) -> dict[str, Float32]:
    """The transitions from a user's history to each candidate strictly before the impression's time.

    history_NH as from `histories`. For each span s of SPANS, `coclick_s` is the sum over the history of DECAY ** k
    times the share of the transitions from that click's item which led to the candidate; `coclick_last_s` is the
    share for the newest click alone. float32[P] each, 0 without evidence.
    """
    pairs = log.pairs
    length = history_NH.shape[1]
    row_P = impressions.row
    ends_N = pairs.times.rank(impressions.time)
    after_N = pairs.after.rank(impressions.time)
    begins = {
        name: None
        if hours is None
        else (pairs.times.rank(impressions.time - hours * HOUR), pairs.after.rank(impressions.time - hours * HOUR))
        for name, hours in SPANS.items()
    }
    total = {name: np.zeros(len(row_P), dtype=np.float32) for name in SPANS}
    last = {name: np.zeros(len(row_P), dtype=np.float32) for name in SPANS}
    for k in range(length):
        click_N = history_NH[:, length - 1 - k]
        pair_P = pairs.find(click_N[row_P], impressions.item)
        hit = np.flatnonzero(pair_P >= 0)
        pair, row = pair_P[hit], row_P[hit]
        stop, all_N = pairs.times.stop(pair, ends_N[row]), pairs.after.stop(click_N, after_N)
        for name, begin in begins.items():
            if begin is None:
                count, of_N = stop - pairs.times.begin(pair), all_N - pairs.after.begin(click_N)
            else:
                count = stop - pairs.times.stop(pair, begin[0][row])
                of_N = all_N - pairs.after.stop(click_N, begin[1])
            share = (count / np.maximum(of_N, 1)[row]).astype(np.float32)
            total[name][hit] += np.float32(DECAY**k) * share
            if k == 0:
                last[name][hit] = share
    return {f"coclick_{name}": total[name] for name in SPANS} | {f"coclick_last_{name}": last[name] for name in SPANS}


def following(log: Log, impressions: Impressions, newest_N: Int32) -> dict[str, Float32]:
    """The users who went from the newest click straight to each candidate, before the impression's time.

    newest_N: the item of each user's newest click, -1 for none. For each span s of NEXT_SPANS, `next_s` counts them
    and `next_share_s` is their share of all who went on from that item, shrunk to 0 where these are few. float32[P].
    """
    pairs = log.next_pairs
    row_P = impressions.row
    pair_P = pairs.find(newest_N[row_P], impressions.item)
    hit = np.flatnonzero(pair_P >= 0)
    pair, row = pair_P[hit], row_P[hit]
    stop = pairs.times.stop(pair, pairs.times.rank(impressions.time)[row])
    all_N = pairs.after.stop(newest_N, pairs.after.rank(impressions.time))
    columns = {}
    for name, hours in NEXT_SPANS.items():
        if hours is None:
            begin, of_N = pairs.times.begin(pair), all_N - pairs.after.begin(newest_N)
        else:
            since_N = impressions.time - hours * HOUR
            begin = pairs.times.stop(pair, pairs.times.rank(since_N)[row])
            of_N = all_N - pairs.after.stop(newest_N, pairs.after.rank(since_N))
        count_P = np.zeros(len(row_P), dtype=np.float32)
        count_P[hit] = stop - begin
        columns[f"next_{name}"] = count_P
        columns[f"next_share_{name}"] = count_P / (of_N + _DOUBT).astype(np.float32)[row_P]
    return columns
