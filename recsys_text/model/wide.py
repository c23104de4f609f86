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
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import ArpackNoConvergence, eigsh
from sklearn.utils.extmath import randomized_svd

from recsys_text.sections import Model
from recsys_text.text.terms import Terms

Floats = NDArray[np.float32]

#: The penalty of the appeal map; the kernel of a text with itself is 1.
_APPEAL_PENALTY = 100.0
#: Items that teach at most, the most clicked: time grows with their third power.
_MOST = 16_384
#: Clicks that are added to each item's before its clicks are made relative, so that one click proves little.
_PRIOR = 5.0
#: The power of an item's clicks by which the match's are divided before they are reduced: at 0 the most clicked items
#: take all the rank, at 1/2 the rarest count as much as they.
_RELATIVE = 0.25
#: What is added to a length before dividing by it: a vector near zero says little and stays short.
_SHRINK = 0.01
#: Of the largest singular value, what lies below is rounding.
_FAINT = 1e-3
# An item's own place needs a few clicks; below, the one that its text predicts says more.
_OWN_CLICKS = 2
_OVERSAMPLING, _ITERATIONS = 64, 4
#: Up to so many items eigenvectors are found directly, in seconds; of more by at most so many restarts of Lanczos.
_DIRECT, _RESTARTS = 2048, 60
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
        said_IC = np.empty((len(distinct), told_NC.shape[1]), np.float32)
        about_IS = np.empty((len(distinct), content), np.float32)
        rows_IV = self.terms.transform(distinct)
        for start in range(0, len(distinct), _TEXTS):
            part = slice(start, start + _TEXTS)
            cosine_IN = _cosines(rows_IV[part], self.rows_NV)
            about_IS[part] = _short_unit(cosine_IN @ self.weights["content"])
            said_IC[part] = _kernel(cosine_IN, self.curve) @ told_NC
        said_IC, about_IS = said_IC[place_I], about_IS[place_I]
        match_IM, place_IR, appeal_I1, history_IM = np.split(said_IC, np.cumsum([match, place, 1]), axis=1)
        place_IR = _short_unit(place_IR)
        candidate_IC = np.hstack([match_IM, place_IR, about_IS, appeal_I1])
        click_IC = np.hstack([history_IM, place_IR, about_IS])
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
) -> Wide:
    """Fits the maps to who clicked what.

    Args:
        clicks_UI: 1 where a user clicked an item; shown_I: how often each item was a candidate, on a scale on which
            all items together were candidates as often as they were clicked.
        neutral_I: an order of the items that says nothing of them; it decides between equally many clicks.
    """
    counts_I = np.asarray(clicks_UI.sum(0), np.float64).ravel()
    teaching = np.lexsort((neutral_I, -counts_I - shown_I))[:_MOST]
    # Back in neutral order: nothing that follows may depend on the order of popularity.
    teaching = teaching[np.argsort(neutral_I[teaching])]
    teaching = teaching[counts_I[teaching] + shown_I[teaching] > 0]
    terms = Terms.fit([text for text, known in zip(texts, known_I, strict=True) if known])
    rows_NV = terms.transform([texts[item] for item in teaching])
    kernel = _kernel(_cosines(rows_NV, rows_NV), settings.curve)
    clicks_UN, counts_N = clicks_UI.tocsc()[:, teaching].tocsr().astype(np.float32), counts_I[teaching]
    place_NR = _places(clicks_UN, counts_N, settings.collaborative, seed)
    rate_N = np.log((counts_N + 0.5) / (shown_I[teaching] + 0.5))
    seen_N = counts_N + shown_I[teaching]
    proof_N = seen_N / (seen_N + 2)
    rate_N -= np.average(rate_N, weights=proof_N) if len(teaching) else 0
    click_NM, clicked_NM = _reduced(clicks_UN, counts_N, settings.match, seed)
    targets_NW, rank = np.hstack([clicked_NM, click_NM, place_NR]), clicked_NM.shape[1]
    maps_NW = _ridge(kernel, targets_NW, np.ones(len(teaching)), settings.penalty)
    match, history, collaborative = np.split(maps_NW, [rank, 2 * rank], axis=1)
    # What the ridge says of its own rows is their target less the penalty times their dual weights.
    stretch_MM, back_MM = _spread(clicked_NM - np.float32(settings.penalty) * match)
    weights = {
        "match": match @ back_MM,
        "history": history @ stretch_MM,
        "collaborative": collaborative,
        "content": _subjects(rows_NV, settings.content, seed),
        "appeal": _ridge(kernel, rate_N[:, None].astype(np.float32), proof_N, _APPEAL_PENALTY),
    }
    own = np.flatnonzero(counts_N >= _OWN_CLICKS)
    return Wide(
        terms=terms,
        curve=settings.curve,
        rows_NV=rows_NV,
        # As they are read again: the last bits of a product depend on how a matrix lies in memory.
        weights={name: np.ascontiguousarray(weight) for name, weight in weights.items()},
        item_ids=[item_ids[teaching[row]] for row in own],
        own_JC=np.ascontiguousarray(np.hstack([click_NM[own] @ stretch_MM, place_NR[own]])),
    )


