"""Rows of versions that are open already, asked for in asyncio. Knows no pointer and follows nothing."""

from collections.abc import Sequence
from typing import Any

from feature_store.base import Key
from feature_store.redis.connection import Server, connect
from feature_store.redis.row import PackedRow
from feature_store.redis.snapshot import OpenVersion, RedisSnapshot


class AsyncRows:
    """Asks as RedisSnapshot does, on connections of its own, and without holding up others.

    For who pins snapshots; AsyncRedisReader follows swaps by itself.
    """

    def __init__(self, url: str) -> None:
        """Reaches nothing yet. Raises InvalidInput for a URL that isn't read."""
        self._server = connect(url)
        self._client = self._server.async_client()

    async def get(self, snapshot: RedisSnapshot, key: Key) -> PackedRow | None:
        """As Snapshot.get, of a snapshot from a store of the same URL."""
        return await get_row(self._server, self._client, snapshot.version, key)

    async def close(self) -> None:
        await self._client.aclose()


async def get_row(server: Server, client: Any, version: OpenVersion, key: Key) -> PackedRow | None:
    """Raises UnknownVersion where the version was removed: the key may have been known in it."""
    redis_key = version.table.redis_key(key)
    async with server.awaiting("read"):
        value = await client.get(redis_key)
    if value is None:
        await check_missing(server, client, version, [redis_key])
        return None
    return version.table.row(key, redis_key, value)


async def check_missing(server: Server, client: Any, version: OpenVersion, missing: Sequence[bytes]) -> None:
    """Raises UnknownVersion where the version was removed, and not these keys alone are missing."""
    async with server.awaiting("read"), client.pipeline(transaction=True) as pipe:
        version.queue_missing(pipe, missing)
        answers = await pipe.execute()
    version.check_missing(missing, *answers)
