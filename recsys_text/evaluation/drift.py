"""How far the values of one window are from those that a model has learned from. Knows no table and no model.

Shapes: V values, B bins.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating[Any]]
Texts = NDArray[np.str_]

_BINS = 10
#: Kinds that have a bin of their own, the most frequent of the old ones; the others share one.
_KINDS = 20


def psi(old_B: NDArray[np.integer[Any]], new_B: NDArray[np.integer[Any]]) -> float:
    """The population stability index of new counts against old ones, less what chance alone is expected to give.

    sum over bins of (n - o) * ln(n / o), n and o being the bins' shares of new and old values with half a value added
    to each count (N. Siddiqi, "Credit Risk Scorecards", 2006, where 0.1 is a slight and 0.25 a grave drift). Equal
    distributions of which N and O values were drawn give (B - 1) * (1 / N + 1 / O) on average (B. Yurdakul,
    "Statistical Properties of Population Stability Index", 2018), which is taken off, so that a small window is no
    drift for being small; at least 0. NaN without values on one side.
    """
    if not (old_B.sum() and new_B.sum()):
        return float("nan")
    old, new = (counts_B + 0.5 for counts_B in (old_B, new_B))
    old_share, new_share = old / old.sum(), new / new.sum()
    index = float(np.sum((new_share - old_share) * np.log(new_share / old_share)))
    return max(0.0, index - (len(old_B) - 1) * float(1 / new_B.sum() + 1 / old_B.sum()))


def drift_of_numbers(old_V: Numbers, new_V: Numbers) -> float:
    """`psi` in bins between the deciles of the old values; values that repeat have one bin. NaN without values."""
    if not (len(old_V) and len(new_V)):
        return float("nan")
    edges = np.unique(np.quantile(old_V, np.linspace(0, 1, _BINS + 1)[1:-1]))
    old_B, new_B = (
        np.bincount(np.searchsorted(edges, values_V, side="left"), minlength=len(edges) + 1)
        for values_V in (old_V, new_V)
    )
    return psi(old_B, new_B)


def drift_of_kinds(old_V: Texts, new_V: Texts) -> float:
    """`psi` with a bin for each of the most frequent old kinds, and one for all others. NaN without values."""
    kinds, counts = np.unique(old_V, return_counts=True)
    kept = np.sort(kinds[np.lexsort((kinds, -counts))[:_KINDS]])
    old_B, new_B = (_counts(kept, values_V) for values_V in (old_V, new_V))
    return psi(old_B, new_B)


def _counts(kinds: Texts, values_V: Texts) -> NDArray[np.integer[Any]]:
    if not len(kinds):
        return np.array([len(values_V)])
    place = np.minimum(np.searchsorted(kinds, values_V), len(kinds) - 1)
    return np.bincount(np.where(kinds[place] == values_V, place, len(kinds)), minlength=len(kinds) + 1)
