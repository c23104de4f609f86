"""Hashes of keys: the same on every machine and in every process. Knows no backend."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from feature_store.errors import InvalidInput

_digest = xxhash.xxh3_64_intdigest


def hash64(key: str | int) -> int:
    """XXH3-64 (seed 0) of the key's UTF-8 bytes, or of an integer's 8 little-endian bytes.

    Raises InvalidInput for an integer outside int64 or a string that is not valid Unicode.
    """
    try:
        return _digest(key.encode() if isinstance(key, str) else key.to_bytes(8, "little", signed=True))
    except (OverflowError, UnicodeEncodeError):
        raise InvalidInput(f"{key!r} cannot be a key; keys are Unicode strings or 64-bit integers") from None


def hash_keys(keys: Any) -> npt.NDArray[np.uint64]:
    """hash64 of each element of an Arrow array of N strings or int64 without nulls: uint64[N]."""
    if pa.types.is_int64(keys.type):
        encoded = keys.to_numpy().astype("<i8").view("V8").tolist()
    else:
        encoded = keys.view(pa.binary()).to_numpy(zero_copy_only=False).tolist()  # far quicker than Arrow's own way
    return np.fromiter(map(_digest, encoded), dtype=np.uint64, count=len(keys))


def bucket_of(key: str | int, buckets: int) -> int:
    """The bucket, in [0, buckets), that the key belongs to."""
    return hash64(key) % buckets
