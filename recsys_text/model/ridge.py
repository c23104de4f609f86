"""Products of sparse rows and ridge regressions in their dual form, in one square matrix of single precision. Knows no
texts.

Legend: I and n rows, V columns, W targets.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from scipy.sparse import csr_matrix

from recsys_text.errors import ConfigError

Floats = NDArray[np.float32]
#: Rows whose products with all others are made at a time: their sparse form takes up to three times the dense one.
_ROWS = 512
#: A column that so many rows have, as a share of all, is multiplied densely, in which BLAS is a hundred times as fast.
_DENSE = 1 / 64


class Products:
    """Multiplies sparse rows by others, all pairs of them, in little more memory than the products take."""

    def __init__(self, rows_NV: csr_matrix) -> None:
        often_V = np.bincount(rows_NV.indices, minlength=rows_NV.shape[1]) > max(1, _DENSE * rows_NV.shape[0])
        self._often, self._rare = np.flatnonzero(often_V), np.flatnonzero(~often_V)
        self._often_VN, self._rare_VN = rows_NV[:, self._often].toarray().T, rows_NV[:, self._rare].T.tocsr()

    def __call__(self, rows_IV: csr_matrix) -> Floats:
        """float32[I, n]: what each row has in common with each of those given before."""
        product_IN = np.empty((rows_IV.shape[0], self._rare_VN.shape[1]), np.float32)
        for start in range(0, len(product_IN), _ROWS):
            rows = rows_IV[start : start + _ROWS]
            product = np.matmul(rows[:, self._often].toarray(), self._often_VN, out=product_IN[start : start + _ROWS])
            product += (rows[:, self._rare] @ self._rare_VN).toarray()
        return product_IN


def solve_in_place(kernel_NN: Floats, target_NW: Floats, penalty_N: NDArray[np.float64]) -> Floats:
    """float32[n, W]: the dual weights (K + penalty)^-1 Y of a ridge regression of targets Y.

    Overwrites the kernel, a C-contiguous symmetric matrix, with a Cholesky factor. Raises ConfigError where a penalty
    is below what single precision can tell from 0.
    """
    if not len(kernel_NN):
        return np.zeros_like(target_NW)
    kernel_NN[np.diag_indices(len(kernel_NN))] += penalty_N.astype(np.float32)
    # LAPACK takes columns for rows: the transpose, which is the same matrix, is overwritten where it lies.
    factor, failed = lapack.spotrf(kernel_NN.T, lower=1, clean=0, overwrite_a=1)
    if failed:
        raise ConfigError(
            f"a regression on {len(kernel_NN):,} texts has no solution with a penalty of {penalty_N.min():g}; raise "
            "model.penalty"
        )
    dual_NW, failed = lapack.spotrs(factor, np.asfortranarray(target_NW), lower=1, overwrite_b=1)
    assert not failed
    return np.ascontiguousarray(dual_NW)
