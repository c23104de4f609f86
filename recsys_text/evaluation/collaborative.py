"""What collaborative methods score on the same impressions. Knows who clicked what and when; no texts, no ids.

They are fitted on the clicks before a cutoff, and score with everything a user clicked strictly before an impression.
Shapes: N impressions, R of them at a time, P pairs of an impression and a candidate, U users, I items that were clicked
before the cutoff, F factors.
"""

from collections.abc import Callable

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_text.evaluation.metrics import Int
from recsys_text.model.collaborative import bm25, clicked_once, ease
from recsys_text.ranking.features import Float32
from recsys_text.ranking.log import Impressions, Int64, Log
from recsys_text.ranking.timeline import expand

#: EASE inverts a matrix of as many rows: of a larger catalogue it takes the items with most clicks.
EASE_ITEMS = 8000
#: A common value for logs of 10,000 to 100,000 users.
EASE_PENALTY = 300.0
#: BM25 keeps so many neighbours of an item.
NEIGHBOURS = 100
FACTORS, REGULARISATION, ITERATIONS = 64, 0.05, 15
# Numbers in the dense scores that are held at a time: 64 MB.
_CHUNK = 1 << 24


def collaborative_scores(log: Log, impressions: Impressions, *, cutoff: int, threads: int = 0) -> dict[str, Float32]:
    """Scores of EASE, BM25 item-item and ALS, float32[P] each, higher is better; cutoff in microseconds.

    EASE: Steck 2019, on the EASE_ITEMS items with most clicks; BM25 item-item: the cosine-like product of clicks
    weighted by BM25, and ALS: implicit matrix factorisation (Hu et al. 2008) with the user's factors solved for the
    clicks before the impression, both of the package `implicit`. A click counts once for a user and an item. 0 for
    a user without clicks and for an item without clicks before the cutoff. threads: 0 takes all cores.
    """
    known = np.flatnonzero(log.positive & (log.time < cutoff))
    clicks_I = np.bincount(log.item[known], minlength=len(log.item_ids))
    clicked = np.flatnonzero(clicks_I)
    # The most clicked first, and then who was clicked first: the ids and their order never decide.
    first_I = np.full(len(clicks_I), len(log.time))
    np.minimum.at(first_I, log.item[known], known)
    clicked = clicked[np.lexsort((log.time[first_I[clicked]], -clicks_I[clicked]))]
    code_I = np.full(len(log.item_ids), -1)
    code_I[clicked] = np.arange(len(clicked))
    if not len(known):
        return dict.fromkeys(("EASE", "BM25 item-item", "ALS"), np.zeros(len(impressions.item), np.float32))
    clicks_UI = clicked_once(log.user[known], code_I[log.item[known]], (len(log.user_ids), len(clicked)))
    history_NI = _histories(log, impressions, code_I, len(clicked))
    item_P = code_I[impressions.item]

    # Their own threads and those of the linear algebra would wait for each other.
    with threadpool_limits(threads or None, "blas"):
        most = min(len(clicked), EASE_ITEMS)
        weights_II = ease(clicks_UI[:, :most], EASE_PENALTY)
        found = {
            "EASE": _pairs(
                impressions, np.where(item_P < most, item_P, -1), most, _by(history_NI[:, :most], weights_II)
            )
        }
    with threadpool_limits(1, "blas"):
        weights_II = bm25(clicks_UI, NEIGHBOURS, threads=threads)
        found["BM25 item-item"] = _pairs(impressions, item_P, len(clicked), _by(history_NI, weights_II))
        als = AlternatingLeastSquares(
            factors=FACTORS, regularization=REGULARISATION, iterations=ITERATIONS, num_threads=threads, random_state=0
        )
        als.fit(clicks_UI, show_progress=False)

        def by_factors(rows: slice) -> Float32:
            users_RF = als.recalculate_user(np.arange(rows.stop - rows.start), history_NI[rows])
            return np.asarray(users_RF @ als.item_factors.T, np.float32)

        found["ALS"] = _pairs(impressions, item_P, len(clicked), by_factors)
    return found


def _histories(log: Log, impressions: Impressions, code_I: Int, items: int) -> csr_matrix:
    """What the user of each impression clicked strictly before it, [N, I]."""
    own = log.clicks_of_user
    begin_N = own.begin(impressions.user)
    length_N = own.stop(impressions.user, own.rank(impressions.time)) - begin_N
    row = np.repeat(np.arange(len(impressions)), length_N)
    return clicked_once(row, code_I[own.value[expand(begin_N, length_N)]], (len(impressions), items))


def _by(history_NI: csr_matrix, weights_II: NDArray[np.float32] | csr_matrix) -> Callable[[slice], Float32]:
    def score(rows: slice) -> Float32:
        product = history_NI[rows] @ weights_II
        return np.asarray(product if isinstance(product, np.ndarray) else product.toarray(), np.float32)

    return score


def _pairs(impressions: Impressions, item_P: Int64, items: int, scores_RI: Callable[[slice], Float32]) -> Float32:
    """Picks each pair's score out of the scores of all items; 0 for the item -1."""
    scores_P = np.zeros(len(item_P), np.float32)
    step = max(1, _CHUNK // max(1, items))
    for start in range(0, len(impressions), step):
        rows = slice(start, min(len(impressions), start + step))
        pairs = slice(impressions.offsets[rows.start], impressions.offsets[rows.stop])
        scored = scores_RI(rows)[impressions.row[pairs] - start, item_P[pairs]]
        scores_P[pairs] = np.where(item_P[pairs] >= 0, scored, 0)
    return scores_P
