"""Item-item weights from who clicked what. Knows a matrix of clicks: no text, no time and no order of items."""

import numpy as np
from implicit.nearest_neighbours import ItemItemRecommender, bm25_weight
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys_text.errors import ConfigError

Float32 = NDArray[np.float32]

# Rows of the Gram matrix that are made at a time: its sparse form would take three times the memory of the dense one.
_ROWS = 512
_K1, _B = 1.2, 0.75


def ease(clicks_UI: csr_matrix, penalty: float) -> Float32:
    """EASE (Steck 2019, "Embarrassingly Shallow Autoencoders for Sparse Data"), float32[I, I].

    The exact minimiser of ||X - X B||^2 + penalty * ||B||^2 over all B with a zero diagonal: with
    P = (X'X + penalty * 1)^-1, B[i, j] = -P[i, j] / P[j, j]. B[i, j] is what a click on i says for j, so that a user's
    scores are `x @ B`. Takes 4 * I * I bytes, and time in I ** 3 beside that of X'X.

    Raises ConfigError for a penalty that is not above 0: the inverse might not exist.
    """
    if not penalty > 0:
        raise ConfigError(f"the penalty of EASE is {penalty}; make it a number above 0, such as 300")
    X = clicks_UI.astype(np.float32)
    items = X.shape[1]
    # Column-major, and only the upper triangle is right from here on: LAPACK works in place then.
    P = np.empty((items, items), np.float32, order="F")
    by_item = X.T.tocsr()
    for start in range(0, items, _ROWS):
        part = slice(start, start + _ROWS)
        P[:, part] = (by_item[part] @ X).toarray().T
    P[np.diag_indices(items)] += np.float32(penalty)
    if items:
        P, failed = lapack.spotrf(P, lower=0, clean=0, overwrite_a=1)
        assert not failed, "X'X + penalty * 1 is positive definite"
        P, failed = lapack.spotri(P, lower=0, overwrite_c=1)
        assert not failed, "a Cholesky factor has no zero on its diagonal"
    variance = P.diagonal().copy()
    for j in range(items):
        P[j, :j] = P[:j, j]
    P /= -variance
    np.fill_diagonal(P, 0)
    return P


def bm25(clicks_UI: csr_matrix, neighbours: int, *, threads: int = 0) -> csr_matrix:
    """Item-item products of clicks weighted by BM25, csr_matrix[I, I], of the `neighbours` largest of each item.

    By the package `implicit`, with the usual constants. threads: 0 takes all cores.
    """
    with threadpool_limits(1, "blas"):  # its own threads and those of the linear algebra would wait for each other
        found = ItemItemRecommender(K=neighbours, num_threads=threads)
        found.fit(bm25_weight(clicks_UI.T, _K1, _B).T.tocsr(), show_progress=False)
    return csr_matrix(found.similarity, dtype=np.float32)


def clicked_once(user: NDArray[np.integer], item: NDArray[np.integer], shape: tuple[int, int]) -> csr_matrix:
    """1 where a user clicked an item, however often; clicks on the item -1 are left out."""
    known = item >= 0
    pair = np.unique(user[known].astype(np.int64) * shape[1] + item[known])
    return csr_matrix((np.ones(len(pair), np.float32), (pair // shape[1], pair % shape[1])), shape=shape)
