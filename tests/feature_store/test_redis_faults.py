"""Connections and servers that die: what is served stays whole, and what was interrupted can run again."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from feature_store import RefusedVersion, StoreUnavailable, UnknownVersion
from feature_store.redis import RedisStore
from tests.contracts.store_data import numbered
from tests.contracts.store_data import publish as publish_parts
from tests.feature_store.publisher import KEYS
from tests.feature_store.redis_publisher import commands, keys_after_two, publish
from tests.feature_store.redis_server import RedisServer
from tests.feature_store.served import served


@pytest.fixture
def store(server: RedisServer) -> RedisStore:
    return RedisStore(server.url, follow_seconds=0)


def cutting(lost: int) -> Callable[[int, Any], None]:
    """Cuts the connection once command number `lost` was sent: the server has it, and its answer finds nobody."""

    def cut(number: int, connection: Any) -> None:
        if number == lost:
            connection._sock.shutdown(0)

    return cut


def test_an_answer_lost_after_any_command_changes_nothing(store: RedisStore, server: RedisServer) -> None:
    size = keys_after_two(server)
    with commands(lambda number: None) as count:
        publish(server.url, "v2", 2)
        calls = count()
    for lost in range(1, calls + 1):
        value = lost + 2
        with commands(lambda number: None, cutting(lost)):
            publish(server.url, f"v{value}", value)
        assert served(store) == {value}
        assert int(server.command("dbsize")) == size
        assert [info.sequence for info in store.versions("view")] == [value, value + 1]
    print(f"\n{calls} answers lost, none of them seen by a publisher")


def test_an_answer_lost_while_a_commit_is_refused_changes_nothing(store: RedisStore, server: RedisServer) -> None:
    publish(server.url, "v0", 0)
    size = int(server.command("dbsize"))
    with commands(lambda number: None) as count, pytest.raises(RefusedVersion):
        publish(server.url, "v1", 1, min_ratio=2.0)
    calls = count()
    for lost in range(1, calls + 1):
        store.delete("view", "v1")
        assert int(server.command("dbsize")) == size
        with commands(lambda number: None, cutting(lost)), pytest.raises(RefusedVersion, match="min_ratio"):
            publish(server.url, "v1", 1, min_ratio=2.0)
        assert served(store) == {0}
        assert {info.version: info.refused for info in store.versions("view")} == {"v0": False, "v1": True}
    print(f"\n{calls} answers lost while a commit was refused, none of them seen by a publisher")


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
    print(f"\n{len(kills)} servers killed while publishing")


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
    print(f"\n{reads[0]} reads, and {refusals[0]} refused while the server was gone or empty")


def test_a_stage_lost_with_its_server_is_begun_again(store: RedisStore, server: RedisServer) -> None:
    stage = store.begin("view", "v1")
    writer = stage.writer("p")
    writer.__enter__()
    server.kill()
    server.start()
    writer.write(numbered(1, ["k"]))
    with pytest.raises(UnknownVersion, match="lost with its server"):
        writer.__exit__(None, None, None)
    with pytest.raises(UnknownVersion, match="publish anew"):
        store.commit("view", "v1", expect_parts=["p"], metadata={})
    publish_parts(store, "v1", {"p": numbered(1, ["k"])}, view="view")
    assert store.reader("view").get("k") == {"key": "k", "value": 1}
