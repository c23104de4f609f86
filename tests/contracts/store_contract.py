"""What every feature store must do. A backend's test class inherits this and says how to make a store."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_store import (
    DuplicateKey,
    IncompleteVersion,
    InvalidInput,
    OlderVersion,
    Store,
    UnknownVersion,
    VersionExists,
)
from feature_store.schema import portable_schema
from tests.contracts.store_checks_contract import StoreChecksContract
from tests.contracts.store_data import ROWS, SCHEMA, batch, numbered, publish, write_all
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


class StoreContract(StoreVersionsContract, StoreChecksContract):
    """Inherit it and define make_store; every test then runs on that backend."""

    # Reading

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

    # Staging and committing

    def test_nothing_is_served_before_the_commit(self, store: Store) -> None:
        publish(store, "v1")
        with store.begin("user_scores", "v2").writer("all") as writer:
            writer.write(batch(ROWS[:1]))
        assert store.current("user_scores") == "v1"
        assert [info.version for info in store.versions("user_scores")] == ["v1"]
        with pytest.raises(UnknownVersion):
            store.snapshot("user_scores", "v2")

    def test_parts_are_written_from_elsewhere_and_replaced_whole(self, tmp_path: Path) -> None:
        store = self.make_store(tmp_path)
        with pytest.raises(UnknownVersion):
            store.stage("user_scores", "v1")
        store.begin("user_scores", "v1")
        for rows in (ROWS, ROWS[:2]):
            with self.make_store(tmp_path).stage("user_scores", "v1").writer("p") as writer:
                for row in rows:
                    writer.write(batch([row]))
        assert store.stage("user_scores", "v1").parts() == ["p"]
        info = store.commit("user_scores", "v1", expect_parts=["p"], metadata={})
        assert info.rows == 2
        assert store.reader("user_scores").get("新闻") is None

    def test_parts_are_written_side_by_side(self, tmp_path: Path) -> None:
        parts = [f"p{number}" for number in range(8)]

        def write(part: str) -> None:
            with self.make_store(tmp_path).begin("view", "v1").writer(part) as writer:
                for number in range(5):
                    writer.write(numbered(1, [f"{part}-{number}"]))

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(write, parts))
        store = self.make_store(tmp_path)
        assert store.stage("view", "v1").parts() == parts
        assert store.commit("view", "v1", expect_parts=parts, metadata={}).rows == 40

    def test_publishers_at_once_take_turns(self, tmp_path: Path) -> None:
        versions = [f"v{number}" for number in range(8)]

        def run(version: str) -> None:
            publish(self.make_store(tmp_path), version, {"p": numbered(int(version[1:]), ["k"])}, view="view")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(run, versions))
        store = self.make_store(tmp_path)
        infos = store.versions("view")
        assert [info.sequence for info in infos] == list(range(1, 9))
        assert {info.version for info in infos} == set(versions)
        assert store.current("view") == infos[-1].version

    def test_begin_again_keeps_the_parts_that_are_there(self, store: Store) -> None:
        for part in ("p1", "p2"):
            with store.begin("user_scores", "v1").writer(part) as writer:
                writer.write(batch(ROWS[:1] if part == "p1" else ROWS[1:]))
        assert store.commit("user_scores", "v1", expect_parts=["p1", "p2"], metadata={}).rows == len(ROWS)

    def test_a_writer_that_fails_leaves_no_part(self, store: Store) -> None:
        stage = store.begin("user_scores", "v1")
        with pytest.raises(InvalidInput), stage.writer("p") as writer:
            write_all(writer, batch(ROWS), pa.record_batch({"user_id": ["a"]}))
        assert stage.parts() == []
        with pytest.raises(InvalidInput, match="nothing was written"), stage.writer("p"):
            pass
        with pytest.raises(IncompleteVersion, match="'p'"):
            store.commit("user_scores", "v1", expect_parts=["p"], metadata={})

    def test_missing_and_unexpected_parts_are_named(self, store: Store) -> None:
        stage = store.begin("user_scores", "v1")
        for part, rows in (("p1", ROWS[:1]), ("p2", ROWS[1:])):
            with stage.writer(part) as writer:
                writer.write(batch(rows))
        with pytest.raises(IncompleteVersion, match=r"lacks the parts.*p3"):
            store.commit("user_scores", "v1", expect_parts=["p1", "p2", "p3"], metadata={})
        with pytest.raises(IncompleteVersion, match=r"has the parts \['p2'\]"):
            store.commit("user_scores", "v1", expect_parts=["p1"], metadata={})
        assert store.current("user_scores") is None
        store.commit("user_scores", "v1", expect_parts=["p1", "p2"], metadata={})
        assert store.current("user_scores") == "v1"

    @pytest.mark.parametrize("parts", [{"p": [0, 1, 0]}, {"p": [0, 1], "q": [2, 0]}])
    def test_a_key_that_occurs_twice_is_refused(self, store: Store, parts: dict[str, list[int]]) -> None:
        with pytest.raises(DuplicateKey, match="'ann'"):
            publish(store, "v1", {name: batch([ROWS[n] for n in rows]) for name, rows in parts.items()})
        assert store.current("user_scores") is None

    def test_null_keys_and_foreign_schemas_are_refused(self, store: Store) -> None:
        stage = store.begin("user_scores", "v1")
        with pytest.raises(InvalidInput, match=r"row 1 .* is null"), stage.writer("p") as writer:
            writer.write(pa.record_batch({"user_id": ["a", None]}))
        with pytest.raises(InvalidInput, match="began with the columns"), stage.writer("p") as writer:
            write_all(writer, batch(ROWS), pa.record_batch({"user_id": ["a"]}))
        for bad in ({"x": [1.5]}, {}):
            with pytest.raises(InvalidInput, match="key"), stage.writer("p") as writer:
                writer.write(pa.record_batch(bad))
        with pytest.raises(IncompleteVersion, match="other columns"):
            publish(store, "v1", {"p": batch(ROWS), "q": pa.record_batch({"user_id": ["a"]})})

    def test_an_empty_part_is_fine_and_an_empty_version_is_not(self, store: Store) -> None:
        with pytest.raises(IncompleteVersion, match="no rows"):
            publish(store, "v1", {"p": batch([])})
        publish(store, "v1", {"p": batch([]), "q": batch(ROWS), "r": batch([])})
        assert store.reader("user_scores").get("ann") == ROWS[0]

    def test_a_committed_version_never_changes(self, store: Store) -> None:
        publish(store, "v1")
        with pytest.raises(VersionExists, match="v1"):
            store.begin("user_scores", "v1")
        with pytest.raises(VersionExists, match="v1"):
            store.stage("user_scores", "v1")

    def test_a_commit_asked_for_again_is_answered_again(self, store: Store) -> None:
        publish(store, "v1", as_of="2014-03-18")
        again = store.commit("user_scores", "v1", expect_parts=["all"], metadata={"as_of": "2014-03-18"})
        assert again == store.versions("user_scores")[0]
        with pytest.raises(VersionExists):
            store.commit("user_scores", "v1", expect_parts=["other"], metadata={"as_of": "2014-03-18"})
        publish(store, "v2")
        store.rollback("user_scores")
        with pytest.raises(VersionExists):
            store.commit("user_scores", "v2", expect_parts=["all"], metadata={})
        assert store.current("user_scores") == "v1"

    def test_older_data_never_follows_newer(self, store: Store) -> None:
        publish(store, "v1", as_of="2014-03-18T05:00+00:00")
        with pytest.raises(OlderVersion, match="before the served 'v1'"):
            publish(store, "v2", as_of="2014-03-18T05:00+01:00")
        assert store.current("user_scores") == "v1"
        publish(store, "v3", as_of="2014-03-18T05:00")
        with pytest.raises(InvalidInput, match="yesterday"):
            publish(store, "v4", as_of="yesterday")

    def test_names_that_could_leave_their_place_are_refused(self, store: Store) -> None:
        for name in ("", ".", "..", "../x", "a/b", "/x", ".hidden", "a\x00b", "a\n", "x" * 200):
            with pytest.raises(InvalidInput):
                store.begin("view", name)
            with pytest.raises(InvalidInput):
                store.begin(name, "v1")
            with pytest.raises(InvalidInput):
                store.begin("view", "v1").writer(name)
