"""How the three views are followed together while a publication swaps one after the other."""

import pytest

from feature_store import open_store
from recsys_text.service.views import Views
from tests.contracts.store_data import numbered
from tests.service.conftest import ITEMS, READERS, commit


@pytest.fixture
def views(folder):
    return Views(f"file:{folder}")


def state(views):
    """Versions of the pinned scores, user vectors and the model of the item vectors; whether they are matched."""
    pinned = views.pinned()
    users = None if pinned.users is None else pinned.users.info.version
    return pinned.served.version, users, None if pinned.items is None else pinned.items.model, pinned.matched


def test_vectors_of_another_model_wait_for_the_scores(views, publish, publish_items, publish_users, publish_all):
    publish_all("v1", model="7")
    assert views.refresh()
    assert state(views) == ("v1", "v1", "7", True)
    for publish_next in (publish_items, publish_users):
        publish_next("v2", model="8")
        assert views.refresh()
        assert state(views) == ("v1", "v1", "7", True)
    publish("v2", model="8")
    assert views.refresh()
    assert state(views) == ("v2", "v2", "8", True)


def test_vectors_of_the_same_model_are_taken_at_once(views, publish_all, publish_items, publish_users):
    publish_all("v1")
    views.refresh()
    publish_items("v2", {**ITEMS, "newest": ([0, 0, 0, 1], None, None)})
    views.refresh()
    assert "newest" in views.pinned().items.ids
    assert state(views) == ("v1", "v1", "7", True)
    publish_users("v2", READERS)
    views.refresh()
    assert state(views) == ("v1", "v2", "7", True)


def test_scores_alone_are_served_and_vectors_that_come_later_are_taken(views, publish, publish_items, publish_users):
    publish("v1", model="7")
    assert views.refresh()
    assert state(views) == ("v1", None, None, False)
    assert views.problem is None
    publish_items("v1")
    views.refresh()
    assert state(views) == ("v1", None, "7", False)
    publish_users("v1")
    views.refresh()
    assert state(views) == ("v1", "v1", "7", True)


def test_vectors_of_two_models_are_never_combined(views, publish, publish_items, publish_users):
    publish_items("v1", model="8")
    publish_users("v1", model="7")
    publish("v1", model="7")
    views.refresh()
    assert state(views) == ("v1", "v1", "8", False)


def test_scores_that_roll_back_take_their_vectors_along_when_those_follow(views, folder, publish_all):
    publish_all("v1", model="7")
    publish_all("v2", model="8")
    views.refresh()
    store = open_store(f"file:{folder}")
    store.rollback("user_scores")
    views.refresh()
    assert state(views) == ("v1", "v2", "8", False), "matches of one model are not ranked with scores of another"
    store.rollback("item_vectors")
    views.refresh()
    assert state(views) == ("v1", "v2", "8", False)
    store.rollback("user_vectors")
    views.refresh()
    assert state(views) == ("v1", "v1", "7", True)


def test_a_view_of_vectors_that_does_not_fit_is_reported_and_the_scores_are_served(
    views, folder, publish_all, publish_items
):
    publish_all("v1")
    views.refresh()
    before = views.pinned().items
    publish_items("v2", match={"level": 1})
    assert not views.refresh()
    assert "says match = '{\"level\": 1}'" in views.problem
    assert views.pinned().items is before
    publish_items("v3")
    assert views.refresh()
    assert views.problem is None
    assert views.pinned().items is not before


def test_a_view_without_the_columns_is_named(views, folder, publish):
    publish("v1")
    commit(folder, "item_vectors", "v1", numbered(1, ["i1"]), {})
    assert not views.refresh()
    assert "item_vectors has the columns ['key', 'value']" in views.problem
    assert state(views) == ("v1", None, None, False)


def test_items_without_a_match_are_not_matched(views, publish, publish_items, publish_users):
    publish_items("v1", match=None)
    publish_users("v1")
    publish("v1", model="7")
    assert views.refresh()
    assert state(views) == ("v1", "v1", "7", False)


def test_scores_that_tell_no_model_are_matched(views, publish, publish_items, publish_users):
    publish_items("v1")
    publish_users("v1")
    publish("v1")
    assert views.refresh()
    assert state(views) == ("v1", "v1", "7", True)


def test_each_view_of_scores_is_matched_where_the_vectors_are_of_its_model(folder, publish, publish_all):
    publish_all("v1", model="7")
    publish("v1", view="same", model="7")
    publish("v1", view="other", model="8")
    views = Views(f"file:{folder}", others=["same", "other"])
    assert views.refresh()
    assert views.pinned().matched
    assert views.pinned().with_scores("same").matched
    assert not views.pinned().with_scores("other").matched
    publish("v2", model="8")
    views.refresh()
    assert not views.pinned().matched
    assert views.pinned().with_scores("same").matched
