"""How vectors go back with scores where not all of them are whole."""

from pathlib import Path

import pytest

from feature_store import LocalStore, StoreUnavailable
from recsys_text.publications import ITEMS, SCORES, USERS, go_with, roll_back
from tests.contracts.store_data import numbered

VIEWS = (ITEMS, USERS, SCORES)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Two publications of model 1, then one of model 2."""
    store = LocalStore(tmp_path / "store")
    for version, model in (("v1", "1"), ("v2", "1"), ("v3", "2")):
        for view in VIEWS:
            with store.begin(view, version).writer("all") as writer:
                writer.write(numbered(1, ["a", "b"]))
            store.commit(view, version, expect_parts=["all"], metadata={"model_version": model})
    return store


def damage(store: LocalStore, view: str, version: str) -> None:
    (part,) = (store.root / view / version).glob("*.arrow")
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)


def served(store: LocalStore) -> list[str | None]:
    return [store.current(view) for view in VIEWS]


def test_damaged_vectors_are_passed_over(store: LocalStore) -> None:
    damage(store, ITEMS, "v1")
    moves = roll_back(store, "v1")
    assert [(move.view, move.after) for move in moves] == [(SCORES, "v1"), (ITEMS, "v2"), (USERS, "v1")]
    assert served(store) == ["v2", "v1", "v1"]


def test_vectors_stay_where_all_that_fit_are_damaged(store: LocalStore) -> None:
    for version in ("v1", "v2"):
        damage(store, ITEMS, version)
    moves = roll_back(store, "v1")
    assert [(move.view, move.before, move.after) for move in moves][1:] == [(ITEMS, "v3", "v3"), (USERS, "v3", "v1")]
    assert served(store) == ["v3", "v1", "v1"]


def test_a_view_that_fails_keeps_no_other_from_going_back(store: LocalStore) -> None:
    lock = store.root / ITEMS / ".lock"
    lock.unlink()
    lock.mkdir()
    with pytest.raises(StoreUnavailable):
        roll_back(store, "v1")
    assert served(store) == ["v3", "v1", "v1"]


@pytest.mark.parametrize(("first", "after"), [(None, "v1"), ("v2", "v2"), ("v3", "v1"), ("gone", "v1")])
def test_the_first_choice_counts_where_it_is_of_the_model(store: LocalStore, first: str | None, after: str) -> None:
    scores = store.rollback(SCORES, "v1")
    assert go_with(store, ITEMS, scores, first=first) == after
    assert store.current(ITEMS) == after
