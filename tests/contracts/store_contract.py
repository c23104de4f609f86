"""What every feature store must do. A backend's test class inherits this and says how to make a store."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store import InvalidInput, Store, UnknownVersion
from feature_store.schema import portable_schema
from tests.contracts.store_checks_contract import StoreChecksContract
from tests.contracts.store_commit_contract import StoreCommitContract
from tests.contracts.store_data import ROWS, SCHEMA, batch, publish, write_all
from tests.contracts.store_versions_contract import StoreVersionsContract

KEY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = {
    "ids": st.none() | st.lists(st.text("abc", max_size=2), max_size=4),
    "list": st.none() | st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=4),
    "half": st.lists(st.sampled_from([0.0, -1.5, 2.25]), min_size=3, max_size=3),
    "pair": st.none() | st.lists(st.sampled_from([0.0, -1.5, 2.25]), min_size=2, max_size=2),
    "two": st.lists(st.text("abc", max_size=2), min_size=2, max_size=2),
    "level": st.lists(st.integers(-9, 9), min_size=2, max_size=2),
    "number": st.none() | st.floats(width=32, allow_nan=False),
}
VALUE_TYPES = {
    "ids": pa.list_(pa.string()),
    "list": pa.list_(pa.string()),
    "half": pa.list_(pa.float16(), 3),
    "pair": pa.list_(pa.float32(), 2),
    "two": pa.list_(pa.string()),
    "level": pa.list_(pa.int32()),
    "lengths": pa.list_(pa.float32()),
    "number": pa.float32(),
}


def _with_lengths(values: dict[str, Any]) -> dict[str, Any]:
    """One list more, which stands beside that of ids."""
    return values | {"lengths": values["ids"] and [float(len(text)) for text in values["ids"]]}


class StoreContract(StoreVersionsContract, StoreChecksContract, StoreCommitContract):
    """Inherit it and define make_store; every test then runs on that backend. What is here is about reading."""

    def test_rows_come_back_as_python_values(self, store: Store) -> None:
        publish(store, "v1")
        reader = store.reader("user_scores")
        assert [reader.get(row["user_id"]) for row in ROWS] == ROWS

    def test_an_unknown_key_is_not_an_empty_list(self, store: Store) -> None:
        publish(store, "v1")
        reader = store.reader("user_scores")
        assert reader.get("nobody") is None
        assert reader.get("") is None
        bob = reader.get("bob")
        assert bob is not None
        assert bob["item_id"] == []
        answer = reader.get_many(["nobody", "bob"])
        assert answer.to_pylist() == [dict.fromkeys(SCHEMA.names), ROWS[1]]

    def test_many_keys_come_in_the_order_asked(self, store: Store) -> None:
        publish(store, "v1", {"one": batch(ROWS[:1]), "two": batch(ROWS[1:])})
        asked = ["新闻", "nobody", "ann", "bob", "ann"]
        answer = store.reader("user_scores").get_many(asked)
        assert answer.schema.types == portable_schema(SCHEMA).types
        assert answer.to_pylist() == [ROWS[2], dict.fromkeys(SCHEMA.names), ROWS[0], ROWS[1], ROWS[0]]
        assert store.reader("user_scores").get_many([]).num_rows == 0
        assert store.reader("user_scores").get_many(["no", "none"]).to_pylist() == [dict.fromkeys(SCHEMA.names)] * 2

    def test_a_version_is_read_whole(self, store: Store) -> None:
        publish(store, "v1", {"one": batch(ROWS[:1]), "none": batch([]), "two": batch(ROWS[1:])})
        snapshot = store.snapshot("user_scores")
        rows = [row for rows in snapshot.batches() for row in rows.to_pylist()]
        assert sorted(rows, key=lambda row: row["user_id"]) == ROWS
        assert all(rows.schema == snapshot.schema for rows in snapshot.batches())

    # Each backend's class runs it, which Hypothesis takes for a mistake.
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
    @given(data=st.data(), integers=st.booleans(), parts=st.integers(1, 3))
    def test_whatever_is_published_comes_back(self, data: st.DataObject, integers: bool, parts: int) -> None:
        keys = st.integers(-(2**63), 2**63 - 1) if integers else KEY_TEXT
        values = st.fixed_dictionaries(VALUES).map(_with_lengths)
        table = data.draw(st.dictionaries(keys, values, min_size=1, max_size=12))
        asked = data.draw(st.lists(st.sampled_from(list(table)) | keys, max_size=20))
        schema = pa.schema({"key": pa.int64() if integers else pa.string(), **VALUE_TYPES})
        rows = [{"key": key, **values} for key, values in table.items()]
        with tempfile.TemporaryDirectory() as place:
            store = self.make_store(Path(place))
            publish(store, "v1", {f"p{n}": batch(rows[n::parts], schema) for n in range(parts)}, view="any")
            reader = store.reader("any")
            expected = [{"key": key, **table[key]} if key in table else None for key in asked]
            assert [reader.get(key) for key in asked] == expected
            many = [row if row["key"] is not None else None for row in reader.get_many(asked).to_pylist()]
            assert many == expected

    def test_frames_of_polars_are_taken_as_they_are(self, store: Store) -> None:
        frame = pl.DataFrame({"user_id": ["ann", "bob"], "item_id": [["x"], []], "score": [[1.5], []]})
        publish(store, "v1", {"all": frame.to_arrow().to_batches()[0]})
        reader = store.reader("user_scores")
        assert [reader.get(key) for key in ("ann", "bob")] == frame.to_dicts()

    def test_a_key_of_the_wrong_type_is_refused(self, store: Store) -> None:
        publish(store, "v1")
        publish(store, "v1", {"all": pa.record_batch({"id": [1, 2], "x": [3, 4]})}, view="numbers")
        for view, key in (("user_scores", 1), ("user_scores", "\ud800"), ("numbers", "1"), ("numbers", True)):
            with pytest.raises(InvalidInput):
                store.reader(view).get(key)
        for view, keys in (("user_scores", [1]), ("user_scores", ["a", None]), ("numbers", [2**63])):
            with pytest.raises(InvalidInput):
                store.reader(view).get_many(keys)

    def test_a_view_without_a_version_says_so(self, store: Store) -> None:
        with pytest.raises(UnknownVersion, match="user_scores"):
            store.reader("user_scores")
        assert store.current("user_scores") is None
        assert store.versions("user_scores") == []

    def test_a_row_gives_what_is_asked_of_it(self, store: Store) -> None:
        publish(store, "v1")
        reader = store.reader("user_scores")
        ann, bob, news = (reader.get(row["user_id"]) for row in ROWS)
        assert ann is not None
        assert bob is not None
        assert news is not None
        assert ann.names == tuple(SCHEMA.names)
        assert (ann.first("item_id", 1), ann.first("item_id", 9), ann.first("score", 1)) == (["x"], ["x", "y"], [0.5])
        assert (bob.first("item_id", 1), news.first("score", 1)) == ([], None)
        scores = ann.numpy("score")
        assert (scores.dtype, scores.tolist(), scores.flags.writeable) == (np.float32, [0.5, 0.25], False)
        assert news.numpy("score") is None
        for refused in (lambda: ann.first("age", 1), lambda: ann.numpy("age"), lambda: ann.numpy("item_id")):
            with pytest.raises(InvalidInput):
                refused()
        with pytest.raises(KeyError):
            ann["nothing"]

    def test_ids_are_kept_once(self, store: Store) -> None:
        # Eight bytes of a number and of a code, and what a row takes.
        ids = [f"an item with a rather long id, {number:05d}" for number in range(500)]
        rows = [{"user_id": f"u{number}", "item_id": ids, "score": [0.5] * 500, "age": 1} for number in range(100)]
        publish(store, "v1", {"one": batch(rows[:50]), "two": batch(rows[50:])})
        assert store.versions("user_scores")[0].bytes < 100 * 500 * 8 * 1.25
        assert store.reader("user_scores").get("u77") == rows[77]

    def test_parts_need_not_know_the_same_ids(self, store: Store) -> None:
        rows = [{"user_id": f"u{n}", "item_id": [f"i{n}", f"i{n + 1}"], "score": None, "age": n} for n in range(6)]
        stage = store.begin("user_scores", "v1")
        for part in range(2):
            with stage.writer(f"p{part}") as writer:
                write_all(writer, *(batch(rows[n : n + 1]) for n in range(part, 6, 2)))
        store.commit("user_scores", "v1", expect_parts=["p0", "p1"], metadata={})
        reader = store.reader("user_scores")
        assert [reader.get(row["user_id"]) for row in rows] == rows
        assert reader.get_many(["u5", "no", "u0", "u2", "u5"]).to_pylist() == [
            rows[5], dict.fromkeys(SCHEMA.names), rows[0], rows[2], rows[5],
        ]  # fmt: skip
