"""Bootstrap intervals over users. Knows values and users, not what was measured.

Shapes: N impressions, K measured columns, U distinct users, R resamples.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

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
    total_UK, count_UK = sums(values_NK, *places(users_N))
    drawn = weights(len(count_UK), resamples, seed)
    means_RK = np.concatenate(
        [np.zeros((0, values_NK.shape[1])), *(means(weight_RU, total_UK, count_UK) for weight_RU in drawn)]
    )
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


def places(users_N: Int) -> tuple[Int, int]:
    """int64[N]: which of the U users each impression is of; and U. users_N: codes; every -1 is a user of its own."""
    users_N = np.where(users_N < 0, -1 - np.arange(len(users_N)), users_N)
    codes, user_N = np.unique(users_N, return_inverse=True)
    return user_N, len(codes)


def sums(values_NK: Double, user_N: Int, users: int) -> tuple[Double, Double]:
    """The sum of each user's known values and their number, float64[U, K] each; NaN is not known."""
    known_NK = ~np.isnan(values_NK)
    total_UK, count_UK = np.zeros((2, users, values_NK.shape[1]))
    np.add.at(total_UK, user_N, np.where(known_NK, values_NK, 0.0))
    np.add.at(count_UK, user_N, known_NK)
    return total_UK, count_UK


def weights(users: int, resamples: int, seed: int) -> Iterator[Double]:
    """float64[r, U] at a time, R rows in all: how often each resample draws each user. None without users."""
    random = np.random.default_rng(seed)
    step = max(1, _CHUNK // max(1, users))
    for start in range(0, resamples if users else 0, step):
        rows = min(step, resamples - start)
        drawn = random.integers(users, size=(rows, users)) + np.arange(rows)[:, None] * users
        yield np.bincount(drawn.ravel(), minlength=rows * users).reshape(rows, users).astype(np.float64)


def means(weight_RU: Double, total_UK: Double, count_UK: Double) -> Double:
    """float64[R, K]: the mean of each column in each resample; NaN where it drew no value of the column."""
    return ratio(weight_RU @ total_UK, weight_RU @ count_UK)


def ratio(over: Double, under: Double) -> Double:
    """One by the other, of the same shape; NaN where there is nothing to divide by."""
    return np.asarray(np.divide(over, under, out=np.full(over.shape, np.nan), where=under > 0))


def bounds(value_K: Double, drawn_RK: Double, users_K: Int, level: float) -> tuple[Double, Double]:
    """Of each figure, between what it is but for a probability of `level` below and above; NaN where none was drawn.

    Normal, from the bootstrap's spread and less its bias (Davison and Hinkley 1997, section 5.2), with Student's t for
    few users: for figures that are no means, whose resamples do not centre on them.
    """
    low_K, high_K = np.full((2, len(value_K)), np.nan)
    for k, (value, users) in enumerate(zip(value_K, users_K, strict=True)):
        known = drawn_RK[~np.isnan(drawn_RK[:, k]), k]
        if len(known) > 1 and users > 1:
            middle, reach = 2 * value - known.mean(), -stdtrit(users - 1, level) * known.std(ddof=1)
            low_K[k], high_K[k] = middle - reach, middle + reach
    return low_K, high_K
