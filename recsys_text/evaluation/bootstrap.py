"""Bootstrap intervals over users. Knows values and users, not what was measured.

Shapes: N impressions, K measured columns, U distinct users, R resamples.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_text.errors import ContractError

Double = NDArray[np.float64]
Int = NDArray[np.integer[Any]]

COVERAGE = 0.95
# Drawn weights held at a time; the draws do not depend on it.
_CHUNK = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean over impressions and the bounds of its 95% interval; the bounds are NaN with fewer than two users."""

    mean: float
    low: float
    high: float


def interval(values_N: Double, users_N: Int, *, resamples: int, seed: int) -> Interval:
    """The interval of one column; see `intervals`. For a paired comparison pass the differences."""
    return intervals(values_N[:, None], users_N, resamples=resamples, seed=seed)[0]


def intervals(values_NK: Double, users_N: Int, *, resamples: int, seed: int) -> list[Interval]:
    """Percentile bootstrap (Efron 1979) of each column's mean, resampling users with all their impressions.

    Impressions of one user are no independent evidence, hence users are drawn, with replacement, and a
    column's mean in a resample is its sum over the drawn users' impressions by their number. All columns
    see the same draws. NaN values are left out of their column. users_N: codes; every -1 is a user of its own.

    Raises ContractError when values and users differ in length.
    """
    if len(values_NK) != len(users_N):
        raise ContractError(f"{len(values_NK)} values and {len(users_N)} users; pass one user per impression")
    users_N = np.where(users_N < 0, -1 - np.arange(len(users_N)), users_N)
    codes, user_N = np.unique(users_N, return_inverse=True)
    known_NK = ~np.isnan(values_NK)
    count_UK, total_UK = np.zeros((2, len(codes), values_NK.shape[1]))
    np.add.at(count_UK, user_N, known_NK)
    np.add.at(total_UK, user_N, np.where(known_NK, values_NK, 0.0))
    means_RK = _resample(total_UK, count_UK, resamples, np.random.default_rng(seed))
    found = []
    for k in range(values_NK.shape[1]):
        means_R = means_RK[~np.isnan(means_RK[:, k]), k]
        bounds = (1 - COVERAGE) / 2, (1 + COVERAGE) / 2
        certain = np.count_nonzero(count_UK[:, k]) >= 2 and len(means_R) > 0
        low, high = np.quantile(means_R, bounds) if certain else (np.nan, np.nan)
        count = count_UK[:, k].sum()
        mean = total_UK[:, k].sum() / count if count else np.nan
        found.append(Interval(mean=float(mean), low=float(low), high=float(high)))
    return found


def _resample(total_UK: Double, count_UK: Double, resamples: int, random: np.random.Generator) -> Double:
    """float64[R, K]: the mean of each column in each resample; NaN where it drew no value of the column."""
    users = len(total_UK)
    means_RK = np.full((resamples, total_UK.shape[1]), np.nan)
    step = max(1, _CHUNK // max(1, users))
    for start in range(0, resamples if users else 0, step):
        rows = min(step, resamples - start)
        drawn = random.integers(users, size=(rows, users)) + np.arange(rows)[:, None] * users
        weight_RU = np.bincount(drawn.ravel(), minlength=rows * users).reshape(rows, users).astype(np.float64)
        count_RK = weight_RU @ count_UK
        np.divide(weight_RU @ total_UK, count_RK, out=means_RK[start : start + rows], where=count_RK > 0)
    return means_RK
