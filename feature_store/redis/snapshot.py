"""One version opened: its manifest and dictionary are here, its rows are asked for one by one."""

import weakref
from collections.abc import Iterator, Sequence
from typing import Any

from redis import RedisError

from feature_store.base import Key, VersionInfo
from feature_store.errors import CorruptVersion, UnknownVersion
from feature_store.redis.connection import Server
from feature_store.redis.layout import CURRENT, VersionKeys, view_key
from feature_store.redis.lease import Lease
from feature_store.redis.manifest import Manifest, unpack_schema
from feature_store.redis.row import PackedRow
from feature_store.redis.rows import Rows
from feature_store.redis.strings import unpack_strings
from feature_store.redis.table import Table
from feature_store.redis.verify import committed_parts, damaged_parts


class OpenVersion:
    """What a reader holds of a version, with or without asyncio: all but the rows."""

    def __init__(self, manifest: Manifest, pieces: list[bytes], server: Server) -> None:
        """Raises CorruptVersion when the dictionary is not the one that was committed."""
        self.info = manifest.info
        self.parts = manifest.parts
        self.keys = VersionKeys(prefix=server.prefix, uid=manifest.uid)
        self.table = Table(
            view=manifest.view,
            schema=unpack_schema(manifest.schema),
            strings=unpack_strings(pieces, manifest.strings_checksum, manifest.view),
            rows=self.keys.rows,
        )
        self._place = server.place

    def queue_missing(self, pipe: Any, missing: Sequence[bytes]) -> None:
        """Queues what `check_missing` asks, as one: a version that comes back in between would not know its keys."""
        pipe.exists(self.keys.manifest)
        pipe.exists(*missing)

    def check_missing(self, missing: Sequence[bytes], manifests: int, values: int) -> None:
        """Of keys that had no answer: raises UnknownVersion where the version was removed, as they may have been known.

        Raises CorruptVersion where there are values: they are of another type.
        """
        if not manifests:
            raise self.gone()
        if values:
            raise self.table.corrupt(missing[0])

    def gone(self) -> UnknownVersion:
        return UnknownVersion(
            f"version '{self.info.version}' of view '{self.info.view}' is gone from {self._place}: it was deleted, or "
            "the server lost it; read the one that's served now, or publish again"
        )


def open_version(server: Server, uid: str) -> OpenVersion:
    """Raises UnknownVersion or CorruptVersion."""
    keys = VersionKeys(prefix=server.prefix, uid=uid)
    with server.reaching("open a version in"):
        manifest = unseal_manifest(server.client.get(keys.manifest), uid, server.place)
        pieces = server.client.lrange(keys.strings, 0, manifest.pieces - 1) if manifest.pieces else []
    return OpenVersion(manifest, pieces, server)


def served_id(server: Server, view: str) -> str:
    """The id of the version being served. Raises UnknownVersion when there's none."""
    with server.reaching("read what is served in"):
        uid = server.client.hget(view_key(server.prefix, view), CURRENT)
    return some_served(uid, view, server.place)


def some_served(uid: bytes | None, view: str, place: str) -> str:
    if uid is None:
        raise UnknownVersion(f"view '{view}' has no published version in {place}; publish one first")
    return uid.decode()


def read_manifest(server: Server, uid: str) -> Manifest:
    """Raises UnknownVersion where there's none, CorruptVersion for a damaged or a foreign one."""
    with server.reaching("read a manifest in"):
        content = server.client.get(VersionKeys(prefix=server.prefix, uid=uid).manifest)
    return unseal_manifest(content, uid, server.place)


def unseal_manifest(content: bytes | None, uid: str, place: str) -> Manifest:
    """As read_manifest, of what was read."""
    if content is None:
        raise UnknownVersion(f"a version that was there is gone from {place}; read the one that's served now")
    manifest = Manifest.unseal(content, place)
    if manifest.uid != uid:
        raise CorruptVersion(f"a manifest in {place} is that of another version; roll back, then delete the version")
    return manifest


class RedisSnapshot:
    """A version of a Redis view. Threads and forks may share it; it raises UnknownVersion once it was removed.

    That doesn't happen while its reader follows or its batches are read, and for LEASE_SECONDS else.
    """

    def __init__(self, server: Server, version: OpenVersion, lease: Lease) -> None:
        self.version = version
        self.keep = lease.keep
        weakref.finalize(self, lease.release)
        self._server = server
        self._client = server.client
        self._table = version.table

    @property
    def info(self) -> VersionInfo:
        return self.version.info

    @property
    def schema(self) -> Any:
        return self._table.schema

    def get(self, key: Key) -> PackedRow | None:
        redis_key = self._table.redis_key(key)
        try:
            value = self._client.get(redis_key)
        except RedisError:
            # Only here is a `with` block entered: it would cost every lookup more than the lookup's own checks.
            with self._server.reaching("read"):
                raise
        if value is None:
            self._check_missing([redis_key])
            return None
        return self._table.row(key, redis_key, value)

    def get_many(self, keys: Sequence[Key]) -> Any:
        asked = self._table.key_array(keys)
        redis_keys = self._table.redis_keys(asked)
        with self._server.reaching("read"):
            values = self._client.mget(redis_keys) if redis_keys else []
        missing = [key for key, value in zip(redis_keys, values, strict=True) if value is None]
        if missing:
            self._check_missing(missing)
        return self._table.batch(asked, redis_keys, values)

    def batches(self) -> Iterator[Any]:
        keys = self.version.keys
        try:
            parts = dict(committed_parts(self._server, keys, self.version.parts))
            for rows in Rows(self._server, keys, self._table, parts):
                self.keep()
                yield rows
        except CorruptVersion:
            self._still_there()
            raise

    def verify(self) -> None:
        """Reads every row. Raises CorruptVersion naming keys whose rows are damaged or lost."""
        try:
            damaged = list(damaged_parts(self._server, self.version.keys, self.version.parts, self.keep))
        except CorruptVersion:
            self._still_there()
            raise
        if damaged:
            self._still_there()
            raise CorruptVersion(
                f"version '{self.info.version}' of view '{self.info.view}' is damaged in {self._server.place}: "
                f"{'; '.join(damaged)}; roll back to another version, then delete this one and publish it again"
            )

    def _check_missing(self, missing: Sequence[bytes]) -> None:
        with self._server.reaching("read"), self._server.transaction() as pipe:
            self.version.queue_missing(pipe, missing)
            answers = pipe.execute()
        self.version.check_missing(missing, *answers)

    def _still_there(self) -> None:
        """Raises UnknownVersion where the version was removed."""
        with self._server.reaching("read"):
            there = self._client.exists(self.version.keys.manifest)
        if not there:
            raise self.version.gone()
