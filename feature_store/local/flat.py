"""Arrays that lie far apart in memory, such as the columns in the mapped files of a version, as a single one.

Knows no Arrow, no keys and no files. Legend: B arrays, N runs of items asked for.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import as_strided

Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Flat:
    """B arrays of one type: item i of array b is at `starts_B[b] + i`, however many arrays there are.

    One array reaches from the first byte of all of them to the last, so that a single call of numpy reads rows of
    any of them. What lies in between is not ours and may not even be mapped: nothing but their items may be read.
    """

    def __init__(self, arrays_B: Sequence[npt.NDArray[Any]]) -> None:
        self._arrays_B = arrays_B  # holds the memory
        held = [array for array in arrays_B if len(array)] or arrays_B[:1]  # an empty array may be anywhere
        first = min(held, key=_address)
        end = max(_address(array) + array.nbytes for array in held)
        self.dtype = first.dtype
        bytes_B = [_address(array) - _address(first) if len(array) else 0 for array in arrays_B]
        assert all(place % self.dtype.itemsize == 0 for place in bytes_B), "Arrow aligns what it writes"
        self.starts_B: Places = np.array(bytes_B) // self.dtype.itemsize
        length = (end - _address(first)) // self.dtype.itemsize
        self._items = as_strided(first, (length,), (self.dtype.itemsize,), writeable=False)

    def take(self, place_N: Places) -> npt.NDArray[Any]:
        """The items at N places."""
        return self._items[place_N]

    def runs(self, place_N: Places, size_N: Places) -> npt.NDArray[Any]:
        """N runs of items, one after the other: `size_N[n]` of them from `place_N[n]` on.

        Also for places [C, N], which give C such rows of runs.
        """
        size = int(size_N[0]) if len(size_N) else 0
        if size and not np.count_nonzero(size_N != size):
            # Runs of one length are items themselves, each copied in one go: twice as quick as one by one in Python.
            step = self.dtype.itemsize
            shape, item = len(self._items) - size + 1, np.dtype((np.void, size * step))
            runs: npt.NDArray[Any] = np.ndarray(shape, item, buffer=self._items, strides=step)
            return runs[place_N].view(self.dtype)
        view, end_N = self._items.data, place_N + size_N
        pieces = [view[a:z] for a, z in zip(place_N.ravel().tolist(), end_N.ravel().tolist(), strict=True)]
        return np.frombuffer(b"".join(pieces), self.dtype).reshape(*place_N.shape[:-1], -1)


def _address(array: npt.NDArray[Any]) -> int:
    return int(array.ctypes.data)
