"""How a request asks a store for a row: a folder at once, a server without holding up others. Knows no HTTP."""

import asyncio
from typing import TYPE_CHECKING, Any

from feature_store import Row, Snapshot
from recsys_text.errors import UnavailableError

if TYPE_CHECKING:
    from feature_store.redis.aio_rows import AsyncRows

# Each has a connection of its own, and a server that hangs must leave some files to those who ask for /health.
_AT_ONCE = 64
_WAIT_SECONDS = 5.0


class Reading:
    """Rows of the snapshots of one store, for the event loop that serves.

    A lookup in memory-mapped parts takes microseconds and is made on the spot. The answer of a server may take any
    time, in which other requests go on.
    """

    def __init__(self, store_url: str, *, at_once: int = _AT_ONCE, wait_seconds: float = _WAIT_SECONDS) -> None:
        self._url = store_url
        self._local = store_url.startswith("file:")
        self._wait_seconds = wait_seconds
        self._free = asyncio.Semaphore(at_once)
        self._rows: AsyncRows | None = None

    async def row(self, snapshot: Snapshot, key: str) -> Row | None:
        """As `snapshot.get`. Raises UnavailableError where the server, or those who ask it before, take too long."""
        if self._local:
            return snapshot.get(key)
        try:
            async with asyncio.timeout(self._wait_seconds), self._free:
                return await self._ask(snapshot, key)
        except TimeoutError:
            raise UnavailableError(f"the store did not answer within {self._wait_seconds:g} seconds") from None

    async def _ask(self, snapshot: Any, key: str) -> Row | None:
        if self._rows is None:
            from feature_store.redis.aio_rows import AsyncRows  # noqa: PLC0415 - the base install has no redis package

            self._rows = AsyncRows(self._url)
        return await self._rows.get(snapshot, key)

    async def close(self) -> None:
        if self._rows is not None:
            await self._rows.close()
