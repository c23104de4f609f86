"""Cuts many impressions into parts to be worked on apart. Knows neither scores nor metrics."""

import itertools
from typing import Any

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.integer[Any]]


def parts(offsets_N1: Int, pairs: int) -> list[slice]:
    """Cuts the impressions into consecutive slices of about `pairs` candidates, at least one impression each."""
    cuts = np.flatnonzero(np.diff((offsets_N1[1:] - 1) // pairs)) + 1
    bounds = [0, *cuts.tolist(), len(offsets_N1) - 1]
    return [slice(low, high) for low, high in itertools.pairwise(bounds) if low < high]
