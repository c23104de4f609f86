"""Optimistic transactions: what was read under WATCH still holds when it's written. Knows no format of rows.

There's no lock, so none can be left behind: whoever dies has changed nothing, and whoever is outrun begins again.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import redis

from feature_store.errors import StoreError
from feature_store.redis.connection import Server
from feature_store.redis.manifest import Part

Answer = TypeVar("Answer")


def transact(server: Server, action: str, keys: list[str], attempt: Callable[[Any], Answer]) -> Answer:
    """Calls `attempt` with a pipeline that watches `keys`, again for as long as another one changes them meanwhile.

    `attempt` reads at once, then calls `multi`, queues what it writes and executes. Where an answer was lost on the
    way it's called once more and finds its own writes, so that it must be able to.
    """
    while True:
        with server.reaching(action), server.transaction() as pipe:
            try:
                pipe.watch(*keys)
                return attempt(pipe)
            except redis.WatchError:
                continue


class Fence:
    """Lets one attempt at a part write for as long as no other attempt, commit or deletion came after it."""

    def __init__(self, server: Server, staged: str, part: str, token: str, gone: Callable[[], StoreError]) -> None:
        self._server = server
        self._staged = staged
        self._part = part
        self._token = token
        self._gone = gone

    def run(self, action: str, attempt: Callable[[Any], None], *keys: str) -> None:
        """As transact, over `keys` and the staging area. Raises what `gone` gives for an attempt that is over."""

        def fenced(pipe: Any) -> None:
            content = pipe.hget(self._staged, self._part)
            part = None if content is None else Part.unseal(content, self._part, "write the part again")
            if part is None or part.tokens[-1] != self._token:
                raise self._gone()
            attempt(pipe)

        transact(self._server, action, [self._staged, *keys], fenced)

    def write(self, action: str, queue: Callable[[Any], None]) -> None:
        """Executes what `queue` queues, as one."""

        def attempt(pipe: Any) -> None:
            pipe.multi()
            queue(pipe)
            pipe.execute()

        self.run(action, attempt)
