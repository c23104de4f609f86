"""The wide path: maps from sparse n-grams to where users' clicks place items, in closed form. Knows no tokens, no
network and no time.

Kernel ridge regression throughout: a target Y of n items is predicted for a text t as k(t) (K + penalty)^-1 Y, with
the kernel k(s, t) = (exp(c cos) - 1) / (exp(c) - 1) of the cosine of their TF-IDF rows: beside the n-grams also their
pairs, triples and so on count, each order weighing c / order of the one before (a Gaussian kernel on the sphere less
its constant), c being `curve`. A text that shares nothing with another has kernel 0, and says nothing. The rows may
weigh differently.

Legend: I items, n items that taught, U users, V terms, M `match`, R `collaborative`, S `content`, W columns of all.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.linalg import cholesky, solve_triangular
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import LinearOperator, cg

from recsys_text.model.ridge import Products, solve_in_place
from recsys_text.sections import Model
from recsys_text.text.terms import Terms

Floats = NDArray[np.float32]

#: The penalty of the appeal map; the kernel of a text with itself is 1.
_APPEAL_PENALTY = 100.0
#: With such a penalty conjugate gradients are there after a few dozen steps.
_APPEAL_STEPS, _APPEAL_ERROR = 200, 1e-5
#: Clicks that are added to each item's before its clicks are made relative, so that one click proves little.
_PRIOR = 5.0
#: The power of an item's clicks by which the match's are divided before they are reduced: at 0 the most clicked items
#: take all the rank, at 1/2 the rarest count as much as they.
_RELATIVE = 0.25
#: What is added to a length before dividing by it: a vector near zero says little and stays short.
_SHRINK = 0.01
#: Of the largest singular value, what lies below says nothing; of a sum of squares, what is rounding.
_FAINT = 1e-3
_ROUNDING = 1e-13
# An item's own place needs a few clicks; below, the one that its text predicts says more.
_OWN_CLICKS = 2
#: Of the subspace iteration: directions beside those that are wanted, how often it goes on, and how many directions
#: are multiplied at a time, which bounds what users or terms take in memory.
_OVERSAMPLING, _ITERATIONS, _COLUMNS = 64, 4, 64
#: Texts whose kernels with all that taught are made at a time.
_TEXTS = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class Wide:
    """The fitted maps. Columns, in order: match M, collaborative R, content S, appeal 1.

    match: the product of a candidate's and of a click's is how much that click speaks for clicks on the candidate, also
    by how certain that is; collaborative: the direction in which users who click an item click others, whatever the
    certainty; content: what a text is about, whoever clicks it, which holds when users turn to new subjects (latent
    semantic analysis, Deerwester et al. 1990); appeal: how often an item is clicked where it is a candidate, as a
    logarithm.
    """

    terms: Terms
    curve: float
    rows_NV: csr_matrix
    weights: dict[str, Floats]
    item_ids: list[str]
    own_JC: Floats

    @cached_property
    def _known(self) -> dict[str, int]:
        return {item_id: row for row, item_id in enumerate(self.item_ids)}

    @property
    def width(self) -> tuple[int, int, int]:
        """M, R and S."""
        match, collaborative, content = (self.weights[name].shape[1] for name in ("match", "collaborative", "content"))
        return match, collaborative, content

    def items(self, texts: Sequence[str], item_ids: Sequence[str] | None = None) -> tuple[Floats, Floats]:
        """What texts are as candidates, float32[I, M + R + S + 1], and as clicks of a history, float32[I, M + R + S].

        A candidate is its text alone. A click whose id was clicked enough in training has a match and a place of its
        own.
        """
        match, place, content = self.width
        told_NC = np.hstack([self.weights[name] for name in ("match", "collaborative", "appeal", "history")])
        distinct, place_I = once(texts)
        candidate_IC = np.empty((len(distinct), match + place + content + 1), np.float32)
        click_IC = np.empty((len(distinct), match + place + content), np.float32)
        rows_IV, cosines = self.terms.transform(distinct), Products(self.rows_NV)
        for start in range(0, len(distinct), _TEXTS):
            part = slice(start, start + _TEXTS)
            cosine_IN = cosines(rows_IV[part])
            about_IS = _short_unit(cosine_IN @ self.weights["content"])
            said_IC = kernel_of(cosine_IN, self.curve) @ told_NC
            match_IM, place_IR, appeal_I1, history_IM = np.split(said_IC, np.cumsum([match, place, 1]), axis=1)
            place_IR = _short_unit(place_IR)
            np.concatenate([match_IM, place_IR, about_IS, appeal_I1], axis=1, out=candidate_IC[part])
            np.concatenate([history_IM, place_IR, about_IS], axis=1, out=click_IC[part])
        if len(distinct) < len(texts):
            candidate_IC, click_IC = candidate_IC[place_I], click_IC[place_I]
        if item_ids is not None:
            at = [(row, self._known[item_id]) for row, item_id in enumerate(item_ids) if item_id in self._known]
            if at:
                rows, known = np.array(at).T
                click_IC[rows, : match + place] = self.own_JC[known]
        return candidate_IC, click_IC

    def save(self, folder: Path) -> None:
        """Writes `wide.safetensors` and `wide.json` into a folder that exists."""
        arrays = {f"weight.{name}": weight for name, weight in self.weights.items()}
        arrays |= {
            "own": self.own_JC,
            "rows.data": self.rows_NV.data,
            "rows.indices": self.rows_NV.indices.astype(np.int32),
            "rows.indptr": self.rows_NV.indptr.astype(np.int64),
        }
        save_file(arrays, folder / "wide.safetensors")
        about = {"terms": json.loads(self.terms.to_json()), "item_ids": self.item_ids, "curve": self.curve}
        (folder / "wide.json").write_text(json.dumps(about, ensure_ascii=False))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote."""
        arrays = load_file(folder / "wide.safetensors")
        about = json.loads((folder / "wide.json").read_text())
        terms = Terms(about["terms"]["terms"], about["terms"]["idf"])
        rows = (arrays["rows.data"], arrays["rows.indices"], arrays["rows.indptr"])
        return cls(
            terms=terms,
            curve=about["curve"],
            rows_NV=csr_matrix(rows, shape=(len(arrays["rows.indptr"]) - 1, len(terms))),
            weights={
                name.removeprefix("weight."): array for name, array in arrays.items() if name.startswith("weight.")
            },
            item_ids=about["item_ids"],
            own_JC=arrays["own"],
        )


