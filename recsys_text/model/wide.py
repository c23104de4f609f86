"""The wide path: linear maps from sparse n-grams to where users' clicks place items, in closed form. Knows no tokens,
no network and no time.

Kernel ridge regression throughout: with T the TF-IDF rows of n items and K = T T', a target Y of those items is
predicted for a text t as (T t)' (K + penalty)^-1 Y, which is linear in t. The rows may weigh differently.

Legend: I items, n items that taught, U users, V terms, M `match`, R `collaborative`, W columns of all parts.
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
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_matrix, diags
from scipy.sparse.linalg import eigsh

from recsys_text.config import Model
from recsys_text.text.terms import Terms

Floats = NDArray[np.float32]

#: Penalties of the collaborative and of the appeal map; the rows of T have length 1, so that K's diagonal is 1.
_COLLABORATIVE_PENALTY, _APPEAL_PENALTY = 1.0, 10.0
#: Items that teach at most, the most clicked: time grows with their third power.
_MOST = 16_384
#: Clicks that are added to each item's before its co-clicks are made relative, so that one click proves little.
_PRIOR = 5.0
#: What is added to a length before dividing by it: a vector near zero says little and stays short.
_SHRINK = 0.05
# An item's own collaborative vector needs a few clicks; below, the one that its text predicts says more.
_OWN_CLICKS = 3
# From so many clicks on an item's place is certain enough for a full vote.
_CERTAIN = 20.0
_OVERSAMPLING, _ITERATIONS = 64, 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Wide:
    """The fitted maps. Columns, in order: match M, collaborative R, appeal 1.

    match: the best rank-M approximation of the profile of what a user clicked, in n-grams made independent of each
    other; collaborative: the direction in which users who click an item click others; appeal: how often an item is
    clicked where it is a candidate, as a logarithm.
    """

    terms: Terms
    rows_NV: csr_matrix
    weights: dict[str, Floats]
    item_ids: list[str]
    own_JR: Floats

    @cached_property
    def _maps(self) -> dict[str, Floats]:
        return {name: np.asarray(self.rows_NV.T @ weight, np.float32) for name, weight in self.weights.items()}

    @cached_property
    def _known(self) -> dict[str, int]:
        return {item_id: row for row, item_id in enumerate(self.item_ids)}

    @property
    def width(self) -> tuple[int, int]:
        """M and R."""
        return self.weights["match"].shape[1], self.weights["collaborative"].shape[1]

    def items(self, texts: Sequence[str], item_ids: Sequence[str] | None = None) -> tuple[Floats, Floats]:
        """What texts are as candidates, float32[I, M + R + 1], and as clicks of a history, float32[I, M + R].

        A candidate is its text alone. A click whose id was clicked enough in training has a place of its own.
        """
        rows_IV = self.terms.transform(texts)
        match, clicked, place, appeal = (
            np.asarray(rows_IV @ self._maps[name], np.float32)
            for name in ("match", "history", "collaborative", "appeal")
        )
        match, place = _short_unit(match), _short_unit(place)
        own = place.copy()
        if item_ids is not None:
            at = [(row, self._known[item_id]) for row, item_id in enumerate(item_ids) if item_id in self._known]
            if at:
                rows, known = np.array(at).T
                own[rows] = self.own_JR[known]
        return np.hstack([match, place, appeal]), np.hstack([clicked, own])

    def save(self, folder: Path) -> None:
        """Writes `wide.safetensors` and `wide.json` into a folder that exists."""
        arrays = {f"weight.{name}": np.ascontiguousarray(weight) for name, weight in self.weights.items()}
        arrays |= {
            "own": self.own_JR,
            "rows.data": self.rows_NV.data,
            "rows.indices": self.rows_NV.indices.astype(np.int32),
            "rows.indptr": self.rows_NV.indptr.astype(np.int64),
        }
        save_file(arrays, folder / "wide.safetensors")
        about = {"terms": json.loads(self.terms.to_json()), "item_ids": self.item_ids}
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
            rows_NV=csr_matrix(rows, shape=(len(arrays["rows.indptr"]) - 1, len(terms))),
            weights={
                name.removeprefix("weight."): array for name, array in arrays.items() if name.startswith("weight.")
            },
            item_ids=about["item_ids"],
            own_JR=arrays["own"],
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
    kernel = (rows_NV @ rows_NV.T).toarray().astype(np.float32)
    clicks_UN, counts_N = clicks_UI.tocsc()[:, teaching].tocsr().astype(np.float32), counts_I[teaching]
    match, history = _match(kernel, clicks_UN, settings.match, np.float32(settings.penalty), seed)
    place_NR = _places(clicks_UN, counts_N, settings.collaborative, seed)
    votes_N = np.minimum(counts_N, _CERTAIN) / (_CERTAIN / 2)
    rate_N = np.log((counts_N + 0.5) / (shown_I[teaching] + 0.5))
    seen_N = counts_N + shown_I[teaching]
    proof_N = seen_N / (seen_N + 2)
    rate_N -= np.average(rate_N, weights=proof_N) if len(teaching) else 0
    weights = {
        "match": match,
        "history": history,
        "collaborative": _ridge(kernel, place_NR, votes_N, _COLLABORATIVE_PENALTY),
        "appeal": _ridge(kernel, rate_N[:, None].astype(np.float32), proof_N, _APPEAL_PENALTY),
    }
    own = np.flatnonzero(counts_N >= _OWN_CLICKS)
    return Wide(
        terms=terms,
        rows_NV=rows_NV,
        weights=weights,
        item_ids=[item_ids[teaching[row]] for row in own],
        own_JR=place_NR[own],
    )


def _match(kernel: Floats, clicks_UN: csr_matrix, rank: int, penalty: np.float32, seed: int) -> tuple[Floats, Floats]:
    """Weights of candidates and of clicks, float32[n, M] each, whose product is a reduced-rank ridge regression.

    Full rank would be X (K + penalty)^-1 T t for users' clicks X: the profile of a user in n-grams, made independent of
    each other where the penalty is small, as they are where it is large.
    Of rank M, it is projected on the M directions in which its fitted values X A, A = K (K + penalty)^-1, vary most
    (Izenman 1975), found by subspace iteration (Halko et al. 2011, algorithm 4.4).
    """
    n = len(kernel)
    rank = min(rank, n)
    if rank == 0:
        return np.zeros((n, 0), np.float32), np.zeros((n, 0), np.float32)
    regularised = kernel.copy()
    regularised[np.diag_indices(n)] += penalty
    factor = cho_factor(regularised, lower=True, overwrite_a=True, check_finite=False)

    def solve(columns: Floats) -> Floats:
        return np.asarray(cho_solve(factor, columns, check_finite=False), np.float32)

    def fitted(columns: Floats) -> Floats:
        return columns - penalty * solve(columns)  # A = 1 - penalty * (K + penalty)^-1

    def spread(columns: Floats) -> Floats:
        return fitted(np.asarray(clicks_UN.T @ (clicks_UN @ fitted(columns)), np.float32))

    basis = np.random.default_rng(seed).standard_normal((n, min(n, rank + _OVERSAMPLING)), dtype=np.float32)
    for _ in range(_ITERATIONS + 1):
        basis, _ = np.linalg.qr(spread(basis))
    values, rotation = np.linalg.eigh((basis.T @ spread(basis)).astype(np.float64))
    values, rotation = values[::-1][:rank], rotation[:, ::-1][:, :rank]
    directions = (basis @ rotation).astype(np.float32)
    size = np.sqrt(np.maximum(values, 1e-6 * max(values[0], 1e-6))).astype(np.float32)
    target = solve(np.asarray(clicks_UN.T @ (clicks_UN @ fitted(directions)), np.float32)) / size**1.5
    # Of length 1 in the mean, which `_short_unit` counts on.
    target /= np.sqrt(np.mean(np.sum((kernel @ target) ** 2, axis=1))) or 1
    return target, solve(directions) / np.sqrt(size)


def _places(clicks_UN: csr_matrix, counts_N: NDArray[np.float64], rank: int, seed: int) -> Floats:
    """float32[n, R]: the directions of the R largest eigenvalues of the co-clicks, relative to how often both items are
    clicked: the nearest positive semidefinite matrix of that rank, so that items clicked together lie together.
    """
    n = len(counts_N)
    rank = min(rank, max(n - 1, 0))
    if rank == 0:
        return np.zeros((n, 0), np.float32)
    relative = diags((1 / np.sqrt(counts_N + _PRIOR)).astype(np.float32))
    together = relative @ (clicks_UN.T @ clicks_UN) @ relative
    together = (together - diags(together.diagonal())).tocsr()
    start = np.random.default_rng(seed).standard_normal(n, dtype=np.float32)
    values, vectors = eigsh(together, rank, which="LA", v0=start)
    return _short_unit((vectors[:, ::-1] * np.sqrt(np.maximum(values[::-1], 0))).astype(np.float32))


def _ridge(kernel: Floats, target_NW: Floats, votes_N: NDArray[np.float64], penalty: float) -> Floats:
    """float32[n, W]: dual weights of a ridge regression in which row n counts `votes_N[n]` times."""
    regularised = kernel.copy()
    regularised[np.diag_indices(len(kernel))] += (penalty / np.maximum(votes_N, 1e-3)).astype(np.float32)
    factor = cho_factor(regularised, lower=True, overwrite_a=True, check_finite=False)
    return np.asarray(cho_solve(factor, target_NW, check_finite=False), np.float32)


def _short_unit(vec_IR: Floats) -> Floats:
    return np.asarray(vec_IR / (np.linalg.norm(vec_IR, axis=1, keepdims=True) + _SHRINK), np.float32)
