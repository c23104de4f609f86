"""Injected faults in Redis: what is served stays whole, and what was interrupted can run again."""

import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.connection import AbstractConnection

from feature_store import IncompleteVersion, OlderVersion, StoreUnavailable, UnknownVersion, VersionExists
from feature_store.redis import RedisStore
from tests.contracts.store_data import numbered
from tests.contracts.store_data import publish as publish_parts
from tests.feature_store import publisher
from tests.feature_store.forks import KILLED, Forks
from tests.feature_store.forks import forks as start_forks
from tests.feature_store.publisher import KEYS
from tests.feature_store.redis_publisher import count_commands, publish
from tests.feature_store.redis_server import RedisServer
from tests.feature_store.served import served


def tell(what: str, count: int) -> None:
    """Shown by `pytest -s`."""
    sys.stdout.write(f"{what}: {count}\n")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def store(server: RedisServer) -> RedisStore:
    return RedisStore(server.url, follow_seconds=0)


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with start_forks("tests.feature_store.redis_publisher") as process:
        yield process


@contextmanager
def commands(before: Callable[[int], None], after: Callable[[int, Any], None] | None = None) -> Iterator[Any]:
    """Calls `before` ahead of each command of this process, and `after` once it was sent; gives their count."""
    send = AbstractConnection.send_packed_command
    try:
        yield count_commands(before, after)
    finally:
        AbstractConnection.send_packed_command = send  # type: ignore[method-assign]


def assert_whole_and_repeatable(store: RedisStore, server: RedisServer, value: int, size: int) -> None:
    """After publisher `value` died: the former or the new version is served, whole, and a re-run leaves no trace."""
    current = store.current("view")
    assert current in {f"v{value - 1}", f"v{value}"}
    assert served(store) == {int(current[1:])}
    assert [info.problem for info in store.versions("view")].count("") == len(store.versions("view"))
    publish(server.url, f"v{value}", value)
    assert served(store) == {value}
    assert int(server.command("dbsize")) == size


def two_versions(server: RedisServer) -> int:
    """Publishes v0 and v1; how many keys they take, all told."""
    for value in (0, 1):
        publish(server.url, f"v{value}", value)
    return int(server.command("dbsize"))


# Killed publishers


def test_a_publisher_killed_before_any_command(forks: Forks, store: RedisStore, server: RedisServer) -> None:
    size = two_versions(server)
    calls = forks.run(server.url, 2)
    assert calls > 30
    for value, number in enumerate(range(1, calls + 1, 2), start=3):
        assert forks.run(server.url, value, die_at=number) == KILLED
        assert_whole_and_repeatable(store, server, value, size)
    tell("publishers killed before every second command, none mixed or lost, of", calls)


def test_a_publisher_killed_at_any_time(forks: Forks, store: RedisStore, server: RedisServer) -> None:
    size = two_versions(server)
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
    tell("publishers killed at random times, none mixed or lost", killed)


# A connection or a server that dies


def test_an_answer_lost_after_any_command_changes_nothing(store: RedisStore, server: RedisServer) -> None:
    size = two_versions(server)
    with commands(lambda number: None) as count:
        publish(server.url, "v2", 2)
        calls = count()
    for lost in range(1, calls + 1):
        value = lost + 2

        def cut(number: int, connection: Any, lost: int = lost) -> None:
            if number == lost:
                # The server has the command, and its answer finds nobody.
                connection._sock.shutdown(0)

        with commands(lambda number: None, cut):
            publish(server.url, f"v{value}", value)
        assert served(store) == {value}
        assert int(server.command("dbsize")) == size
        assert [info.sequence for info in store.versions("view")] == [value, value + 1]
    tell("answers lost, none of them seen by a publisher", calls)


def test_redis_killed_while_publishing(store: RedisStore, server: RedisServer) -> None:
    publish(server.url, "v0", 0)
    with commands(lambda number: None) as count:
        publish(server.url, "v1", 1)
        calls = count()
    reader = store.reader("view")
    kills = range(1, calls + 1, 4)
    for number in kills:

        def kill(sent: int, number: int = number) -> None:
            if sent == number:
                server.kill()

        with commands(kill), pytest.raises(StoreUnavailable, match=f"127.0.0.1:{server.port}/0: .*; start the server"):
            publish(server.url, f"v{number + 1}", number + 1)
        server.start()  # it has lost everything
        with pytest.raises(UnknownVersion):
            reader.get("k0")
        publish(server.url, f"v{number + 1}", number + 1)
        assert served(store) == {number + 1}
        assert reader.get("k0") == {"key": "k0", "value": number + 1}
    tell("servers killed while publishing", len(kills))


