"""The dictionary of a version: strings that many rows repeat, each kept once. Knows one list in Redis.

It only grows, piece by piece, and a string's place in it is its code. Writers on many machines add to it side by
side: whoever is second sees what the first one added before it adds anything itself.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from feature_store.errors import CorruptVersion
from feature_store.redis.manifest import pack_array, unpack_array
from feature_store.redis.transaction import Fence

_WAY_OUT = "roll back to another version, then delete this one"


class WriterStrings:
    """What one writer knows of the dictionary; it asks the server only for strings that it doesn't know yet."""

    def __init__(self, fence: Fence, key: str) -> None:
        self._fence = fence
        self._key = key
        self._codes: dict[str, int] = {}
        self._pieces = 0

    def codes(self, strings: list[str]) -> npt.NDArray[np.int32]:
        """The codes of N different strings, after those that are new were added."""
        if any(string not in self._codes for string in strings):
            self._fence.run("write strings to", lambda pipe: self._extend(pipe, strings), self._key)
        return np.fromiter(map(self._codes.__getitem__, strings), dtype=np.int32, count=len(strings))

    def _extend(self, pipe: Any, strings: list[str]) -> None:
        self._learn(pipe.lrange(self._key, self._pieces, -1))
        new = [string for string in strings if string not in self._codes]
        pipe.multi()
        if new:
            pipe.rpush(self._key, pack_array(pa.array(new, pa.string())))
            # Learnt once it's written: a transaction that another writer got ahead of is begun again.
            pipe.execute()
            self._learn_strings(new)

    def _learn(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            array = unpack_array(piece, "strings of a staged version", "delete the version and write it again")
            self._learn_strings(array.to_pylist())

    def _learn_strings(self, strings: list[str]) -> None:
        self._pieces += 1
        for string in strings:
            self._codes[string] = len(self._codes)


def checksum(pieces: list[bytes]) -> str:
    digest = xxhash.xxh3_128()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def unpack_strings(pieces: list[bytes], expected: str, view: str) -> Any:
    """The whole dictionary as an Arrow array. Raises CorruptVersion when it's not the one that was committed."""
    if checksum(pieces) != expected:
        raise CorruptVersion(f"the strings of a version of view '{view}' are not as they were written; {_WAY_OUT}")
    arrays = [unpack_array(piece, f"strings of view '{view}'", _WAY_OUT) for piece in pieces]
    return pa.concat_arrays(arrays) if arrays else pa.array([], pa.string())
