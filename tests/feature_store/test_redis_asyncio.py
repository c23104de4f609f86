"""The reader for asyncio: what it answers, and that swaps and faults show in no answer."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from feature_store import InvalidInput, StoreUnavailable, UnknownVersion
from feature_store.redis import RedisStore, connection
from feature_store.redis.aio import AsyncRedisReader
from tests.contracts.store_data import ROWS, batch, numbered, publish
from tests.feature_store.publisher import KEYS
from tests.feature_store.redis_keys import end_leases
from tests.feature_store.redis_publisher import publish as publish_view
from tests.feature_store.redis_server import RedisServer

# Publishes v1 to v<swaps> beside the readers, each in three parts, and removes all but the newest.
PUBLISH_ALL = """
import sys
from feature_store.redis import RedisStore
from tests.feature_store.redis_publisher import publish
store = RedisStore(sys.argv[1])
for value in range(1, int(sys.argv[2]) + 1):
    publish(sys.argv[1], f"v{value}", value)
    store.prune("view", 1)
"""


def test_it_reads_and_follows(url: str) -> None:
    store = RedisStore(url, follow_seconds=0)

    async def read() -> None:
        with pytest.raises(UnknownVersion, match="publish one first"):
            async with store.async_reader("user_scores"):
                pass
        publish(store, "v1")
        async with store.async_reader("user_scores") as reader:
            assert await asyncio.gather(*(reader.get(row["user_id"]) for row in ROWS)) == ROWS
            assert (await reader.get_many(["nobody", "bob"])).to_pylist()[1] == ROWS[1]
            assert await reader.get("nobody") is None
            assert (reader.version, reader.created_at, reader.error) == ("v1", reader.info.created_at, None)
            publish(store, "v2", {"p": batch(ROWS[:1])})
            assert await reader.refresh() is True
            store.delete("user_scores", "v1")
            assert (await reader.get("bob"), reader.info) == (None, store.versions("user_scores")[0])
            with pytest.raises(InvalidInput):
                await reader.get(1)

    asyncio.run(read())


def test_it_goes_on_from_a_removed_version(url: str, client: Any, prefix: str) -> None:
    store = RedisStore(url, follow_seconds=3600)

    async def read() -> None:
        publish(store, "v1", {"p": numbered(1, ["k"])})
        async with store.async_reader("user_scores") as one, store.async_reader("user_scores") as many:
            publish(store, "v2", {"p": numbered(2, ["k"])})
            end_leases(client, prefix)
            store.prune("user_scores", 1)
            assert await one.get("k") == {"key": "k", "value": 2}
            assert (await many.get_many(["k", "l"])).column("value").to_pylist() == [2, None]

    asyncio.run(read())


def test_it_follows_a_swap_without_being_asked_to(url: str) -> None:
    store = RedisStore(url)

    async def read() -> None:
        publish(store, "v1", {"p": numbered(1, ["k"])})
        async with store.async_reader("user_scores") as reader:
            publish(store, "v2", {"p": numbered(2, ["k"])})
            while await reader.get("k") != {"key": "k", "value": 2}:
                assert reader.error is None

    asyncio.run(read())


def test_many_calls_at_once_see_whole_versions_only(server: RedisServer) -> None:
    """Each call stays within one version, and none goes back behind one that ended before it began."""
    swaps, readers = 100, 8
    store = RedisStore(server.url, follow_seconds=0.01)
    publish_view(server.url, "v0", 0)
    publisher: asyncio.subprocess.Process
    reads, seen = [0] * readers, {0}

    async def read(reader: AsyncRedisReader, place: int) -> None:
        last = 0
        while publisher.returncode is None:
            values = set((await reader.get_many(KEYS)).column("value").to_pylist())
            assert len(values) == 1, f"mixed: {values}"
            one = await reader.get("k3")
            assert one is not None
            assert last <= max(values) <= one["value"], f"backwards: {last}, {values}, {one['value']}"
            last = one["value"]
            seen.add(last)
            reads[place] += 2

    async def run() -> None:
        nonlocal publisher
        command = [sys.executable, "-c", PUBLISH_ALL, server.url, str(swaps)]
        publisher = await asyncio.create_subprocess_exec(*command, cwd=Path(__file__).parents[2])
        async with store.async_reader("view") as reader:
            ended, *_ = await asyncio.gather(publisher.wait(), *(read(reader, place) for place in range(readers)))
            assert ended == 0
            await reader.refresh()
            assert await reader.get("k3") == {"key": "k3", "value": swaps}
            assert reader.error is None

    asyncio.run(run())
    assert min(reads) > swaps
    assert len(seen) > 2
    print(f"\n{sum(reads)} reads by asyncio through {swaps} swaps, {len(seen)} of them seen; none mixed, none failed")


def test_redis_killed_and_started_empty_while_it_reads(server: RedisServer) -> None:
    store = RedisStore(server.url, follow_seconds=0.01)
    publish_view(server.url, "v1", 1)
    reads, refusals = [0], {StoreUnavailable: 0, UnknownVersion: 0}
    told: dict[type[Exception], asyncio.Event] = {}

    async def read(reader: AsyncRedisReader, busy: asyncio.Event, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                one = await reader.get("k7")
                values = {one["value"] if one else None, *(await reader.get_many(KEYS)).column("value").to_pylist()}
                assert values <= {1, 2}, f"a user that is known is not answered: {values}"
                reads[0] += 1
                if reads[0] > 100:
                    busy.set()
            except (StoreUnavailable, UnknownVersion) as error:
                refusals[type(error)] += 1
                told[type(error)].set()

    async def refuse(reader: AsyncRedisReader, kind: type[Exception], way_out: str) -> None:
        asks: list[Callable[[], Awaitable[Any]]] = [
            lambda: reader.get("k0"),
            lambda: reader.get("nobody"),
            lambda: reader.get_many(KEYS),
        ]
        for ask in asks:
            with pytest.raises(kind, match=way_out):
                await ask()
        assert await reader.refresh() is False
        assert isinstance(reader.error, kind)
        assert reader.version == "v1"

    async def run() -> None:
        busy, stop = asyncio.Event(), asyncio.Event()
        told.update({StoreUnavailable: asyncio.Event(), UnknownVersion: asyncio.Event()})
        async with store.async_reader("view") as reader, asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(read(reader, busy, stop))
            await busy.wait()
            server.kill()
            await told[StoreUnavailable].wait()
            await refuse(reader, StoreUnavailable, "start the server or check its address")
            server.start()
            # Nobody is unknown to a server that has lost all of them.
            await told[UnknownVersion].wait()
            await refuse(reader, UnknownVersion, r"no published version.*publish one first|publish again")
            await asyncio.to_thread(publish_view, server.url, "v2", 2)
            assert await reader.get("k0") == {"key": "k0", "value": 2}
            assert (reader.version, reader.error) == ("v2", None)
            stop.set()

    asyncio.run(run())
    gone, empty = refusals[StoreUnavailable], refusals[UnknownVersion]
    print(f"\n{reads[0]} reads by asyncio, {gone} refused while the server was gone, {empty} while it was empty")


def test_a_call_that_is_cancelled_ends(server: RedisServer) -> None:
    """At whatever point it is."""
    store = RedisStore(server.url, follow_seconds=0)
    publish_view(server.url, "v1", 1)
    ended = 0

    async def run() -> None:
        nonlocal ended
        async with store.async_reader("view") as reader:

            async def read() -> None:
                while True:
                    await reader.get("k7")
                    await reader.get_many(["k1", "nobody"])

            for turns in range(60):
                task = asyncio.create_task(read())
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task], timeout=10)
                assert task.cancelled(), f"it went on after {turns} turns of the loop"
                ended += 1
            assert await reader.get("k0") == {"key": "k0", "value": 1}

    asyncio.run(run())
    print(f"\n{ended} calls cancelled, all ended")


def test_a_server_that_does_not_answer_is_told(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_ASYNC_SECONDS", 0.1)
    store = RedisStore(server.url, follow_seconds=3600)
    publish_view(server.url, "v1", 1)

    async def run() -> None:
        async with store.async_reader("view") as reader:
            server.freeze()
            for ask in (lambda: reader.get("k0"), lambda: reader.get_many(KEYS)):
                with pytest.raises(StoreUnavailable, match=r"no answer within 0\.1 s; start the server or check"):
                    await ask()
            await reader.refresh()
            assert isinstance(reader.error, StoreUnavailable)
            server.thaw()
            monkeypatch.undo()
            assert await reader.get("k0") == {"key": "k0", "value": 1}

    asyncio.run(run())
