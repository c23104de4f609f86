"""A reader for asyncio: as RedisReader, but it waits without holding up others."""

import asyncio
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from feature_store.base import Key, Serving, VersionInfo
from feature_store.errors import StoreError, UnknownVersion
from feature_store.redis.aio_rows import check_missing, get_row
from feature_store.redis.connection import Server
from feature_store.redis.layout import CURRENT, VersionKeys, view_key
from feature_store.redis.lease import AsyncLease
from feature_store.redis.row import PackedRow
from feature_store.redis.snapshot import OpenVersion, some_served, unseal_manifest


class AsyncRedisReader(Serving):
    """Use it in an `async with` block, which opens the served version and a pool of connections.

    Raises as RedisReader does; each call stays within one version.
    """

    def __init__(self, server: Server, view: str, follow_seconds: float) -> None:
        self._server = server
        self._view = view
        self._follow_seconds = follow_seconds
        self._error: StoreError | None = None
        self._next_look = 0.0
        self._lock = asyncio.Lock()
        self._client: Any
        self._version: OpenVersion
        self._lease: AsyncLease

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._server.refuse_eviction)
        self._client = self._server.async_client()
        try:
            self._version, self._lease = await self._open_served()
        except BaseException:
            await self._client.aclose()
            raise
        self._next_look = time.monotonic() + self._follow_seconds
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._lease.release()
        await self._client.aclose()

    @property
    def info(self) -> VersionInfo:
        """The version that answered last."""
        return self._version.info

    @property
    def error(self) -> StoreError | None:
        return self._error

    async def get(self, key: Key) -> PackedRow | None:
        version = await self._following()
        while True:
            try:
                return await self._get(version, key)
            except UnknownVersion:
                version = await self._newer(version)

    async def get_many(self, keys: Sequence[Key]) -> Any:
        version = await self._following()
        while True:
            try:
                return await self._get_many(version, keys)
            except UnknownVersion:
                version = await self._newer(version)

    async def refresh(self) -> bool:
        """Looks for a newly served version at once; True if it changed what is served here."""
        async with self._lock:
            before = self._version
            await self._follow()
            return self._version is not before

    async def _get(self, version: OpenVersion, key: Key) -> PackedRow | None:
        return await get_row(self._server, self._client, version, key)

    async def _get_many(self, version: OpenVersion, keys: Sequence[Key]) -> Any:
        asked = version.table.key_array(keys)
        redis_keys = version.table.redis_keys(asked)
        async with self._server.awaiting("read"):
            values = await self._client.mget(redis_keys) if redis_keys else []
        missing = [key for key, value in zip(redis_keys, values, strict=True) if value is None]
        if missing:
            await check_missing(self._server, self._client, version, missing)
        return version.table.batch(asked, redis_keys, values)

    async def _following(self) -> OpenVersion:
        # One call looks and opens, the others go on with the version that's here.
        if time.monotonic() >= self._next_look and not self._lock.locked():
            async with self._lock:
                await self._follow()
        return self._version

    async def _newer(self, gone: OpenVersion) -> OpenVersion:
        async with self._lock:
            if self._version is gone:
                await self._follow()
            if self._version is gone:
                raise self._error or gone.gone()
            return self._version

    async def _follow(self) -> None:
        self._next_look = time.monotonic() + self._follow_seconds
        try:
            # First, as it goes on answering where the newer one can't be opened.
            await self._lease.keep()
            if await self._served_id() != self._version.keys.uid:
                former = self._lease
                self._version, self._lease = await self._open_served()
                await former.release()
            self._error = None
        except StoreError as error:
            self._error = error

    async def _open_served(self) -> tuple[OpenVersion, AsyncLease]:
        while True:
            uid = await self._served_id()
            lease = AsyncLease(self._server, self._client, VersionKeys(prefix=self._server.prefix, uid=uid))
            await lease.keep()
            try:
                # It may have been replaced and removed before the lease was there; from now on it stays.
                if await self._served_id() == uid:
                    return await self._open(uid), lease
            except StoreError:
                if await self._served_id() == uid:
                    await lease.release()
                    raise
            await lease.release()

    async def _open(self, uid: str) -> OpenVersion:
        keys = VersionKeys(prefix=self._server.prefix, uid=uid)
        async with self._server.awaiting("open a version in"):
            manifest = unseal_manifest(await self._client.get(keys.manifest), uid, self._server.place)
            pieces = await self._client.lrange(keys.strings, 0, manifest.pieces - 1) if manifest.pieces else []
        return await asyncio.to_thread(OpenVersion, manifest, pieces, self._server)

    async def _served_id(self) -> str:
        async with self._server.awaiting("read what is served in"):
            uid = await self._client.hget(view_key(self._server.prefix, self._view), CURRENT)
        return some_served(uid, self._view, self._server.place)
