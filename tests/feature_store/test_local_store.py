"""The local backend keeps the contract, and its own promises about files."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import feature_store
from feature_store import InvalidInput, LocalStore, hashing
from feature_store.local import manifest as manifest_module
from feature_store.local import reader as reader_module
from feature_store.local import stage as stage_module
from tests.contracts.store_contract import StoreContract
from tests.contracts.store_data import numbered, publish
from tests.feature_store.ages import age


class TestLocalStore(StoreContract):
    def make_store(self, place: Path) -> LocalStore:
        return LocalStore(place / "store", follow_seconds=0)

    def age_stage(self, place: Path, view: str, version: str, days: int) -> None:
        age(place / "store" / view / ".staging" / version, days)


def test_open_store_reads_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for version, url in {"v1": f"file:{tmp_path}/s", "v2": f"file://{tmp_path}/s", "v3": "file:s"}.items():
        publish(feature_store.open_store(url), version)
    assert len(feature_store.open_store("file:s").versions("user_scores")) == 3
    for url in ("s3://bucket/s", "store", "file:", ""):
        with pytest.raises(InvalidInput, match="file:path"):
            feature_store.open_store(url)


def test_two_keys_with_one_hash_are_told_apart(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_digest", lambda data: len(data) // 2)
    keys = ["a", "b", "cc", "dd", "ee"]
    rows = {"p": [0, 2, 4], "q": [1, 3]}
    table = pa.record_batch({"key": keys, "value": list(range(5))})
    publish(store, "v1", {part: table.take(pa.array(which)) for part, which in rows.items()})
    reader = store.reader("user_scores")
    asked = ["ee", "ff", "b", "a", "dd", "cc", "g"]
    values = [4, None, 1, 0, 3, 2, None]
    assert reader.get_many(asked).column("value").to_pylist() == values
    assert [(reader.get(key) or {}).get("value") for key in asked] == values
    # The bytes of both keys that are found in their place, one after the other, are those of both that are asked for.
    assert reader.get_many(["", "acc"]).column("value").to_pylist() == [None, None]
    with pytest.raises(feature_store.DuplicateKey, match="'dd' is in part 'p' and again in part 'q'"):
        publish(store, "v2", {"p": table, "q": table.slice(3, 1)})


def test_two_numbers_with_one_hash_are_told_apart(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_digest", len)
    publish(store, "v1", {"p": pa.record_batch({"key": [7, -7, 9], "value": [0, 1, 2]})})
    reader = store.reader("user_scores")
    assert reader.get_many([9, 8, 7, -7]).column("value").to_pylist() == [2, None, 0, 1]
    assert reader.get_many([8]).column("value").to_pylist() == [None]


def test_lists_beside_wider_or_longer_ones_are_their_own(store: LocalStore) -> None:
    rows = [
        {"key": "a", "x": [1, 2], "y": [3, 4], "z": [5, 6], "w": [7]},
        {"key": "b", "x": [8], "y": [9], "z": [0], "w": []},
    ]
    types = {"x": pa.int32(), "y": pa.float64(), "z": pa.float32(), "w": pa.int32()}
    schema = pa.schema({"key": pa.string(), **{name: pa.list_(kind) for name, kind in types.items()}})
    publish(store, "v1", {"p": pa.RecordBatch.from_pylist(rows, schema=schema)})
    assert store.reader("user_scores").get_many(["b", "a"]).to_pylist() == rows[::-1]


def test_many_batches_of_a_part_are_found(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "_BATCH_BYTES", 2_000)
    keys = [f"k{number}" for number in range(500)]
    with store.begin("view", "v1").writer("p") as writer:
        for start in range(0, 500, 7):
            writer.write(pa.record_batch({"key": keys[start : start + 7], "value": range(start, min(start + 7, 500))}))
    store.commit("view", "v1", expect_parts=["p"], metadata={})
    order = np.random.default_rng(3).permutation(500)
    reader = store.reader("view")
    assert reader.get_many([keys[n] for n in order]).column("value").to_pylist() == order.tolist()
    assert all(reader.get(keys[n]) == {"key": keys[n], "value": n} for n in range(0, 500, 41))


def test_a_writer_left_behind_by_its_commit_changes_nothing(store: LocalStore, root: Path) -> None:
    stage = store.begin("view", "v1")
    late = stage.writer("p")
    late.__enter__()
    late.write(numbered(2, ["k"]))
    with stage.writer("p") as early:
        early.write(numbered(1, ["k"]))
    store.commit("view", "v1", expect_parts=["p"], metadata={})
    with pytest.raises(feature_store.UnknownVersion, match="committed or deleted meanwhile"):
        late.__exit__(None, None, None)
    assert store.reader("view").get("k") == {"key": "k", "value": 1}
    assert len(list((root / "view" / "v1").glob("*.arrow"))) == 1
    with pytest.raises(feature_store.UnknownVersion), stage.writer("q"):
        pass


def test_a_version_cannot_take_the_name_of_the_pointer(store: LocalStore) -> None:
    with pytest.raises(InvalidInput, match="name of the pointer"):
        store.begin("view", "CURRENT")


def test_a_reader_outrun_by_a_swap_opens_the_newer_version(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (1, 2):
        publish(store, f"v{value}", {"p": numbered(value, ["k"])})
    store.delete("user_scores", "v1")
    pointers = iter(["v1"])
    monkeypatch.setattr(
        reader_module, "load_pointer", lambda path: next(pointers, None) or manifest_module.load_pointer(path)
    )
    assert store.reader("user_scores").version == "v2"


def test_a_held_lock_is_waited_for_and_then_reported(store: LocalStore, root: Path) -> None:
    publish(store, "v1")
    hurried = LocalStore(root, lock_seconds=0.05)
    with (
        feature_store.local.disk.locked(root / "user_scores" / ".lock", 1),
        pytest.raises(feature_store.StoreUnavailable, match=r"\.lock has been held"),
    ):
        hurried.begin("user_scores", "v2")
    hurried.begin("user_scores", "v2")
