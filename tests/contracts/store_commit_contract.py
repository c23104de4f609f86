"""What every feature store must do with the parts of a version until they are committed."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest

from feature_store import (
    DuplicateKey,
    IncompleteVersion,
    InvalidInput,
    OlderVersion,
    Store,
    UnknownVersion,
    VersionExists,
)
from tests.contracts.store_data import ROWS, batch, numbered, publish, write_all


class StoreCommitContract:
    """The part of StoreContract about staging and committing."""

    def make_store(self, place: Path) -> Store:
        raise NotImplementedError

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
