"""Immutable, verified, reversible versions of keyed Arrow tables. Knows nothing of what the tables mean."""

from feature_store.base import PartWriter, Reader, Snapshot, Stage, Store, VersionInfo
from feature_store.errors import (
    CorruptVersion,
    DuplicateKey,
    EvictingServer,
    ForeignStore,
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
from feature_store.urls import shown_url
from feature_store.validate import Checks

__all__ = [
    "Checks",
    "CorruptVersion",
    "DuplicateKey",
    "EvictingServer",
    "ForeignStore",
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
    "shown_url",
]


def open_store(url: str, *, owner: str | None = None) -> Store:
    """The store at `url`: `file:folder` or `redis://user:password@host:6379/0`. Reaches and creates nothing yet.

    `rediss://` is Redis by TLS. Both take redis-py's options in the query, and `prefix`, which is put before every
    key (`fs:` by default). A store belongs to the first `owner` who begins a version in it; every method raises
    ForeignStore for any other. Who gives no owner is not asked. Raises InvalidInput for any other URL.
    """
    scheme, separator, place = url.partition(":")
    if scheme in ("redis", "rediss"):
        return _redis_store(url, owner)
    if scheme != "file" or not separator or not place:
        raise InvalidInput(
            f"'{shown_url(url)}' names no feature store; write it as 'file:path/to/folder' or 'redis://host:6379/0'"
        )
    return LocalStore(place.removeprefix("//"), owner=owner)


def _redis_store(url: str, owner: str | None) -> Store:
    try:
        from feature_store.redis import RedisStore  # noqa: PLC0415 - the base install has no redis package
    except ModuleNotFoundError as error:
        if error.name != "redis":
            raise
        raise InvalidInput("a store in Redis needs one more package; install recsys-text[redis]") from None
    return RedisStore(url, owner=owner)
