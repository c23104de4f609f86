"""What every feature store must do with a version that breaks a rule of its commit, and with one that is verified."""

from pathlib import Path

import pytest

from feature_store import Checks, RefusedVersion, Store, UnknownVersion, VersionExists
from tests.contracts.store_data import ROWS, batch, numbered, publish

#: v2 of these tests has one key of the three that are served.
HALF = Checks(min_ratio=0.5)


class StoreChecksContract:
    """The part of StoreContract about rules and verification."""

    def make_store(self, place: Path) -> Store:
        raise NotImplementedError

    def refuse(self, store: Store, version: str = "v2") -> None:
        with pytest.raises(RefusedVersion, match=rf"'{version}'.* min_ratio: 1 keys are 0\.333 of the 3 .*'v1'"):
            publish(store, version, {"all": batch(ROWS[:1])}, as_of="2014-03-19", checks=HALF)

    def test_a_version_within_its_rules_is_served(self, store: Store) -> None:
        checks = Checks(min_ratio=1.0, equal_lengths=False, lengths={"item_id": (0, 2)}, ranges={"score": (0, 1)})
        publish(store, "v1", checks=checks)
        publish(store, "v2", checks=checks)
        assert store.current("user_scores") == "v2"
        assert [(info.problem, info.refused) for info in store.versions("user_scores")] == [("", False)] * 2

    def test_a_refused_version_is_listed_and_never_served(self, store: Store) -> None:
        publish(store, "v1")
        reader = store.reader("user_scores")
        self.refuse(store)
        assert store.current("user_scores") == "v1"
        assert (reader.version, reader.error) == ("v1", None)
        assert [reader.get(row["user_id"]) for row in ROWS] == ROWS
        info = store.versions("user_scores")[1]
        assert (info.version, info.rows, info.refused) == ("v2", 1, True)
        assert info.as_of is not None
        assert info.problem.startswith("min_ratio: 1 keys are 0.333 of the 3 in the served 'v1'")
        for attempt in (store.rollback, store.snapshot, store.verify):
            with pytest.raises(RefusedVersion, match=r"min_ratio: 1 keys"):
                attempt("user_scores", "v2")
        assert store.current("user_scores") == "v1"

    def test_a_refused_version_is_never_gone_back_to(self, store: Store) -> None:
        publish(store, "v1")
        self.refuse(store)
        publish(store, "v3")
        assert store.rollback("user_scores").version == "v1"
        with pytest.raises(UnknownVersion):
            store.rollback("user_scores")

    def test_a_refused_version_is_checked_again_when_committed_again(self, tmp_path: Path) -> None:
        store = self.make_store(tmp_path)
        publish(store, "v1")
        self.refuse(store)
        again = {"expect_parts": ["all"], "metadata": {"as_of": "2014-03-19"}}
        with pytest.raises(RefusedVersion):
            store.commit("user_scores", "v2", **again, checks=HALF)
        assert store.stage("user_scores", "v2").parts() == ["all"]
        info = self.make_store(tmp_path).commit("user_scores", "v2", **again, checks=Checks(min_ratio=0.3))
        assert (info.rows, info.problem, info.refused) == (1, "", False)
        assert store.versions("user_scores")[1] == info
        assert store.reader("user_scores").version == "v2"
        with pytest.raises(VersionExists):
            store.begin("user_scores", "v2")

    def test_a_refused_version_is_written_again(self, store: Store) -> None:
        publish(store, "v1")
        self.refuse(store)
        publish(store, "v2", {"all": batch(ROWS[:2])}, checks=HALF)
        assert [info.problem for info in store.versions("user_scores")] == ["", ""]
        assert store.reader("user_scores").get("bob") == ROWS[1]

    def test_a_refused_version_is_deleted_and_pruned(self, store: Store) -> None:
        publish(store, "v1")
        for version in ("v2", "v3", "v4"):
            self.refuse(store, version)
        store.delete("user_scores", "v3")
        assert [info.version for info in store.versions("user_scores")] == ["v1", "v2", "v4"]
        # Refused ones take nobody's place, and the newest of them stay to be looked at.
        publish(store, "v5")
        assert store.prune("user_scores", 2) == []
        assert store.prune("user_scores", 1) == ["v1", "v2"]
        assert [info.version for info in store.versions("user_scores")] == ["v4", "v5"]

    def test_a_drift_is_told_from_what_is_served(self, store: Store) -> None:
        keys = [f"k{number}" for number in range(50)]
        publish(store, "v1", {"p": numbered(1, keys)})
        checks = Checks(max_drift={"value": 0.25})
        with pytest.raises(RefusedVersion, match=r"max_drift: 'value' has a PSI of .* with 2\. "):
            publish(store, "v2", {"p": numbered(2, keys)}, checks=checks)
        publish(store, "v3", {"p": numbered(1, keys[:30])}, checks=checks)
        assert store.current("user_scores") == "v3"

    def test_a_version_that_a_reader_has_open_is_not_pruned(self, store: Store) -> None:
        for number in (1, 2, 3):
            publish(store, f"v{number}", {"p": numbered(number, ["k"])})
        held = store.snapshot("user_scores", "v1")
        assert store.prune("user_scores", 1) == ["v2"]
        assert held.get("k") == {"key": "k", "value": 1}
        del held
        assert store.prune("user_scores", 1) == ["v1"]

    def test_views_are_listed(self, store: Store) -> None:
        assert store.views() == []
        publish(store, "v1", view="b")
        store.begin("a", "v1")
        assert store.views() == ["a", "b"]

    def test_views_live_side_by_side(self, store: Store) -> None:
        publish(store, "v1")
        publish(store, "v7", {"p": numbered(7, ["ann"])}, view="other")
        assert store.reader("user_scores").version == "v1"
        assert store.reader("other").get("ann") == {"key": "ann", "value": 7}

    def test_a_whole_version_is_verified(self, store: Store) -> None:
        publish(store, "v1", {"p": batch(ROWS[:1]), "q": batch(ROWS[1:]), "r": batch([])})
        publish(store, "v2", {"p": numbered(2, ["k"])})
        one, two = store.versions("user_scores")
        assert store.verify("user_scores", "v1") == one
        assert store.verify("user_scores") == two
        for view, version in (("user_scores", "v9"), ("other", None)):
            with pytest.raises(UnknownVersion):
                store.verify(view, version)
