"""What every feature store must do with its versions, and its readers with a swap."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from feature_store import Checks, InvalidInput, RefusedVersion, Store, UnknownVersion, VersionServed
from tests.contracts.store_data import numbered, publish


class StoreVersionsContract:
    """The part of StoreContract about versions, rollback and following."""

    def make_store(self, place: Path) -> Store:
        """A store that lives in `place`; called again with the same place it must find what is there.

        Its readers must look for a swap at every call.
        """
        raise NotImplementedError

    @pytest.fixture
    def store(self, tmp_path: Path) -> Store:
        return self.make_store(tmp_path)

    def test_what_a_version_says_of_itself(self, store: Store) -> None:
        publish(store, "b", as_of="2014-03-18")
        publish(store, "a", as_of="2014-03-19")
        infos = store.versions("user_scores")
        assert [(info.version, info.rows, info.problem) for info in infos] == [("b", 3, ""), ("a", 3, "")]
        assert infos[0].sequence < infos[1].sequence
        assert infos[0].created_at <= infos[1].created_at
        assert infos[1].as_of is not None
        assert infos[1].as_of.isoformat() == "2014-03-19T00:00:00+00:00"
        reader = store.reader("user_scores")
        assert (reader.info, reader.version, reader.created_at) == (infos[1], "a", infos[1].created_at)

    def test_rollback_goes_to_the_former_or_the_named_version(self, store: Store) -> None:
        for number in (1, 2, 3):
            publish(store, f"v{number}", {"p": numbered(number, ["k"])})
        reader = store.reader("user_scores")
        for target, expected in ((None, 2), (None, 1), ("v3", 3)):
            assert store.rollback("user_scores", target).version == f"v{expected}"
            assert store.current("user_scores") == f"v{expected}"
            assert reader.get("k") == {"key": "k", "value": expected}
        store.rollback("user_scores", "v1")
        with pytest.raises(UnknownVersion, match="before 'v1'"):
            store.rollback("user_scores")
        with pytest.raises(UnknownVersion, match="v9"):
            store.rollback("user_scores", "v9")
        assert store.current("user_scores") == "v1"

    def test_delete_spares_the_served_version(self, store: Store) -> None:
        publish(store, "v1")
        publish(store, "v2")
        store.begin("user_scores", "v3")
        with pytest.raises(VersionServed, match="v2"):
            store.delete("user_scores", "v2")
        store.delete("user_scores", "v1")
        store.delete("user_scores", "v3")
        for gone in ("v1", "v3"):
            with pytest.raises(UnknownVersion):
                store.delete("user_scores", gone)
        assert [info.version for info in store.versions("user_scores")] == ["v2"]
        publish(store, "v1")
        assert store.current("user_scores") == "v1"

    def test_prune_keeps_the_newest_and_the_served(self, store: Store) -> None:
        for number in (1, 2, 3, 4):
            publish(store, f"v{number}")
        store.rollback("user_scores", "v1")
        assert store.prune("user_scores", 2) == ["v2"]
        assert [info.version for info in store.versions("user_scores")] == ["v1", "v3", "v4"]
        assert store.prune("user_scores", 5) == []
        assert store.prune("user_scores", 1, spare={"v3", "v9"}) == []
        with pytest.raises(InvalidInput):
            store.prune("user_scores", 0)

    def age_stage(self, place: Path, view: str, version: str, days: int) -> None:
        """Lets so many days pass since anybody wrote to a staged version."""
        raise NotImplementedError

    def test_what_is_staged_says_since_when_nobody_writes_to_it(self, tmp_path: Path) -> None:
        store = self.make_store(tmp_path)
        assert store.staged("view") == {}
        publish(store, "v1", {"p": numbered(1, ["k"])}, view="view")
        for version in ("v2", "v3"):
            with store.begin("view", version).writer("p") as writer:
                writer.write(numbered(2, ["k"]))
        with pytest.raises(RefusedVersion):
            publish(store, "v4", {"p": numbered(4, ["k"])}, view="view", checks=Checks(min_ratio=2.0))
        self.age_stage(tmp_path, "view", "v2", days=3)
        old, new = timedelta(days=3), timedelta(hours=1)
        staged = store.staged("view")
        assert list(staged) == ["v2", "v3"]
        assert staged["v2"] >= old
        assert staged["v3"] < new
        # A writer that has only begun is at work.
        with store.stage("view", "v2").writer("q") as writer:
            assert self.make_store(tmp_path).staged("view")["v2"] < new
            writer.write(numbered(2, ["l"]))
        store.commit("view", "v2", expect_parts=["p", "q"], metadata={})
        store.delete("view", "v3")
        assert store.staged("view") == {}

    def test_a_snapshot_stays_while_the_reader_follows(self, store: Store) -> None:
        publish(store, "v1", {"p": numbered(1, ["k"])})
        reader = store.reader("user_scores")
        pinned = reader.snapshot()
        assert reader.refresh() is False
        publish(store, "v2", {"p": numbered(2, ["k", "new"])})
        assert reader.refresh() is True
        store.delete("user_scores", "v1")
        assert (pinned.get("k"), pinned.get("new")) == ({"key": "k", "value": 1}, None)
        assert (reader.get("k"), reader.error) == ({"key": "k", "value": 2}, None)
        assert store.snapshot("user_scores", "v2").info == reader.info

    def test_readers_answer_through_swaps_without_a_mixed_version(self, store: Store) -> None:
        swaps = 50
        keys = [f"k{number}" for number in range(40)]
        publish(store, "v0", {"p": numbered(0, keys[::2]), "q": numbered(0, keys[1::2])})
        reader = store.reader("user_scores")
        done = threading.Event()
        seen: list[list[int]] = [[], []]
        failures: list[BaseException] = []

        def read(values: list[int]) -> None:
            try:
                while not done.is_set():
                    answer = set(reader.get_many(keys).column(1).to_pylist())
                    assert len(answer) == 1, f"mixed: {answer}"
                    values.append(answer.pop())
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=read, args=(values,)) for values in seen]
        for thread in threads:
            thread.start()
        try:
            for number in range(1, swaps + 1):
                publish(store, f"v{number}", {"p": numbered(number, keys[::2]), "q": numbered(number, keys[1::2])})
                store.prune("user_scores", 1)
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert failures == []
        for values in seen:
            assert values == sorted(values)
        assert len({*seen[0], *seen[1]}) > 2
        assert reader.get("k0") == {"key": "k0", "value": swaps}
