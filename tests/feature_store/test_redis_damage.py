"""What is not as it was written is never served from Redis."""

from typing import Any

import pytest

from feature_store import CorruptVersion, UnknownVersion
from feature_store.cli import main
from feature_store.redis import RedisStore
from tests.contracts.store_data import ROWS, batch, numbered, publish
from tests.feature_store.redis_keys import end_leases, row_key
from tests.feature_store.redis_publisher import commands


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


def test_every_flipped_bit_is_found_and_named(store: RedisStore, client: Any, prefix: str) -> None:
    publish(store, "v1")
    reader = store.reader("user_scores")
    flips = 0
    for row in ROWS:
        key = row_key(client, prefix, row["user_id"])
        value = client.get(key)
        for bit in range(8 * len(value)):
            client.set(key, value[: bit // 8] + bytes([value[bit // 8] ^ 1 << bit % 8]) + value[bit // 8 + 1 :])
            with pytest.raises(CorruptVersion):
                reader.get(row["user_id"])
            with pytest.raises(CorruptVersion, match=f"has 1 of 3 rows .*, of keys {row['user_id']!r};"):
                store.verify("user_scores")
            flips += 1
        client.set(key, value)
    assert store.verify("user_scores").rows == 3
    print(f"\n{flips} bits flipped in rows, each found by a reader and named by verify")


def test_verify_names_the_keys_of_each_part(
    store: RedisStore, client: Any, prefix: str, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {part: numbered(1, [f"{part}{number:02d}" for number in range(20)]) for part in ("p", "q", "r")}
    publish(store, "v1", parts)
    for number in range(2, 10):
        flip(client, row_key(client, prefix, f"p{number:02d}"))
    client.delete(row_key(client, prefix, "r07"))
    with pytest.raises(CorruptVersion) as caught:
        store.verify("user_scores", "v1")
    said = str(caught.value)
    assert "version 'v1' of view 'user_scores' is damaged in redis://" in said
    wrong = "of 20 rows not as they were written or lost, of keys"
    assert f"part 'p' has 8 {wrong} 'p02', 'p03', 'p04', 'p05', 'p06', ...; part 'r'" in said
    assert f"part 'r' has 1 {wrong} 'r07'; roll back" in said
    assert "'q'" not in said
    with pytest.raises(SystemExit) as ended:
        main(["verify", url, "user_scores"])
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out) == (3, "")
    assert shown.err == f"error: {said}\n"


@pytest.mark.parametrize("damage", ["flip", "cut", "lost"])
def test_verify_finds_damaged_keys_of_a_part(store: RedisStore, client: Any, prefix: str, damage: str) -> None:
    publish(store, "v1", {"p": numbered(1, ["a", "b"])})
    (written,) = client.scan_iter(match=f"{prefix}k:*")
    packed = client.hget(written, "0")
    if damage == "lost":
        client.delete(written)
    else:
        client.hset(written, "0", packed[:-1] if damage == "cut" else packed[:-1] + bytes([packed[-1] ^ 1]))
    said = "keys of 0 rows where 2 were written" if damage == "lost" else "the keys of part 'p' .* not as they were"
    with pytest.raises(CorruptVersion, match=said):
        store.verify("user_scores")


def test_verify_of_a_version_that_is_removed_says_so(store: RedisStore, client: Any, prefix: str) -> None:
    publish(store, "v1")
    snapshot = store.snapshot("user_scores")
    (manifest,) = client.scan_iter(match=f"{prefix}m:*")
    half = client.get(manifest)
    client.delete(manifest, row_key(client, prefix, "ann"))  # as one sees it who comes while it's removed
    with pytest.raises(UnknownVersion, match=r"'v1' .* is gone"):
        snapshot.verify()
    client.set(manifest, half)
    publish(store, "v2")
    end_leases(client, prefix)
    store.delete("user_scores", "v1")
    with pytest.raises(UnknownVersion, match=r"'v1' .* is gone"):
        snapshot.verify()


def test_a_server_that_comes_back_between_two_commands_tells_no_lie(url: str, client: Any, prefix: str) -> None:
    """A key that has no value while the server is empty is not unknown to the version that is there a moment later."""
    store = RedisStore(url, follow_seconds=3600)
    publish(store, "v1")
    reader = store.reader("user_scores")
    (manifest,) = client.scan_iter(match=f"{prefix}m:*")
    kept = {key: client.get(key) for key in (manifest, row_key(client, prefix, "ann"))}

    def come_back(number: int) -> None:
        if number == 2:
            client.mset(kept)

    for ask in (lambda: reader.get("ann"), lambda: reader.get_many(["bob", "ann"])):
        client.delete(*kept)
        with commands(come_back), pytest.raises(CorruptVersion):
            ask()
        assert ask() is not None


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
