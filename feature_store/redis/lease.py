"""Who has a version open: its readers hold leases on it, which end by themselves when they die. Reads no data."""

import os
import secrets
import time
from contextlib import suppress
from typing import Any

import redis

from feature_store.errors import StoreError
from feature_store.redis.connection import Server
from feature_store.redis.layout import VersionKeys

#: How long a version stays for a process that died with it open, and how often one that lives says so.
LEASE_SECONDS = 60
RENEW_SECONDS = 20.0


class Due:
    """When a lease must be taken or renewed next, and under which token; a fork needs one of its own."""

    def __init__(self) -> None:
        self.token = ""
        self._process = 0
        self._renew_at = 0.0

    @property
    def own(self) -> bool:
        """False in a fork that has not taken its own yet."""
        return self._process == os.getpid()

    def now(self) -> bool:
        """Whether it's time; if so, the next time is later."""
        if self.own and time.monotonic() < self._renew_at:
            return False
        if not self.own:
            self.token, self._process = secrets.token_urlsafe(6), os.getpid()
        self._renew_at = time.monotonic() + RENEW_SECONDS
        return True


def queue_lease(pipe: Any, key: str, token: str, clock: tuple[int, int]) -> None:
    """Queues a lease from the server's clock on. The leases of dead readers and a key without readers go away."""
    pipe.zadd(key, {token: clock[0] + LEASE_SECONDS})
    pipe.zremrangebyscore(key, "-inf", clock[0])
    pipe.expire(key, LEASE_SECONDS)


class Lease:
    """Keeps a version from being removed for as long as it's renewed.

    Reading goes on without one where the server doesn't take it: it's full, a replica, or the user lacks the right.
    """

    def __init__(self, server: Server, keys: VersionKeys) -> None:
        """Raises StoreUnavailable where the server isn't reached."""
        self._server = server
        self._key = keys.leases
        self._due = Due()
        self.keep()

    def keep(self) -> None:
        """Renews it when that's due. Raises StoreUnavailable where the server isn't reached."""
        if not self._due.now():
            return
        with self._server.reaching("hold a version in"), suppress(redis.ResponseError):
            clock = self._server.client.time()
            with self._server.transaction() as pipe:
                queue_lease(pipe, self._key, self._due.token, clock)
                pipe.execute()

    def release(self) -> None:
        if self._due.own:
            # What can't be released ends by itself.
            with suppress(StoreError), self._server.reaching("let go of a version in"):
                self._server.client.zrem(self._key, self._due.token)


class AsyncLease:
    """As Lease, for asyncio; `client` is the reader's."""

    def __init__(self, server: Server, client: Any, keys: VersionKeys) -> None:
        self._server = server
        self._client = client
        self._key = keys.leases
        self._due = Due()

    async def keep(self) -> None:
        if not self._due.now():
            return
        async with self._server.awaiting("hold a version in"), self._client.pipeline(transaction=True) as pipe:
            with suppress(redis.ResponseError):
                queue_lease(pipe, self._key, self._due.token, await self._client.time())
                await pipe.execute()

    async def release(self) -> None:
        if self._due.own:
            with suppress(StoreError):
                async with self._server.awaiting("let go of a version in"):
                    await self._client.zrem(self._key, self._due.token)


def is_held(client: Any, keys: VersionKeys, now: float) -> bool:
    """Whether a living reader has the version open; `now` is by the server's clock."""
    return bool(client.zcount(keys.leases, now, "+inf"))
