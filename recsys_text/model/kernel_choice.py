"""Choose the curve and the penalty of the text regression by how well it ranks items that it has not seen clicked.

Knows texts and who clicked what, no time. Legend: U users, n items that teach, H items held out, M `match`.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from recsys_text.model.ridge import Products, solve_in_place
from recsys_text.model.wide import kernel_of, once, reduced
from recsys_text.text.terms import Terms

#: What is tried: between two neighbours of either the ranking hardly changes (books, papers, news, a shop).
CURVES, PENALTIES = (1.0, 2.0, 4.0, 6.0), (0.1, 0.3, 1.0, 3.0)
#: Items at most, one in so many of them held out, users at most that they are ranked for, and the rank of the match.
_ITEMS, _HELD_OUT, _USERS, _MATCH = 4096, 5, 1500, 256
#: With fewer items held out, or users to rank them for, nothing is chosen.
_FEWEST = 20
_K = 10


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """A curve and a penalty (see `model.wide`), and the nDCG@10 with which they rank items held out."""

    curve: float
    penalty: float
    ndcg: float


def choose_kernel(
    texts: Sequence[str],
    clicks_UI: csr_matrix,
    seed: int,
    *,
    curves: Sequence[float] = CURVES,
    penalties: Sequence[float] = PENALTIES,
) -> Kernel | None:
    """Return the best of these curves and penalties, None where there is too little to tell them apart.

    A fifth of the clicked items is held out, drawn evenly; they are ranked by their texts alone for users who clicked
    one of them and others. A curve that suits few items may not suit many: of a large catalogue a sample chooses.

    Args:
        texts: one of each item. clicks_UI: 1 where a user clicked an item.
    """
    draw = np.random.default_rng(seed)
    clicked = np.flatnonzero(np.asarray(clicks_UI.sum(0)).ravel())
    some = np.sort(draw.choice(clicked, min(len(clicked), _ITEMS), replace=False))
    held = draw.permutation(len(some)) % _HELD_OUT == 0
    clicks_UC = clicks_UI.tocsc()
    clicks_Un, clicks_UH = (clicks_UC[:, chosen].tocsr().astype(np.float32) for chosen in (some[~held], some[held]))
    both = np.flatnonzero((np.diff(clicks_Un.indptr) > 0) & (np.diff(clicks_UH.indptr) > 0))
    if min(held.sum(), len(both)) < _FEWEST:
        return None
    users = np.sort(draw.choice(both, min(len(both), _USERS), replace=False))
    counts_n = np.asarray(clicks_Un.sum(0), np.float64).ravel()
    click_nM, clicked_nM = reduced(clicks_Un, counts_n, _MATCH, seed)
    user_UM = clicks_Un[users] @ click_nM
    wanted_UH = clicks_UH[users].toarray() > 0

    # A text of several items is one row of their mean, as in the regression itself.
    distinct, text_n = once([texts[item] for item in some[~held]])
    votes_N = np.bincount(text_n, minlength=len(distinct)).astype(np.float64)
    mean_Nn = csr_matrix((1 / votes_N[text_n], (text_n, np.arange(len(text_n)))), (len(distinct), len(text_n)))
    target_NM = (mean_Nn @ clicked_nM).astype(np.float32)
    terms = Terms.fit(distinct)
    if not len(terms):  # no two texts share anything
        return None
    rows_NV = terms.transform(distinct)
    cosines = Products(rows_NV)
    cosine_NN, cosine_HN = cosines(rows_NV), cosines(terms.transform([texts[item] for item in some[held]]))
    found = []
    for curve, penalty in itertools.product(curves, penalties):
        dual_NM = solve_in_place(kernel_of(cosine_NN.copy(), curve), target_NM, penalty / votes_N)
        said_UH = user_UM @ (kernel_of(cosine_HN.copy(), curve) @ dual_NM).T
        found.append(Kernel(curve=curve, penalty=penalty, ndcg=_ndcg(said_UH, wanted_UH)))
    return max(found, key=lambda kernel: kernel.ndcg)


def _ndcg(said_UH: NDArray[np.float32], wanted_UH: NDArray[np.bool_]) -> float:
    """The mean nDCG@10 of users, each of whom wants one at least (Jarvelin and Kekalainen 2002)."""
    first_UK = np.argsort(-said_UH, axis=1, kind="stable")[:, :_K]
    discount_K = 1 / np.log2(np.arange(_K) + 2)[: first_UK.shape[1]]
    gain_U = np.take_along_axis(wanted_UH, first_UK, axis=1) @ discount_K
    ideal_U = np.cumsum(discount_K)[np.minimum(wanted_UH.sum(axis=1), len(discount_K)) - 1]
    return float(np.mean(gain_U / ideal_U))
