"""The Redis backend keeps the contract, and its own promises about rows and keys."""

import asyncio
import multiprocessing
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

import feature_store
from feature_store import CorruptVersion, InvalidInput, UnknownVersion
from feature_store.redis import RedisStore
from tests.contracts.store_contract import StoreContract
from tests.contracts.store_data import ROWS, batch, numbered, publish


class TestRedisStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, redis_url: str) -> None:
        self.url = redis_url

    def make_store(self, place: Path) -> RedisStore:
        return RedisStore(f"{self.url}?prefix=test:{place}:", follow_seconds=0)


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return f"test:{tmp_path}:"


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def url(redis_url: str, prefix: str, client: Any) -> Iterator[str]:
    yield f"{redis_url}?prefix={prefix}"
    for key in client.scan_iter(match=f"{prefix}*"):
        client.unlink(key)


@pytest.fixture
def store(url: str) -> RedisStore:
    return RedisStore(url, follow_seconds=0)


def keys_of(client: Any, prefix: str) -> list[bytes]:
    return sorted(key.removeprefix(prefix.encode()) for key in client.scan_iter(match=f"{prefix}*"))


def row_key(client: Any, prefix: str, key: str) -> bytes:
    (found,) = client.scan_iter(match=f"{prefix}????????:{key}")
    return bytes(found)


def test_open_store_reads_urls(url: str) -> None:
    store = feature_store.open_store(url)
    publish(store, "v1")
    assert feature_store.open_store(url).current("user_scores") == "v1"


# What a row is


