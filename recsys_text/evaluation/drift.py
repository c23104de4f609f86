"""How far the values of one window are from those that a model has learned from. Knows no table and no model.

Shapes: V values, B bins.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.floating[Any]]

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


def drift_of_kinds(old: Mapping[str, int], new: Mapping[str, int]) -> float:
    """`psi` of how often each kind occurs, with a bin for each of the most frequent old ones and one for all others.

    NaN without values.
    """
    kept = sorted(old, key=lambda kind: (-old[kind], kind))[:_KINDS]
    own_KB = np.array([[counts.get(kind, 0) for kind in kept] for counts in (old, new)]).reshape(2, -1)
    others_K = np.array([sum(old.values()), sum(new.values())]) - own_KB.sum(axis=1)
    old_B, new_B = np.column_stack([own_KB, others_K])
    return psi(old_B, new_B)
