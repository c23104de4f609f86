"""Publishers to Redis that die at any command: what is served stays whole, and what was interrupted can run again."""

import random
import time
from collections.abc import Iterator

import pytest

from feature_store.redis import RedisStore
from tests.feature_store.forks import KILLED, REFUSED, Forks
from tests.feature_store.forks import forks as start_forks
from tests.feature_store.redis_publisher import keys_after_two, publish
from tests.feature_store.redis_server import RedisServer
from tests.feature_store.served import served


@pytest.fixture
def store(server: RedisServer) -> RedisStore:
    return RedisStore(server.url, follow_seconds=0)


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with start_forks("tests.feature_store.redis_publisher") as process:
        yield process


def assert_whole_and_repeatable(store: RedisStore, server: RedisServer, value: int, size: int) -> None:
    """After publisher `value` died: the former or the new version is served, whole, and a re-run leaves no trace."""
    current = store.current("view")
    assert current in {f"v{value - 1}", f"v{value}"}
    assert served(store) == {int(current[1:])}
    assert [info.problem for info in store.versions("view")].count("") == len(store.versions("view"))
    publish(server.url, f"v{value}", value)
    assert served(store) == {value}
    assert int(server.command("dbsize")) == size


def test_a_publisher_killed_before_any_command(forks: Forks, store: RedisStore, server: RedisServer) -> None:
    size = keys_after_two(server)
    calls = forks.run(server.url, 2)
    assert calls > 30
    for value, number in enumerate(range(1, calls + 1, 2), start=3):
        assert forks.run(server.url, value, die_at=number) == KILLED
        assert_whole_and_repeatable(store, server, value, size)
    print(f"\npublishers killed before every second of {calls} commands, none mixed or lost")


def test_a_publisher_killed_at_any_time(forks: Forks, store: RedisStore, server: RedisServer) -> None:
    size = keys_after_two(server)
    started = time.monotonic()
    assert forks.run(server.url, 2) > 30
    whole = time.monotonic() - started
    chance = random.Random(11)
    killed, value = 0, 2
    while killed < 20:
        value += 1
        assert value < 300, "the kills come too late"
        if forks.run_and_kill(server.url, value, chance.uniform(0, whole)) == KILLED:
            killed += 1
        else:
            whole *= 0.9  # the first run was slower than those that follow
        assert_whole_and_repeatable(store, server, value, size)
    print(f"\n{killed} publishers killed at random times, none mixed or lost")


def test_a_refusing_commit_killed_before_any_command(forks: Forks, store: RedisStore, server: RedisServer) -> None:
    publish(server.url, "v0", 0)
    assert forks.run(server.url, 1, min_ratio=2.0) == REFUSED
    size = int(server.command("dbsize"))
    number = 0
    while forks.run(server.url, 2, die_at=(number := number + 1), min_ratio=2.0) == KILLED:
        assert served(store) == {0}
        # It is recorded by the last command of all.
        assert {info.version: info.refused for info in store.versions("view")} == {"v0": False, "v1": True}
        assert forks.run(server.url, 2, min_ratio=2.0) == REFUSED
        assert {info.version: info.refused for info in store.versions("view")} == {"v0": False, "v1": True, "v2": True}
        store.delete("view", "v2")
        assert int(server.command("dbsize")) == size
    assert number > 30
    assert served(store) == {0}
    publish(server.url, "v1", 1)
    assert served(store) == {1}
    print(f"\nrefusing commits killed before each of {number - 1} commands, none served, none recorded by half")
