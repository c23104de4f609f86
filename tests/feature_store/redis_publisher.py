"""Publishes to Redis in processes that die, as `publisher` does; a call is a command sent to the server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from redis.connection import AbstractConnection

from feature_store.redis import RedisStore
from tests.feature_store.publisher import fork_publishers, publish_to
from tests.feature_store.redis_server import RedisServer


def publish(url: str, version: str, value: int, min_ratio: float | None = None) -> None:
    publish_to(RedisStore(url, follow_seconds=0), version, value, min_ratio)


def count_commands(before: Callable[[int], None], after: Callable[[int, Any], None] | None = None) -> Callable[[], int]:
    """Calls `before` with a running number ahead of each sending, and `after` with its connection; the count so far."""
    count = 0
    send = AbstractConnection.send_packed_command

    def counted(self: Any, command: Any, check_health: bool = True) -> None:
        nonlocal count
        count += 1
        number = count
        before(number)
        send(self, command, check_health)
        if after is not None:
            after(number, self)

    AbstractConnection.send_packed_command = counted  # type: ignore[method-assign]
    return lambda: count


@contextmanager
def commands(before: Callable[[int], None], after: Callable[[int, Any], None] | None = None) -> Iterator[Any]:
    """As count_commands for the commands of this process, until the block ends; gives their count."""
    send = AbstractConnection.send_packed_command
    try:
        yield count_commands(before, after)
    finally:
        AbstractConnection.send_packed_command = send  # type: ignore[method-assign]


def keys_after_two(server: RedisServer) -> int:
    """Publishes v0 and v1; how many keys they take, all told."""
    for value in (0, 1):
        publish(server.url, f"v{value}", value)
    return int(server.command("dbsize"))


if __name__ == "__main__":
    fork_publishers(publish, count_commands)
