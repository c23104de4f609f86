"""Which impressions to show people: some that were ranked well, and some badly. Knows scores, no titles.

Shapes: N impressions, P pairs of an impression and a candidate.
"""

import numpy as np

from recsys_text.evaluation.metrics import Float, Int, rank_clicked
from recsys_text.ranking.log import Impressions

#: Impressions of each kind that are shown.
SHOWN = 3
#: A clicked item that is among the first so many was ranked well.
_WELL = 3


def chosen(scores_P: Float, impressions: Impressions, *, seed: int) -> tuple[Int, Int, Int]:
    """The positions of at most SHOWN impressions whose clicked item was among the first, and as many of those where it
    stood lowest; and the place of the best clicked item of each of the N, from 1; 0 where nothing was clicked.

    Drawn, each of another user, the bad ones from the tenth with the worst places.
    """
    ranks = rank_clicked(scores_P, impressions.clicked, impressions.offsets)
    place_N = np.full(len(impressions), np.iinfo(np.int64).max)
    np.minimum.at(place_N, ranks.impression, ranks.greater + (ranks.tied + 1) // 2)
    some_N = ranks.positives > 0
    place_N[~some_N] = 0
    order = np.random.default_rng(seed).permutation(np.flatnonzero(some_N))
    well = order[place_N[order] <= _WELL]
    others = order[place_N[order] > _WELL]
    worst = others[np.argsort(-place_N[others], kind="stable")][: max(SHOWN, len(others) // 10)]
    badly = order[np.isin(order, worst)]
    return _of_others(well, impressions), _of_others(badly, impressions), place_N


def _of_others(rows: Int, impressions: Impressions) -> Int:
    users = impressions.user[rows]
    return rows[np.sort(np.unique(users, return_index=True)[1])][:SHOWN]
