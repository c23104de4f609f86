"""A store belongs to the first owner who begins a version in it, in every backend."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

import feature_store.local.store as store_module
from feature_store import ForeignStore, Store, open_store
from feature_store.local.layout import load_owner
from tests.contracts.store_data import numbered

Owned = Callable[[str | None], Store]


@pytest.fixture(params=["local", "redis"])
def owned(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Owned]:
    """Opens one and the same store for an owner."""
    if request.param == "local":
        yield lambda owner: open_store(f"file:{tmp_path}/store", owner=owner)
        return
    prefix, url = f"test-owner-{secrets.token_hex(4)}:", request.getfixturevalue("redis_url")
    yield lambda owner: open_store(f"{url}{'&' if '?' in url else '?'}prefix={prefix}", owner=owner)
    with redis.Redis.from_url(url) as client:
        client.delete(*client.scan_iter(f"{prefix}*"))


def publish(store: Store, version: str) -> None:
    with store.begin("scores", version).writer("all") as writer:
        writer.write(numbered(1, ["a", "b"]))
    store.commit("scores", version, expect_parts=["all"], metadata={})


def test_nobody_but_its_owner_does_anything_in_a_store(owned: Owned) -> None:
    publish(owned("shop"), "v1")
    publish(owned("shop"), "v2")
    other = owned("news")
    for act in (
        lambda: other.begin("scores", "v3"),
        lambda: other.begin("others", "v1"),
        lambda: other.stage("scores", "v3"),
        lambda: other.commit("scores", "v3", expect_parts=["all"], metadata={}),
        lambda: other.rollback("scores"),
        lambda: other.delete("scores", "v1"),
        lambda: other.prune("scores", 1),
        lambda: other.current("scores"),
    ):
        with pytest.raises(ForeignStore, match=r"belongs to 'shop', and this is 'news'; give each"):
            act()
    assert [info.version for info in owned("shop").versions("scores")] == ["v1", "v2"]
    assert owned(None).views() == ["scores"]


def test_who_gives_no_owner_is_not_asked(owned: Owned) -> None:
    publish(owned("shop"), "v1")
    assert owned(None).reader("scores").get("a") is not None
    publish(owned(None), "v2")
    assert owned("shop").current("scores") == "v2"


def test_a_store_without_an_owner_goes_to_the_first_one(owned: Owned) -> None:
    publish(owned(None), "v1")
    assert owned("news").current("scores") == "v1", "looking claims nothing"
    publish(owned("shop"), "v2")
    with pytest.raises(ForeignStore):
        owned("news").current("scores")


def test_of_many_who_begin_at_once_one_owns(owned: Owned) -> None:
    def begin(name: str) -> str | None:
        try:
            owned(name).begin("scores", "v1")
        except ForeignStore:
            return None
        return name

    with ThreadPoolExecutor(8) as pool:
        winners = [name for name in pool.map(begin, [f"p{number}" for number in range(8)]) if name is not None]
    assert len(winners) == 1


def test_who_lost_the_race_between_looking_and_claiming_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several threads reach each order only by luck, so that the order in question is made here."""
    url = f"file:{tmp_path}/store"
    looked: list[str | None] = []

    def look(root: Path) -> str | None:
        looked.append(owner := load_owner(root))
        if len(looked) == 1:
            monkeypatch.setattr(store_module, "load_owner", load_owner)
            open_store(url, owner="news").begin("scores", "v1")
        return owner

    monkeypatch.setattr(store_module, "load_owner", look)
    with pytest.raises(ForeignStore, match="belongs to 'news'"):
        open_store(url, owner="shop").begin("scores", "v1")
    assert looked == [None]