ODD = {
    "flag": (pa.bool_(), st.booleans()),
    "small": (pa.int8(), st.integers(-128, 127)),
    "big": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "half": (pa.float16(), st.sampled_from([0.0, -1.5])),
    "text": (pa.large_string(), st.text(st.characters(exclude_categories=["Cs"]), max_size=5)),
    "data": (pa.binary(), st.binary(max_size=5)),
    "time": (pa.timestamp("us", "UTC"), st.datetimes(datetime(1970, 1, 1), timezones=st.just(UTC))),
    "day": (pa.date32(), st.dates(date(1970, 1, 1))),
    "money": (pa.decimal128(5, 2), st.decimals(-99, 99, places=2, allow_nan=False).map(Decimal)),
    "struct": (pa.struct({"a": pa.string()}), st.fixed_dictionaries({"a": st.none() | st.text("xyz", max_size=3)})),
    "numbers": (pa.list_(pa.float64()), st.lists(st.none() | st.floats(allow_nan=False), max_size=4)),
    "vector": (pa.list_(pa.int16(), 2), st.lists(st.none() | st.integers(-5, 5), min_size=2, max_size=2)),
    "ids": (pa.large_list(pa.large_string()), st.lists(st.none() | st.text("abc", max_size=2), max_size=4)),
    "nested": (pa.list_(pa.list_(pa.string())), st.lists(st.lists(st.text("ab", max_size=2), max_size=2), max_size=2)),
    "pairs": (pa.list_(pa.list_(pa.float32(), 2)), st.lists(st.just([1.0, 2.0]), max_size=2)),
}


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.fixed_dictionaries({name: st.none() | kind for name, (_, kind) in ODD.items()}), min_size=1))
def test_every_type_comes_back(redis_url: str, tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    store = RedisStore(f"{redis_url}?prefix=test:{tmp_path_factory.mktemp('types')}:", follow_seconds=0)
    schema = pa.schema({"key": pa.int64()} | {name: kind for name, (kind, _) in ODD.items()})
    rows = [{"key": number, **row} for number, row in enumerate(rows)]
    whole = pa.RecordBatch.from_pylist([{"key": -1}, *rows], schema=schema)
    publish(store, "v1", {"p": whole.slice(1)})
    reader = store.reader("user_scores")
    assert [reader.get(row["key"]) for row in rows] == rows
    answer = reader.get_many([row["key"] for row in rows])
    assert answer.to_pylist() == rows
    assert answer.schema.types == reader.snapshot().schema.types
    answer.validate(full=True)


def test_rows_of_one_column_and_long_lists(store: RedisStore) -> None:
    publish(store, "v1", {"p": pa.record_batch({"key": ["a", "b"]})})
    assert store.reader("user_scores").get("b") == {"key": "b"}
    assert store.reader("user_scores").get_many(["b", "c"]).to_pylist() == [{"key": "b"}, {"key": None}]
    keys = [f"k{number}" for number in range(9000)]
    publish(store, "v2", {"p": pa.record_batch({"key": keys, "list": [[0.5] * 300] * len(keys)})})
    row = store.reader("user_scores").get("k8999")
    assert row is not None
    assert row.first("list", 2) == [0.5, 0.5]
    with pytest.raises(InvalidInput):
        row.first("key", 2)
    with pytest.raises(InvalidInput):
        row.numpy("key")


def test_a_pair_takes_about_twelve_bytes(store: RedisStore, client: Any, prefix: str) -> None:
    ids = [f"an item with a rather long id, {number:05d}" for number in range(200)]
    names = [f"u{number:03d}" for number in range(500)]
    scores = [[0.5] * 200] * len(names)
    columns = {"user_id": names, "item_id": [ids] * len(names), "score": scores, "interest": scores}
    types = pa.schema(
        {"user_id": pa.string(), "item_id": pa.list_(pa.string()), "score": pa.list_(pa.float32()),
         "interest": pa.list_(pa.float32())}
    )  # fmt: skip
    publish(store, "v1", {"p": pa.record_batch(columns, schema=types)})
    assert client.strlen(row_key(client, prefix, "u123")) == 8 + 3 * 4 + 200 * 12
    assert store.versions("user_scores")[0].bytes < 200 * 500 * 12 * 1.05


def test_numbers_are_seen_in_place(store: RedisStore) -> None:
    publish(store, "v1")
    row = store.reader("user_scores").get("ann")
    assert row is not None
    assert isinstance(row.numpy("score").base, bytes) or row.numpy("score").base.base is not None
    assert row.numpy("score").dtype == np.float32


# Damage


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other key", "other version", "other type"])
def test_a_row_that_is_not_as_written_is_never_served(store: RedisStore, client: Any, prefix: str, damage: str) -> None:
    publish(store, "v0", {"all": batch([{**row, "age": 9} for row in ROWS])})
    foreign = client.get(row_key(client, prefix, "ann"))
    publish(store, "v1")
    store.delete("user_scores", "v0")
    key = row_key(client, prefix, "ann")
    value = client.get(key)
    if damage == "other type":
        client.delete(key)
        client.rpush(key, value)
    else:
        client.set(
            key,
            {
                "flip": value[:-1] + bytes([value[-1] ^ 1]),
                "cut": value[:-4],
                "empty": b"",
                "other key": client.get(row_key(client, prefix, "bob")),
                "other version": foreign,
            }[damage],
        )
    reader = store.reader("user_scores")
    with pytest.raises(CorruptVersion, match=r"not .* written; roll back"):
        reader.get("ann")
    with pytest.raises(CorruptVersion, match=r"not .* written; roll back"):
        reader.get_many(["bob", "ann"])
    assert reader.get("bob") == ROWS[1]


def flip(client: Any, key: str) -> None:
    value = client.get(key)
    client.set(key, bytes([value[0] ^ 1]) + value[1:])


def test_a_damaged_manifest_is_listed_and_stands_in_nobodys_way(store: RedisStore, client: Any, prefix: str) -> None:
    for value in (1, 2, 3):
        publish(store, f"v{value}", {"p": numbered(value, ["k"])}, as_of=f"2014-03-1{value}")
    uid = client.hget(f"{prefix}view:user_scores", "current").decode()
    flip(client, f"{prefix}m:{uid}")
    problems = {info.version: info.problem for info in store.versions("user_scores")}
    assert "not as it was written" in problems["v3"]
    assert (problems["v1"], problems["v2"]) == ("", "")
    with pytest.raises(CorruptVersion):
        store.reader("user_scores")
    assert store.rollback("user_scores").version == "v2"
    assert store.reader("user_scores").get("k") == {"key": "k", "value": 2}
    store.delete("user_scores", "v3")
    publish(store, "v3", {"p": numbered(3, ["k"])}, as_of="2014-03-13")
    assert store.reader("user_scores").get("k") == {"key": "k", "value": 3}


def test_damaged_strings_are_not_served(store: RedisStore, client: Any, prefix: str) -> None:
    publish(store, "v1")
    uid = client.hget(f"{prefix}view:user_scores", "current").decode()
    piece = client.lindex(f"{prefix}d:{uid}", 0)
    client.lset(f"{prefix}d:{uid}", 0, piece[:-1] + bytes([piece[-1] ^ 1]))
    with pytest.raises(CorruptVersion, match=r"strings .* not as they were written"):
        store.reader("user_scores")


def test_a_row_that_was_lost_is_found_by_commit_and_rollback(store: RedisStore, client: Any, prefix: str) -> None:
    publish(store, "v1")
    stage = store.begin("user_scores", "v2")
    with stage.writer("p") as writer:
        writer.write(numbered(2, ["lost", "kept"]))
    client.delete(row_key(client, prefix, "lost"))
    with pytest.raises(CorruptVersion, match=r"part 'p' has 1 rows .* where 2 were written"):
        store.commit("user_scores", "v2", expect_parts=["p"], metadata={})
    with stage.writer("p") as writer:
        writer.write(numbered(2, ["lost", "kept"]))
    store.commit("user_scores", "v2", expect_parts=["p"], metadata={})
    client.delete(row_key(client, prefix, "ann"))
    with pytest.raises(CorruptVersion, match="part 'all' has 2 rows"):
        store.rollback("user_scores")
    with pytest.raises(CorruptVersion, match=r"part 'all' has lost rows .* 'ann'"):
        list(store.snapshot("user_scores", "v1").batches())
    assert store.current("user_scores") == "v2"


# Parts


def test_a_part_written_again_leaves_no_row_of_the_former(store: RedisStore) -> None:
    stage = store.begin("view", "v1")
    for part, keys in (("p", ["a", "b"]), ("q", ["c"]), ("p", ["b", "d"])):
        with stage.writer(part) as writer:
            writer.write(numbered(1, keys))
    failing = stage.writer("dead")
    failing.__enter__()
    failing.write(numbered(7, [f"x{number}" for number in range(5000)]))  # enough to be sent before it dies
    store.commit("view", "v1", expect_parts=["p", "q"], metadata={})
    reader = store.reader("view")
    assert [key for key in ("a", "b", "c", "d", "x0", "x4999") if reader.get(key)] == ["b", "c", "d"]


def test_a_writer_left_behind_by_another_or_by_its_commit_changes_nothing(store: RedisStore) -> None:
    stage = store.begin("view", "v1")
    late = stage.writer("p")
    late.__enter__()
    late.write(numbered(2, ["k"]))
    with stage.writer("p") as early:
        early.write(numbered(1, ["k"]))
    with pytest.raises(UnknownVersion, match="another writer"):
        late.__exit__(None, None, None)
    store.commit("view", "v1", expect_parts=["p"], metadata={})
    with pytest.raises(UnknownVersion):
        late.__exit__(None, None, None)
    with pytest.raises(UnknownVersion), stage.writer("q"):
        pass
    assert store.reader("view").get("k") == {"key": "k", "value": 1}


def test_a_commit_sees_a_part_that_changes_under_it(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = store.begin("view", "v1")
    with stage.writer("p") as writer:
        writer.write(numbered(1, ["k"]))
    verify = feature_store.redis.commit.check_duplicates
    changes = iter([numbered(2, ["k", "l"]), None])

    def changing(keys: Any) -> None:
        verify(keys)
        change = next(changes)
        if change is not None:
            with stage.writer("p") as writer:
                writer.write(change)

    monkeypatch.setattr(feature_store.redis.commit, "check_duplicates", changing)
    assert store.commit("view", "v1", expect_parts=["p"], metadata={}).rows == 2
    assert store.reader("view").get("l") == {"key": "l", "value": 2}


# What is removed


def test_deleted_versions_leave_nothing_behind(store: RedisStore, client: Any, prefix: str) -> None:
    publish(store, "v1")
    before = len(keys_of(client, prefix))
    for number in range(2, 6):
        publish(store, f"v{number}")
        store.prune("user_scores", 1)
        assert len(keys_of(client, prefix)) == before
    with store.begin("user_scores", "v9").writer("p") as writer:
        writer.write(batch(ROWS))
    store.delete("user_scores", "v9")
    assert len(keys_of(client, prefix)) == before


def end_leases(client: Any, prefix: str) -> None:
    """As the time does that passes while readers sleep or are dead."""
    for key in client.scan_iter(match=f"{prefix}l:*"):
        client.delete(key)


def test_a_deleted_version_stays_for_those_who_have_it_open(store: RedisStore, client: Any, prefix: str) -> None:
    publish(store, "v1")
    pinned = store.snapshot("user_scores")
    publish(store, "v2")
    store.delete("user_scores", "v1")
    store.begin("user_scores", "v3")
    assert (pinned.get("ann"), pinned.get("nobody")) == (ROWS[0], None)
    end_leases(client, prefix)
    store.begin("user_scores", "v3")
    for read in (lambda: pinned.get("ann"), lambda: pinned.get("no"), lambda: pinned.get_many(["ann", "bob"])):
        with pytest.raises(UnknownVersion, match=r"'v1' .* is gone"):
            read()


def test_a_reader_that_slept_through_a_removal_goes_on_with_what_is_served(url: str, client: Any, prefix: str) -> None:
    store = RedisStore(url, follow_seconds=3600)
    publish(store, "v1", {"p": numbered(1, ["k"])})
    readers = [store.reader("user_scores"), store.reader("user_scores")]
    publish(store, "v2", {"p": numbered(2, ["k"])})
    end_leases(client, prefix)
    store.prune("user_scores", 1)
    assert readers[0].get("k") == {"key": "k", "value": 2}
    assert readers[1].get_many(["k", "l"]).column("value").to_pylist() == [2, None]


def test_a_swap_is_followed_without_being_asked_to(url: str) -> None:
    store = RedisStore(url)
    publish(store, "v1", {"p": numbered(1, ["k"])})
    reader = store.reader("user_scores")
    publish(store, "v2", {"p": numbered(2, ["k"])})
    while reader.get("k") != {"key": "k", "value": 2}:
        assert reader.error is None


# Threads, forks and asyncio


def test_threads_and_forks_share_a_reader(store: RedisStore) -> None:
    keys = [f"k{number}" for number in range(200)]
    publish(store, "v1", {"p": pa.record_batch({"key": keys, "value": list(range(200))})})
    reader = store.reader("user_scores")
    wrong: list[Any] = []

    def read(numbers: range, failures: Any) -> None:
        for number in numbers:
            row = reader.get(keys[number])
            if row is None or row["value"] != number:
                failures.append((number, row))

    context = multiprocessing.get_context("fork")
    with context.Manager() as manager:
        failures = manager.list()
        threads = [threading.Thread(target=read, args=(range(200), wrong)) for _ in range(4)]
        forks = [context.Process(target=read, args=(range(200), failures)) for _ in range(3)]
        for fork in forks:
            fork.start()
        for thread in threads:
            thread.start()
        for task in (*threads, *forks):
            task.join()
        assert [fork.exitcode for fork in forks] == [0, 0, 0]
        assert (wrong, list(failures)) == ([], [])


def test_a_fork_is_not_stopped_by_a_lock_of_its_parent(store: RedisStore) -> None:
    publish(store, "v1")
    reader = store.reader("user_scores")
    with reader._lock:
        child = multiprocessing.get_context("fork").Process(target=reader.refresh)
        child.start()
        child.join(30)
    assert child.exitcode == 0


def test_asyncio_reads_and_follows(url: str) -> None:
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
            assert (reader.version, reader.error) == ("v1", None)
            publish(store, "v2", {"p": batch(ROWS[:1])})
            assert await reader.refresh() is True
            store.delete("user_scores", "v1")
            assert (await reader.get("bob"), reader.info) == (None, store.versions("user_scores")[0])
            with pytest.raises(InvalidInput):
                await reader.get(1)

    asyncio.run(read())


def test_asyncio_goes_on_from_a_removed_version(url: str, client: Any, prefix: str) -> None:
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