def once(texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Each text once, and where each of them is: equal texts get vectors that are equal to the last bit."""
    place = {text: position for position, text in enumerate(dict.fromkeys(texts))}
    return list(place), np.array([place[text] for text in texts], np.int64)


def _cosines(rows_IV: csr_matrix, rows_NV: csr_matrix) -> Floats:
    """float32[I, n], of texts without a term 0."""
    return np.asarray((rows_IV @ rows_NV.T).toarray(), np.float32)


def _kernel(cosine_IN: Floats, curve: float) -> Floats:
    """float32[I, n], from 0 for texts that share nothing to 1 for equal ones. Takes the place of the cosines."""
    cosine_IN *= np.float32(curve)
    np.expm1(cosine_IN, out=cosine_IN)
    cosine_IN /= np.float32(np.expm1(curve))
    return cosine_IN


def _subjects(rows_NV: csr_matrix, rank: int, seed: int) -> Floats:
    """float32[n, S]: what cosines are multiplied by to give a text in the S largest principal directions of all that
    teach.
    """
    rank = min(rank, *rows_NV.shape)
    if rank == 0:
        return np.zeros((rows_NV.shape[0], 0), np.float32)
    left_NS, values, _ = randomized_svd(rows_NV, rank, random_state=seed)
    known = values > _FAINT * values.max(initial=0)
    return np.asarray(left_NS[:, known] / values[known], np.float32)


def _reduced(clicks_UN: csr_matrix, counts_N: NDArray[np.float64], rank: int, seed: int) -> tuple[Floats, Floats]:
    """float32[n, M] each, of items as clicks of a user and as what is clicked: a user's sum of the first times the
    second is the nearest of rank M to the clicks X, where clicks on what is clicked often count less.

    The M largest singular directions V of X S, S = diag((clicks + 5) ** -_RELATIVE), found by subspace iteration (Halko
    et al. 2011, algorithm 4.4): X S V V' S^-1.
    """
    n = len(counts_N)
    rank = min(rank, n, clicks_UN.shape[0])
    if rank == 0:
        return np.zeros((n, 0), np.float32), np.zeros((n, 0), np.float32)
    size_N1 = ((counts_N + _PRIOR) ** _RELATIVE).astype(np.float32)[:, None]
    relative_UN = clicks_UN @ diags(1 / size_N1[:, 0])
    relative_NU = relative_UN.T.tocsr()

    basis = np.random.default_rng(seed).standard_normal((n, min(n, rank + _OVERSAMPLING)), dtype=np.float32)
    for _ in range(_ITERATIONS):
        basis, _ = np.linalg.qr(relative_NU @ (relative_UN @ basis))
    _, rotation = np.linalg.eigh((basis.T @ (relative_NU @ (relative_UN @ basis))).astype(np.float64))
    direction_NM = basis @ rotation[:, ::-1][:, :rank].astype(np.float32)
    return direction_NM / size_N1, direction_NM * size_N1


def _spread(said_NM: Floats) -> tuple[Floats, Floats]:
    """float32[M, M] each, A and A^-1', with which candidates c A^-1' vary alike in all directions: the length of a user
    u A is then how much the products with candidates vary, so that users of length 1 are told apart alike.
    """
    values, directions = np.linalg.eigh((said_NM.T @ said_NM).astype(np.float64) / max(len(said_NM), 1))
    deviation = np.sqrt(np.maximum(values, 1e-6 * max(values.max(initial=0), 1e-12)))
    return (directions * deviation).astype(np.float32), (directions / deviation).astype(np.float32)


def _places(clicks_UN: csr_matrix, counts_N: NDArray[np.float64], rank: int, seed: int) -> Floats:
    """float32[n, R]: the directions of the R largest eigenvalues of the co-clicks, relative to how often both items are
    clicked: the nearest positive semidefinite matrix of that rank, so that items clicked together lie together.
    """
    n = len(counts_N)
    # Co-clicks have at most one positive eigenvalue for each user: beyond, Lanczos would look for what is not there.
    users = int(np.count_nonzero(np.diff(clicks_UN.indptr)))
    rank = min(rank, max(n - 1, 0), users)
    if rank == 0:
        return np.zeros((n, 0), np.float32)
    relative = diags((1 / np.sqrt(counts_N + _PRIOR)).astype(np.float32))
    together = relative @ (clicks_UN.T @ clicks_UN) @ relative
    together = (together - diags(together.diagonal())).tocsr()
    together.eliminate_zeros()
    if not together.nnz:
        return np.zeros((n, 0), np.float32)
    values, vectors = _largest_eigenpairs(together, rank, seed)
    return _short_unit((vectors[:, ::-1] * np.sqrt(np.maximum(values[::-1], 0))).astype(np.float32))


def _largest_eigenpairs(symmetric: csr_matrix, rank: int, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The largest eigenvalues of a symmetric matrix, ascending, and their vectors: `rank` of them, or the fewer that
    have converged when the restarts are used up.
    """
    n = symmetric.shape[0]
    if n <= _DIRECT:
        values, vectors = eigh(symmetric.toarray().astype(np.float64), subset_by_index=(n - rank, n - 1))
        return values, vectors
    start = np.random.default_rng(seed).standard_normal(n, dtype=np.float32)
    try:
        values, vectors = eigsh(symmetric, rank, which="LA", v0=start, maxiter=_RESTARTS)
    except ArpackNoConvergence as found:
        ascending = np.argsort(found.eigenvalues, kind="stable")
        values, vectors = found.eigenvalues[ascending], found.eigenvectors[:, ascending]
    return values, vectors


def _ridge(kernel: Floats, target_NW: Floats, votes_N: NDArray[np.float64], penalty: float) -> Floats:
    """float32[n, W]: dual weights of a ridge regression in which row n counts `votes_N[n]` times."""
    regularised = kernel.copy()
    regularised[np.diag_indices(len(kernel))] += (penalty / np.maximum(votes_N, 1e-3)).astype(np.float32)
    factor = cho_factor(regularised, lower=True, overwrite_a=True, check_finite=False)
    return np.asarray(cho_solve(factor, target_NW, check_finite=False), np.float32)


def _short_unit(vec_IR: Floats) -> Floats:
    return np.asarray(vec_IR / (np.linalg.norm(vec_IR, axis=1, keepdims=True) + _SHRINK), np.float32)
