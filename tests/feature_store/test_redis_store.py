"""The Redis backend keeps the contract, and its own promises about rows and keys."""

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
from feature_store import InvalidInput, UnknownVersion
from feature_store.redis import RedisStore
from tests.contracts.store_contract import StoreContract
from tests.contracts.store_data import numbered, publish
from tests.feature_store.redis_keys import row_key


class TestRedisStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, redis_url: str) -> None:
        self.url = redis_url

    def make_store(self, place: Path) -> RedisStore:
        return RedisStore(f"{self.url}?prefix=test:{place}:", follow_seconds=0)

    def age_stage(self, place: Path, view: str, version: str, days: int) -> None:
        with redis.Redis.from_url(self.url) as client:
            uid = client.hget(f"test:{place}:view:{view}", f"s:{version}").decode()
            key = f"test:{place}:s:{uid}"
            client.restore(key, 0, client.dump(key), replace=True, idletime=days * 86_400)


@pytest.fixture
def store(url: str) -> RedisStore:
    return RedisStore(url, follow_seconds=0)


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
