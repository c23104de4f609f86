"""Rows of versions that are open already, asked for in asyncio. Knows no pointer and follows nothing."""

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
    with server.reaching("read"):
        value = await client.get(redis_key)
        if value is None and not await client.exists(version.keys.manifest):
            raise version.gone()
    return None if value is None else version.table.row(key, redis_key, value)
