"""The sorted key-hash index of a version: building, checking for duplicates, looking up. Knows no files.

Legend: N rows, B record batches. A location is the batch in the upper and the row in the lower 32 bits.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_store import hashing
from feature_store.errors import DuplicateKey
from feature_store.local.flat import Places

_ROW_BITS = np.uint64(32)
_ROW_MASK = (1 << 32) - 1
_ROW_MASK_64 = np.uint64(_ROW_MASK)
# Locations that are checked at a time.
_CHUNK = 1 << 20


def build_index(keys_B: Sequence[Any], names_B: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Sorts all keys by hash: uint64[2, N], the hashes in the first row and the locations in the second.

    `keys_B` are Arrow arrays of keys and `names_B` the parts that they come from, for the message.
    Raises DuplicateKey when a key occurs twice; different keys of one hash stand side by side.
    """
    hashes = np.concatenate([hashing.hash_keys(keys) for keys in keys_B])
    locations = np.concatenate(
        [(np.uint64(batch) << _ROW_BITS) + np.arange(len(keys), dtype=np.uint64) for batch, keys in enumerate(keys_B)]
    )
    order = np.argsort(hashes, kind="stable")
    index = np.stack([hashes[order], locations[order]])
    seen: dict[Any, str] = {}
    for position in _shared_hashes(index[0]):
        batch, row = divmod(int(index[1, position]), _ROW_MASK + 1)
        key = keys_B[batch][row].as_py()
        if key in seen:
            raise DuplicateKey(
                f"key {key!r} is in part '{seen[key]}' and again in part '{names_B[batch]}'; a key may occur once"
            )
        seen[key] = names_B[batch]
    return index


def _shared_hashes(hashes: npt.NDArray[np.uint64]) -> list[int]:
    """The positions of sorted hashes that are equal to a neighbour."""
    equal = hashes[1:] == hashes[:-1]
    shared = np.zeros(len(hashes), dtype=bool)
    shared[1:] |= equal
    shared[:-1] |= equal
    positions: list[int] = np.flatnonzero(shared).tolist()
    return positions


class KeyIndex:
    """Finds where a key may be; the caller compares the key that stands there."""

    def __init__(self, index: npt.NDArray[np.uint64]) -> None:
        self._hashes, self._locations = index
        # Views that give Python integers: several times quicker for one key than numpy's scalars.
        self._hash_view, self._location_view = memoryview(index[0]), memoryview(index[1])

    def fits(self, rows_B: Sequence[int]) -> bool:
        """Whether every location is one of `rows_B[b]` rows of a batch b: what is read there is not checked again."""
        rows = np.array(rows_B, np.uint64)
        for start in range(0, len(self._locations), _CHUNK):
            locations = self._locations[start : start + _CHUNK]
            batch = locations >> _ROW_BITS
            if np.any(batch >= len(rows)) or np.any((locations & _ROW_MASK_64) >= rows[batch]):
                return False
        return True

    def candidates(self, hashed: int) -> Iterator[tuple[int, int]]:
        """Every (batch, row) whose key has this hash."""
        hashes = self._hash_view
        position = bisect_left(hashes, hashed)
        while position < len(hashes) and hashes[position] == hashed:
            location = self._location_view[position]
            yield location >> 32, location & _ROW_MASK
            position += 1

    def first_candidates(self, hashes: npt.NDArray[np.uint64]) -> tuple[Places, Places, npt.NDArray[np.bool_]]:
        """The first batch and row whose key has each of N hashes; of any other key, and False, where there's none."""
        positions = self._hashes.searchsorted(hashes)
        locations = self._locations.take(positions, mode="clip")
        there = self._hashes.take(positions, mode="clip") == hashes
        return (locations >> _ROW_BITS).view(np.int64), (locations & _ROW_MASK_64).view(np.int64), there
