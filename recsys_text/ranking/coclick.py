"""How often candidates were clicked after the items of a user's history, as of a time. Knows no model."""

import numpy as np
from numpy.typing import NDArray

from recsys_text.ranking.log import HOUR, Impressions, Int32, Log

Float32 = NDArray[np.float32]

#: The weight of the k-th newest click of a history is DECAY ** k.
DECAY = 0.85
#: Hours within which a transition counts, by column; None is for ever.
SPANS: dict[str, int | None] = {"6h": 6, "24h": 24, "total": None}


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
