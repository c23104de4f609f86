"""Readers that open a version of a Redis while it is replaced and removed: they hold it in time, or open the next."""

import asyncio
from typing import Any

import pytest
from redis.asyncio.connection import AbstractConnection as AsyncConnection

from feature_store.redis import RedisStore
from tests.contracts.store_data import numbered, publish
from tests.feature_store.redis_publisher import commands


@pytest.fixture
def store(url: str) -> RedisStore:
    return RedisStore(url)


def publish_number(store: RedisStore, value: int) -> None:
    publish(store, f"v{value}", {"p": numbered(value, ["k"])}, view="view")


def start_again(store: RedisStore, client: Any, prefix: str) -> None:
    for key in client.scan_iter(match=f"{prefix}*"):
        client.delete(key)
    publish_number(store, 1)


class Removal:
    """Replaces the served version before command number `at` and marks it for removal, as prune does."""

    def __init__(self, store: RedisStore, client: Any, prefix: str, at: int) -> None:
        self.was_held = True
        self._store, self._client, self._view = store, client, f"{prefix}view:view"
        self._prefix, self._at = prefix, at

    def __call__(self, number: int) -> None:
        if number != self._at:
            return
        uid = self._client.hget(self._view, "current").decode()
        self.was_held = self._client.exists(f"{self._prefix}l:{uid}") == 1
        publish_number(self._store, 2)
        self._client.hdel(self._view, "v:v1")
        self._client.hset(self._view, f"t:{uid}", "")


def assert_held(removal: Removal, opened: str) -> None:
    # Whoever removes v1 may have seen that nobody has it open.
    assert opened == "v2" or removal.was_held


def test_a_version_removed_before_any_command_that_opens_it(store: RedisStore, client: Any, prefix: str) -> None:
    publish_number(store, 1)
    with commands(lambda number: None) as count:
        store.snapshot("view")
        calls = count()
    opened = []
    for at in range(1, calls + 1):
        removal = Removal(store, client, prefix, at)
        with commands(removal):
            snapshot = store.snapshot("view")
        assert snapshot.get("k") == {"key": "k", "value": int(snapshot.info.version[1:])}
        assert_held(removal, snapshot.info.version)
        opened.append(snapshot.info.version)
        start_again(store, client, prefix)
    assert {*opened} == {"v1", "v2"}
    print(f"\n{calls} versions removed while they were opened, {opened.count('v1')} of them once they were held")


def test_a_version_removed_before_any_command_that_opens_it_for_asyncio(
    store: RedisStore, client: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_number(store, 1)
    sent, removal = 0, Removal(store, client, prefix, 0)
    send = AsyncConnection.send_packed_command

    async def counted(self: Any, command: Any, check_health: bool = True) -> None:
        nonlocal sent
        sent += 1
        removal(sent)
        await send(self, command, check_health)

    async def open_and_read() -> str:
        async with store.async_reader("view") as reader:
            version = reader.version
            assert await reader.get("k") == {"key": "k", "value": int(version[1:])}
        return version

    monkeypatch.setattr(AsyncConnection, "send_packed_command", counted)
    asyncio.run(open_and_read())
    opened = []
    for at in range(1, sent):
        sent, removal = 0, Removal(store, client, prefix, at)
        version = asyncio.run(open_and_read())
        assert_held(removal, version)
        opened.append(version)
        start_again(store, client, prefix)
    assert {*opened} == {"v1", "v2"}
    print(f"\n{len(opened)} versions removed while they were opened, {opened.count('v1')} of them once they were held")
