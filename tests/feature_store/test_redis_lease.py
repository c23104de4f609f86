"""A version that a reader of a Redis has open outlives pruning, and nobody who died holds one for long."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from feature_store import CorruptVersion
from feature_store.redis import RedisStore, stage
from feature_store.redis.lease import LEASE_SECONDS
from tests.contracts.store_data import numbered, publish
from tests.feature_store.redis_keys import age_leases

PassTime = Callable[[int], None]
#: More than half a lease: who didn't renew it holds nothing after two of these.
SPAN = LEASE_SECONDS * 2 // 3

# Opens the served version and holds it until it's killed, with or without asyncio.
READER = """
import asyncio, sys
from feature_store.redis import RedisStore

def hold():
    print("open", flush=True)
    sys.stdin.readline()

async def hold_async(store):
    async with store.async_reader("view"):
        hold()

store = RedisStore(sys.argv[1])
if sys.argv[2] == "asyncio":
    asyncio.run(hold_async(store))
else:
    reader = store.reader("view")
    hold()
"""


@pytest.fixture
def store(url: str) -> RedisStore:
    return RedisStore(url)


@pytest.fixture
def pass_time(client: Any, prefix: str, monkeypatch: pytest.MonkeyPatch) -> PassTime:
    """Makes seconds pass for the leases in the server and for this process, without waiting for them."""
    passed = 0
    monotonic = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + passed)

    def go_on(seconds: int) -> None:
        nonlocal passed
        passed += seconds
        age_leases(client, prefix, seconds)

    return go_on


def publish_numbers(store: RedisStore, *values: int) -> None:
    for value in values:
        publish(store, f"v{value}", {"p": numbered(value, ["k"])}, view="view")


def row(value: int) -> dict[str, Any]:
    return {"key": "k", "value": value}


def leases(client: Any, prefix: str) -> int:
    return sum(client.zcard(key) for key in client.scan_iter(match=f"{prefix}l:*"))


def damage_served(client: Any, prefix: str) -> None:
    client.append(f"{prefix}m:{client.hget(f'{prefix}view:view', 'current').decode()}", b"?")


# Readers that live


def test_what_a_reader_holds_outlives_its_lease(store: RedisStore, pass_time: PassTime) -> None:
    publish_numbers(store, 1)
    reader = store.reader("view")
    pinned = reader.snapshot()
    publish_numbers(store, 2)
    for _ in range(4):
        pass_time(SPAN)
        assert reader.get("k") == row(2)
        assert store.prune("view", 1) == []
        assert pinned.get("k") == row(1)
    del pinned
    assert store.prune("view", 1) == ["v1"]


def test_a_reader_holds_what_it_serves_while_a_newer_version_is_damaged(
    store: RedisStore, client: Any, prefix: str, pass_time: PassTime
) -> None:
    publish_numbers(store, 1)
    reader = store.reader("view")
    publish_numbers(store, 2, 3)
    damage_served(client, prefix)
    for _ in range(4):
        pass_time(SPAN)
        assert reader.get("k") == row(1)
        assert isinstance(reader.error, CorruptVersion)
        assert store.prune("view", 1) == []
    store.rollback("view", "v2")
    assert reader.refresh() is True
    assert sorted(store.prune("view", 1)) == ["v1", "v3"]


def test_a_version_that_is_gone_through_is_held(
    store: RedisStore, pass_time: PassTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_PIECE_ROWS", 10)
    publish(store, "v1", {"p": numbered(1, [f"k{number}" for number in range(40)])}, view="view")
    snapshot = store.snapshot("view")
    publish_numbers(store, 2)
    pieces = 0
    for rows in snapshot.batches():
        assert rows.num_rows == 10
        assert store.prune("view", 1) == []
        pass_time(SPAN)
        pieces += 1
    assert pieces == 4
    kept: list[None] = []
    monkeypatch.setattr(snapshot, "keep", lambda: kept.append(None))
    snapshot.verify()
    assert len(kept) == pieces
    pass_time(SPAN)
    assert store.prune("view", 1) == ["v1"]


def test_a_lease_of_asyncio_is_renewed_and_let_go(
    store: RedisStore, client: Any, prefix: str, pass_time: PassTime
) -> None:
    async def read() -> None:
        publish_numbers(store, 1)
        async with store.async_reader("view") as reader:
            publish_numbers(store, 2, 3)
            damage_served(client, prefix)
            for _ in range(4):
                pass_time(SPAN)
                assert await reader.get("k") == row(1)
                assert isinstance(reader.error, CorruptVersion)
                assert store.prune("view", 1) == []
            store.rollback("view", "v2")
            assert await reader.refresh() is True
            assert leases(client, prefix) == 1
            assert sorted(store.prune("view", 1)) == ["v1", "v3"]
            publish_numbers(store, 4, 5)
            assert store.prune("view", 1) == ["v4"]
        assert leases(client, prefix) == 0
        assert store.prune("view", 1) == ["v2"]

    asyncio.run(read())


# Readers that die


@pytest.mark.parametrize("how", ["asyncio", "threads"])
def test_a_reader_that_was_killed_holds_its_version_until_its_lease_ends(
    store: RedisStore, url: str, client: Any, prefix: str, pass_time: PassTime, how: str
) -> None:
    publish_numbers(store, 1)
    with subprocess.Popen(
        [sys.executable, "-c", READER, url, how],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        process.kill()
    living = store.snapshot("view")
    assert leases(client, prefix) == 2
    publish_numbers(store, 2)
    pass_time(SPAN)
    living.keep()
    assert leases(client, prefix) == 2
    del living
    assert leases(client, prefix) == 1
    assert store.prune("view", 1) == []
    (lease,) = client.scan_iter(match=f"{prefix}l:*")
    assert 0 < client.ttl(lease) <= LEASE_SECONDS
    pass_time(SPAN)
    assert store.prune("view", 1) == ["v1"]
    assert leases(client, prefix) == 0


def test_the_lease_of_the_dead_goes_when_another_one_is_renewed(
    store: RedisStore, client: Any, prefix: str, pass_time: PassTime
) -> None:
    publish_numbers(store, 1)
    reader = store.reader("view")
    (key,) = client.scan_iter(match=f"{prefix}l:*")
    client.zadd(key, {"of one who died": client.time()[0] + LEASE_SECONDS})
    for left in (2, 1):
        pass_time(SPAN)
        assert reader.get("k") == row(1)
        assert client.zcard(key) == left


# Forks


class Child:
    """A fork that takes a step when it's told to; ends with 0 if all of them went well."""

    def __init__(self, *steps: Callable[[], bool]) -> None:
        order, self._orders = os.pipe()
        self._answers, answer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            for step in steps:
                os.read(order, 1)
                if not step():
                    os._exit(1)
                os.write(answer, b"x")
            os._exit(0)
        os.close(order)
        os.close(answer)

    def step(self) -> None:
        os.write(self._orders, b"x")
        assert os.read(self._answers, 1) == b"x", "the child's step failed"

    def end(self) -> None:
        assert os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1]) == 0
        os.close(self._orders)
        os.close(self._answers)


