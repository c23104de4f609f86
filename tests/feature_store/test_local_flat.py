"""Arrays that lie anywhere in memory are read as if they were one."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_store.local.flat import Flat

LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any)


@settings(deadline=None)
@given(lengths_B=LENGTHS, kind=st.sampled_from(["u1", "f2", "i4", "f8"]), even=st.booleans(), data=st.data())
def test_runs_are_those_of_the_arrays(lengths_B: list[int], kind: str, even: bool, data: st.DataObject) -> None:
    # Memory of its own for each, in whatever order it comes.
    arrays_B: list[np.ndarray[Any, Any]] = [
        np.arange(length, dtype=kind) + 20 * n for n, length in enumerate(lengths_B)
    ]
    flat = Flat(arrays_B)
    width = data.draw(st.integers(0, max(lengths_B)))
    places, sizes, expected = [], [], [np.empty(0, kind)]
    for _ in range(data.draw(st.integers(0, 8))):
        batch = data.draw(st.sampled_from([n for n, length in enumerate(lengths_B) if length >= width]))
        size = width if even else data.draw(st.integers(0, lengths_B[batch]))
        start = data.draw(st.integers(0, lengths_B[batch] - size))
        places.append(int(flat.starts_B[batch]) + start)
        sizes.append(size)
        expected.append(arrays_B[batch][start : start + size])
    place_N, size_N = np.array(places, np.int64), np.array(sizes, np.int64)
    runs = flat.runs(place_N, size_N)
    assert (runs.dtype, runs.tolist()) == (np.dtype(kind), np.concatenate(expected).tolist())
    assert flat.runs(np.stack([place_N, place_N]), size_N).tolist() == [runs.tolist()] * 2
    here_N = size_N > 0
    assert flat.take(place_N[here_N]).tolist() == [run[0] for run in expected if len(run)]


def test_arrays_that_are_not_aligned_to_each_other_are_not_taken() -> None:
    raw = np.zeros(64, np.uint8)
    with pytest.raises(AssertionError, match="aligns"):
        Flat([raw[:8].view(np.int32), raw[9:17].view(np.int32)])
