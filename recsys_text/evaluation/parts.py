"""Work on many impressions in parts, on several threads. Knows neither scores nor metrics."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from recsys_text.threads import processors

Int = NDArray[np.integer[Any]]
Part = TypeVar("Part")
Result = TypeVar("Result")


def parts(offsets_N1: Int, pairs: int) -> list[slice]:
    """Cuts the impressions into consecutive slices of about `pairs` candidates, at least one impression each."""
    cuts = np.flatnonzero(np.diff((offsets_N1[1:] - 1) // pairs)) + 1
    bounds = [0, *cuts.tolist(), len(offsets_N1) - 1]
    return [slice(low, high) for low, high in itertools.pairwise(bounds) if low < high]


def in_threads(work: Callable[[Part], Result], parts: Sequence[Part], threads: int) -> Iterator[Result]:
    """The result of each part, in the order of the parts, whatever the number of threads; 0 takes all cores."""
    if len(parts) < 2 or threads == 1:
        yield from map(work, parts)
        return
    with ThreadPoolExecutor(threads or processors()) as pool:
        yield from pool.map(work, parts)
