"""What is not as it was written is never served from Redis."""

from typing import Any

import pytest

from feature_store import CorruptVersion
from feature_store.redis import RedisStore
from tests.contracts.store_data import ROWS, batch, numbered, publish
from tests.feature_store.redis_keys import row_key


@pytest.fixture
def store(url: str) -> RedisStore:
    return RedisStore(url, follow_seconds=0)


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