def fit_wide(
    texts: Sequence[str],
    item_ids: Sequence[str],
    clicks_UI: csr_matrix,
    shown_I: NDArray[np.floating[Any]],
    known_I: NDArray[np.bool_],
    neutral_I: NDArray[np.int64],
    settings: Model,
    seed: int,
    most: int,
) -> Wide:
    """Fits the maps to who clicked what.

    At most `most` items teach, the most clicked: the kernel of their n distinct texts takes 4 n^2 bytes, and nothing
    else as much; time grows as n^3.

    Args:
        clicks_UI: 1 where a user clicked an item; shown_I: how often each item was a candidate, on a scale on which
            all items together were candidates as often as they were clicked.
        neutral_I: an order of the items that says nothing of them; it decides between equally many clicks.

    Raises:
        ConfigError: `settings.penalty` is too small for the kernel of these texts in single precision.
    """
    counts_I = np.asarray(clicks_UI.sum(0), np.float64).ravel()
    teaching = np.lexsort((neutral_I, -counts_I - shown_I))[:most]
    # Back in neutral order: nothing that follows may depend on the order of popularity.
    teaching = teaching[np.argsort(neutral_I[teaching])]
    teaching = teaching[counts_I[teaching] + shown_I[teaching] > 0]
    terms = Terms.fit([text for text, known in zip(texts, known_I, strict=True) if known])
    clicks_UJ, counts_J = clicks_UI.tocsc()[:, teaching].tocsr().astype(np.float32), counts_I[teaching]
    place_JR = _places(clicks_UJ, counts_J, settings.collaborative, seed)
    rate_J = np.log((counts_J + 0.5) / (shown_I[teaching] + 0.5))
    seen_J = counts_J + shown_I[teaching]
    proof_J = seen_J / (seen_J + 2)
    rate_J -= np.average(rate_J, weights=proof_J) if len(teaching) else 0
    click_JM, clicked_JM = reduced(clicks_UJ, counts_J, settings.match, seed)

    # A text of several items is one row of their mean, which counts as often as there are such items.
    distinct, text_J = once([texts[item] for item in teaching])
    votes_N = np.bincount(text_J, minlength=len(distinct)).astype(np.float64)
    mean_NJ = csr_matrix((1 / votes_N[text_J], (text_J, np.arange(len(teaching)))), (len(distinct), len(teaching)))
    rows_NV = terms.transform(distinct)
    kernel_NN = kernel_of(Products(rows_NV)(rows_NV), settings.curve)
    proof_N = np.bincount(text_J, proof_J, minlength=len(distinct)).astype(np.float64)
    rate_N = np.bincount(text_J, proof_J * rate_J, minlength=len(distinct)) / np.maximum(proof_N, 1e-3)
    appeal_N = _appeal(kernel_NN, rate_N, proof_N)
    targets_NW, rank = mean_NJ @ np.hstack([clicked_JM, click_JM, place_JR]), clicked_JM.shape[1]
    maps_NW = solve_in_place(kernel_NN, targets_NW.astype(np.float32), settings.penalty / votes_N)
    del kernel_NN
    match, history, collaborative = np.split(maps_NW, [rank, 2 * rank], axis=1)
    # What the ridge says of its own rows is their target less their penalty times their dual weights.
    said_NM = targets_NW[:, :rank] - (settings.penalty / votes_N)[:, None] * match
    stretch_MM, back_MM = _spread((said_NM * np.sqrt(votes_N)[:, None]).astype(np.float32), len(teaching))
    weights = {
        "match": match @ back_MM,
        "history": history @ stretch_MM,
        "collaborative": collaborative,
        "content": _subjects(rows_NV, votes_N, settings.content, seed),
        "appeal": appeal_N[:, None],
    }
    own = np.flatnonzero(counts_J >= _OWN_CLICKS)
    return Wide(
        terms=terms,
        curve=settings.curve,
        rows_NV=rows_NV,
        # As they are read again: the last bits of a product depend on how a matrix lies in memory.
        weights={name: np.ascontiguousarray(weight) for name, weight in weights.items()},
        item_ids=[item_ids[teaching[row]] for row in own],
        own_JC=np.ascontiguousarray(np.hstack([click_JM[own] @ stretch_MM, place_JR[own]])),
    )