def close(held: list[Any]) -> bool:
    held.clear()
    return True


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_holds_a_version_that_its_parent_let_go(url: str, client: Any, prefix: str) -> None:
    store = RedisStore(url, follow_seconds=0)
    publish_numbers(store, 1)
    held = [store.reader("view")]
    child = Child(
        lambda: held[0].get("k") == row(1) and leases(client, prefix) == 2,
        lambda: close(held),
    )
    child.step()
    close(held)
    assert leases(client, prefix) == 1
    publish_numbers(store, 2, 3)
    assert store.prune("view", 1) == ["v2"]
    child.step()
    assert store.prune("view", 1) == ["v1"]
    child.end()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("reads", [True, False], ids=["that reads", "that never read"])
def test_a_fork_that_closes_lets_go_of_nothing_of_its_parents(url: str, client: Any, prefix: str, reads: bool) -> None:
    store = RedisStore(url, follow_seconds=0)
    publish_numbers(store, 1)
    held = [store.reader("view")]
    child = Child(lambda: not reads or held[0].get("k") == row(1), lambda: close(held))
    child.step()
    assert leases(client, prefix) == 1 + reads
    child.step()
    child.end()
    assert leases(client, prefix) == 1
    publish_numbers(store, 2, 3)
    assert store.prune("view", 1) == ["v2"]
    close(held)
    assert store.prune("view", 1) == ["v1"]