def test_redis_killed_while_reading(server: RedisServer) -> None:
    store = RedisStore(server.url)
    publish(server.url, "v1", 1)
    reader = store.reader("view")
    reads, refusals, wrong = [0], [0], []
    stop, busy, refused = threading.Event(), threading.Event(), threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                values = {reader.get("k7")["value"], *reader.get_many(KEYS).column("value").to_pylist()}  # type: ignore[index]
                reads[0] += 1
                if reads[0] > 300:
                    busy.set()
                if not values <= {1, 2} or len(values) > 2:
                    wrong.append(values)
            except (StoreUnavailable, UnknownVersion):
                refusals[0] += 1
                refused.set()
            except BaseException as error:
                wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        assert busy.wait(60)
        server.kill()
        assert refused.wait(60)
        assert isinstance(reader.error, StoreUnavailable) or reader.error is None
        with pytest.raises(StoreUnavailable, match="start the server or check its address"):
            reader.get("k0")
        server.start()
        # Nobody is unknown to a server that has lost all of them.
        for ask in (lambda: reader.get("k0"), lambda: reader.get("nobody"), lambda: reader.get_many(KEYS)):
            with pytest.raises(UnknownVersion):
                ask()
        publish(server.url, "v2", 2)
        assert reader.get("k0") == {"key": "k0", "value": 2}
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    tell("reads", reads[0])
    tell("reads refused while the server was gone or empty", refusals[0])


def test_a_stage_lost_with_its_server_is_begun_again(store: RedisStore, server: RedisServer) -> None:
    stage = store.begin("view", "v1")
    writer = stage.writer("p")
    writer.__enter__()
    server.kill()
    server.start()
    writer.write(numbered(1, ["k"]))
    with pytest.raises(UnknownVersion, match="lost with its server"):
        writer.__exit__(None, None, None)
    with pytest.raises(UnknownVersion, match="begin it first"):
        store.commit("view", "v1", expect_parts=["p"], metadata={})
    publish_parts(store, "v1", {"p": numbered(1, ["k"])}, view="view")
    assert store.reader("view").get("k") == {"key": "k", "value": 1}


# Many at once


def test_two_publishers_at_once(server: RedisServer) -> None:
    store = RedisStore(server.url, follow_seconds=0)
    publish(server.url, "v0", 0)
    rounds, outrun = 20, 0
    together = threading.Barrier(2, timeout=60)
    outcomes: list[BaseException | None] = [None, None]

    def run(place: int, version: str, value: int, as_of: str) -> None:
        own = RedisStore(server.url, follow_seconds=0)
        parts = {part: numbered(value, KEYS[place::3]) for place, part in enumerate(publisher.PARTS)}
        together.wait()
        try:
            publish_parts(own, version, parts, view="view", as_of=as_of)
            outcomes[place] = None
        except BaseException as error:
            outcomes[place] = error

    for number in range(rounds):
        # Of odd rounds the two publish one and the same version, as a task and its retry may.
        names = [f"r{number}"] * 2 if number % 2 else [f"r{number}a", f"r{number}b"]
        times = [f"2024-01-01T{number:02d}:{0 if number % 2 else 30 * place:02d}" for place in (0, 1)]
        values = [2 * number] * 2 if number % 2 else [2 * number, 2 * number + 1]
        threads = [
            threading.Thread(target=run, args=(place, names[place], values[place], times[place])) for place in (0, 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expected = (UnknownVersion, VersionExists, IncompleteVersion) if number % 2 else (OlderVersion,)
        failed = [error for error in outcomes if error is not None]
        assert all(isinstance(error, expected) for error in failed), failed
        outrun += len(failed)
        if number % 2:
            if len(failed) == 2:  # each took a part from the other: the retry of the retry makes it good
                run_alone = RedisStore(server.url, follow_seconds=0)
                publish_parts(
                    run_alone,
                    names[0],
                    {part: numbered(values[0], KEYS[place::3]) for place, part in enumerate(publisher.PARTS)},
                    view="view",
                    as_of=times[0],
                )
            assert store.current("view") == names[0]
        else:
            # The newer data always wins: it comes last, or the older is refused.
            assert store.current("view") == names[1]
        assert served(store) == {values[1]}
        sequences = [info.sequence for info in store.versions("view")]
        assert len(set(sequences)) == len(sequences)
    tell("rounds of two publishers", rounds)
    tell("publishers that were outrun and said so", outrun)


def test_readers_under_load_see_whole_versions_only(server: RedisServer) -> None:
    swaps = 100
    store = RedisStore(server.url, follow_seconds=0.01)
    publish(server.url, "v0", 0)
    reader = store.reader("view")
    stop = threading.Event()
    reads, wrong = [0, 0, 0], []

    def read(place: int) -> None:
        last = 0
        try:
            while not stop.is_set():
                values = set(reader.get_many(KEYS).column("value").to_pylist())
                one = reader.get("k3")
                reads[place] += 2
                if len(values) != 1 or one is None or not last <= max(values) <= one["value"]:
                    wrong.append((last, values, one))
                last = one["value"] if one is not None else last
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    try:
        for value in range(1, swaps + 1):
            publish(server.url, f"v{value}", value)
            store.prune("view", 1)  # which waits for readers that have one open
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert min(reads) > swaps
    reader.refresh()
    assert reader.get("k3") == {"key": "k3", "value": swaps}
    tell("swaps", swaps)
    tell("reads, none mixed, none failed", sum(reads))