def once(texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Each text once, and where each of them is: equal texts get vectors that are equal to the last bit."""
    place = {text: position for position, text in enumerate(dict.fromkeys(texts))}
    return list(place), np.array([place[text] for text in texts], np.int64)


def kernel_of(cosine_IN: Floats, curve: float) -> Floats:
    """float32[I, n], from 0 for texts that share nothing to 1 for equal ones. Takes the place of the cosines."""
    cosine_IN *= np.float32(curve)
    np.expm1(cosine_IN, out=cosine_IN)
    cosine_IN /= np.float32(np.expm1(curve))
    return cosine_IN


def _subjects(rows_NV: csr_matrix, votes_N: NDArray[np.float64], rank: int, seed: int) -> Floats:
    """float32[n, S]: what cosines are multiplied by to give a text in the S largest principal directions of all that
    teach, a text of several items as often as they are.
    """
    n, rank = rows_NV.shape[0], min(rank, *rows_NV.shape)
    if rank == 0:
        return np.zeros((n, 0), np.float32)
    often_N = np.sqrt(votes_N).astype(np.float32)
    often_NV = (diags(often_N) @ rows_NV).tocsr()
    squares, left_NS = _largest_eigenpairs(_squared(often_NV.T.tocsr()), n, rank, seed)
    values = np.sqrt(np.maximum(squares, 0))
    known = values > _FAINT * values.max(initial=0)
    return np.asarray(often_N[:, None] * left_NS[:, known] / values[known], np.float32)


def reduced(clicks_UN: csr_matrix, counts_N: NDArray[np.float64], rank: int, seed: int) -> tuple[Floats, Floats]:
    """float32[n, M] each, of items as clicks of a user and as what is clicked: a user's sum of the first times the
    second is the nearest of rank M to the clicks X, where clicks on what is clicked often count less.

    The M largest singular directions V of X S, S = diag((clicks + 5) ** -_RELATIVE): X S V V' S^-1.
    """
    n = len(counts_N)
    rank = min(rank, n, clicks_UN.shape[0])
    if rank == 0:
        return np.zeros((n, 0), np.float32), np.zeros((n, 0), np.float32)
    size_N1 = ((counts_N + _PRIOR) ** _RELATIVE).astype(np.float32)[:, None]
    _, direction_NM = _largest_eigenpairs(_squared((clicks_UN @ diags(1 / size_N1[:, 0])).tocsr()), n, rank, seed)
    return direction_NM / size_N1, direction_NM * size_N1


def _spread(said_NM: Floats, items: int) -> tuple[Floats, Floats]:
    """float32[M, M] each, A and A^-1', with which candidates c A^-1' vary alike in all directions: the length of a user
    u A is then how much the products with candidates vary, so that users of length 1 are told apart alike.

    said_NM: of so many items, those of one text in one row times the root of their number.
    """
    values, directions = np.linalg.eigh((said_NM.T @ said_NM).astype(np.float64) / max(items, 1))
    deviation = np.sqrt(np.maximum(values, 1e-6 * max(values.max(initial=0), 1e-12)))
    return (directions * deviation).astype(np.float32), (directions / deviation).astype(np.float32)


def _places(clicks_UN: csr_matrix, counts_N: NDArray[np.float64], rank: int, seed: int) -> Floats:
    """float32[n, R]: the directions of the R largest eigenvalues of the co-clicks, relative to how often both items are
    clicked: the nearest positive semidefinite matrix of that rank, so that items clicked together lie together.
    """
    n = len(counts_N)
    # Co-clicks have at most one positive eigenvalue for each user: beyond, there is nothing to look for.
    users = int(np.count_nonzero(np.diff(clicks_UN.indptr)))
    rank = min(rank, max(n - 1, 0), users)
    if rank == 0:
        return np.zeros((n, 0), np.float32)
    relative_UN = (clicks_UN @ diags((1 / np.sqrt(counts_N + _PRIOR)).astype(np.float32))).tocsr()
    own_N1 = np.asarray(relative_UN.multiply(relative_UN).sum(0), np.float32).reshape(-1, 1)
    squared = _squared(relative_UN)
    # The co-clicks of an item with itself say nothing; the matrix without them is never made.
    values, vectors = _largest_eigenpairs(lambda vec_NK: squared(vec_NK) - own_N1 * vec_NK, n, rank, seed)
    known = values > _FAINT * max(values.max(initial=0), _FAINT)
    return _short_unit((vectors[:, known] * np.sqrt(values[known])).astype(np.float32))


def _squared(rows_UN: csr_matrix) -> Callable[[Floats], Floats]:
    """What multiplies float32[n, K] by X'X, of sparse rows X, a few columns at a time."""
    rows_NU = rows_UN.T.tocsr()

    def times(vec_NK: Floats) -> Floats:
        product_NK = np.empty_like(vec_NK)
        for start in range(0, vec_NK.shape[1], _COLUMNS):
            part = slice(start, start + _COLUMNS)
            product_NK[:, part] = rows_NU @ (rows_UN @ vec_NK[:, part])
        return product_NK

    return times


def _largest_eigenpairs(times: Callable[[Floats], Floats], n: int, rank: int, seed: int) -> tuple[Floats, Floats]:
    """The `rank` largest eigenvalues of a symmetric matrix, descending, and their vectors, float32[n, rank].

    Found by subspace iteration (Halko et al. 2011, algorithm 4.4) in so many steps whatever the matrix: nearly exact
    for those that stand out. times: multiplies float32[n, K] by the matrix.
    """
    basis = np.random.default_rng(seed).standard_normal((n, min(n, rank + _OVERSAMPLING)), dtype=np.float32)
    for _ in range(_ITERATIONS):
        basis = _orthonormal(times(basis))
    values, rotation = np.linalg.eigh((basis.T @ times(basis)).astype(np.float64))
    order = np.argsort(-values, kind="stable")[:rank]
    return values[order].astype(np.float32), basis @ rotation[:, order].astype(np.float32)


def _orthonormal(vec_NK: Floats) -> Floats:
    """float32[n, K], an orthonormal basis of the columns; directions that are rounding are short.

    Shifted Cholesky QR (Fukaya et al. 2020), twice: many times as fast as reflections, which multiply thin strips.
    """
    for _ in range(2):
        double_NK = vec_NK.astype(np.float64)
        square_KK = double_NK.T @ double_NK
        square_KK[np.diag_indices(len(square_KK))] += _ROUNDING * max(np.trace(square_KK), _ROUNDING)
        factor_KK = cholesky(square_KK, lower=True, overwrite_a=True, check_finite=False)
        vec_NK = vec_NK @ solve_triangular(factor_KK, np.eye(len(square_KK)), lower=True).T.astype(np.float32)
    return vec_NK


def _appeal(kernel_NN: Floats, rate_N: NDArray[np.float64], proof_N: NDArray[np.float64]) -> Floats:
    """float32[n]: dual weights of a ridge regression in which row n counts `proof_N[n]` times; leaves the kernel."""
    if not len(rate_N):
        return np.zeros(0, np.float32)
    penalty_N = (_APPEAL_PENALTY / np.maximum(proof_N, 1e-3)).astype(np.float32)
    regularised = LinearOperator(
        kernel_NN.shape, matvec=lambda vec_N: kernel_NN @ vec_N + penalty_N * vec_N, dtype=np.float32
    )
    dual_N, _ = cg(
        regularised, rate_N.astype(np.float32), rtol=_APPEAL_ERROR, maxiter=_APPEAL_STEPS, M=diags(1 / (1 + penalty_N))
    )
    return np.asarray(dual_N, np.float32)


def _short_unit(vec_IR: Floats) -> Floats:
    return np.asarray(vec_IR / (np.linalg.norm(vec_IR, axis=1, keepdims=True) + _SHRINK), np.float32)
