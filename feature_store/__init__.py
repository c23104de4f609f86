"""Immutable, verified, reversible versions of keyed Arrow tables. Knows nothing of what the tables mean."""

from feature_store.base import PartWriter, Reader, Snapshot, Stage, Store, VersionInfo
from feature_store.errors import (
    CorruptVersion,
    DuplicateKey,
    IncompleteVersion,
    InvalidInput,
    OlderVersion,
    RefusedVersion,
    StoreError,
    StoreUnavailable,
    UnknownVersion,
    VersionExists,
    VersionServed,
)
from feature_store.hashing import bucket_of, hash64, hash_keys
from feature_store.local import LocalStore
from feature_store.row import Row
from feature_store.validate import Checks

__all__ = [
    "Checks",
    "CorruptVersion",
    "DuplicateKey",
    "IncompleteVersion",
    "InvalidInput",
    "LocalStore",
    "OlderVersion",
    "PartWriter",
    "Reader",
    "RefusedVersion",
    "Row",
    "Snapshot",
    "Stage",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "UnknownVersion",
    "VersionExists",
    "VersionInfo",
    "VersionServed",
    "bucket_of",
    "hash64",
    "hash_keys",
    "open_store",
]


def open_store(url: str) -> Store:
    """The store at `url`: `file:/absolute/folder` or `file:relative/folder`. Creates nothing yet.

    Raises InvalidInput for any other scheme.
    """
    scheme, separator, place = url.partition(":")
    if scheme != "file" or not separator or not place:
        raise InvalidInput(f"'{url}' names no feature store; write it as 'file:path/to/folder'")
    return LocalStore(place.removeprefix("//"))
