"""Replicas and their promotion: no version by halves, and an error that says where to go. Clusters are refused."""

import re
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from feature_store import InvalidInput, StoreError, StoreUnavailable, UnknownVersion
from feature_store.redis import RedisStore
from tests.feature_store.publisher import KEYS
from tests.feature_store.redis_publisher import commands, keys_after_two, publish
from tests.feature_store.redis_server import RedisServer, free_port
from tests.feature_store.served import served


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[RedisServer]]:
    """A primary and its replica."""
    started = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        started.append(RedisServer(tmp_path / name, "repl-diskless-sync-delay 0"))
    started[1].follow(started[0])
    yield started
    for server in started:
        server.kill()


# Replicas


def test_a_replica_is_read_and_refuses_publishers(servers: list[RedisServer]) -> None:
    primary, replica = servers
    publish(primary.url, "v1", 1)
    replica.catch_up(primary)
    store = RedisStore(replica.url, follow_seconds=0)
    reader = store.reader("view")
    assert reader.get("k3") == {"key": "k3", "value": 1}
    assert reader.get("nobody") is None
    assert store.verify("view").version == "v1"
    for write in (
        lambda: store.begin("view", "v2"),
        lambda: store.rollback("view", "v1"),
        lambda: publish(replica.url, "v2", 2),
    ):
        with pytest.raises(StoreUnavailable, match=r"read only replica.*give the address of the primary"):
            write()
    publish(primary.url, "v2", 2)
    replica.catch_up(primary)
    assert reader.get("k3") == {"key": "k3", "value": 2}
    primary.kill()
    assert served(store) == {2}
    replica.command("config", "set", "replica-serve-stale-data", "no")
    with pytest.raises(StoreUnavailable, match="bring that back or promote this one"):
        reader.get("k3")
    replica.promote()
    publish(replica.url, "v3", 3)
    assert reader.get("k3") == {"key": "k3", "value": 3}
    assert reader.error is None


def test_readers_of_a_replica_see_whole_versions_only(servers: list[RedisServer]) -> None:
    """They hold no lease there, so that each version is removed under them."""
    primary, replica = servers
    swaps = 60
    publish(primary.url, "v0", 0)
    replica.catch_up(primary)
    store, reader = RedisStore(primary.url), RedisStore(replica.url, follow_seconds=0.01).reader("view")
    stop = threading.Event()
    reads, wrong = [0, 0], []

    def read(place: int) -> None:
        last = 0
        try:
            while not stop.is_set():
                values = set(reader.get_many(KEYS).column("value").to_pylist())
                one = reader.get("k3")
                if len(values) != 1 or one is None or not last <= max(values) <= one["value"]:
                    wrong.append((last, values, one))
                    return
                last = one["value"]
                reads[place] += 2
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(place,)) for place in range(2)]
    for thread in threads:
        thread.start()
    try:
        for value in range(1, swaps + 1):
            publish(primary.url, f"v{value}", value)
            store.prune("view", 1)
            store.begin("view", f"v{value + 1}")  # removes what was pruned
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert min(reads) > swaps
    replica.catch_up(primary)
    reader.refresh()
    assert reader.get("k3") == {"key": "k3", "value": swaps}
    print(f"\n{sum(reads)} reads of a replica through {swaps} swaps, none mixed, none failed")


# A failover while a version is published


WAYS_OUT = {
    # The one that was demoted has forgotten what its new primary had not heard of.
    "demoted": r"give the address of the primary|lost with its server, .*begin again|publish anew",
    "killed": "start the server or check its address",
}


def lose(primary: RedisServer, replica: RedisServer, how: str, place: int, number: int) -> None:
    """The replica takes the place of the primary ahead of command `place`."""
    if number != place:
        return
    if how == "killed":
        primary.kill()
    replica.promote()
    if how == "demoted":
        primary.follow(replica)


def failure_of(url: str, value: int, fail_over: Callable[[int], None]) -> StoreError | None:
    with commands(fail_over):
        try:
            publish(url, f"v{value}", value)
        except (StoreUnavailable, UnknownVersion) as error:
            return error
    return None


@pytest.mark.parametrize("how", ["demoted", "killed"])
def test_a_primary_lost_before_any_command_of_a_publisher(servers: list[RedisServer], how: str) -> None:
    size = keys_after_two(servers[0])
    with commands(lambda number: None) as count:
        publish(servers[0].url, "v2", 2)
        calls = count()
    failed = swapped = 0
    places = range(1, calls + 1, 6)
    for value, place in enumerate(places, start=3):
        primary, replica = servers
        replica.catch_up(primary)
        error = failure_of(primary.url, value, partial(lose, primary, replica, how, place))
        if error is not None:
            failed += 1
            assert re.search(WAYS_OUT[how], str(error)), error
        store = RedisStore(replica.url, follow_seconds=0)
        current = store.current("view")
        assert current in {f"v{value - 1}", f"v{value}"}
        assert served(store) == {int(current[1:])}
        swapped += current == f"v{value}"
        publish(replica.url, f"v{value}", value)
        assert served(store) == {value}
        assert int(replica.command("dbsize")) == size
        if how == "killed":
            primary.start()
            primary.follow(replica)
        servers.reverse()
    assert failed >= len(places) - 2  # the last commands of all only read
    print(f"\n{len(places)} primaries {how} while publishing, {failed} publishers said so, {swapped} had swapped")


# Clusters


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[RedisServer]]:
    """Two nodes of a cluster that know each other, with half of the slots each."""
    started = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        started.append(RedisServer(tmp_path / name, "cluster-enabled yes", f"cluster-port {free_port()}"))
    yield started
    for node in started:
        node.kill()


def form_cluster(one: RedisServer, two: RedisServer) -> None:
    one.command("cluster", "addslotsrange", "0", "8191")
    two.command("cluster", "addslotsrange", "8192", "16383")
    bus = two.command("config", "get", "cluster-port").split()[1]
    one.command("cluster", "meet", "127.0.0.1", str(two.port), bus)
    while not all("cluster_state:ok" in node.command("cluster", "info") for node in (one, two)):
        time.sleep(0.01)


def test_a_cluster_is_refused_before_anything_is_written(nodes: list[RedisServer]) -> None:
    stores = [RedisStore(node.url) for node in nodes]
    refused = r"node of a Redis Cluster.*address of a server without cluster mode"
    for store in stores:
        for ask in (store.reader, store.versions, lambda view, store=store: store.begin(view, "v1")):
            with pytest.raises(InvalidInput, match=refused):  # it has no slots yet
                ask("view")
    form_cluster(*nodes)
    for store in stores:
        for view in ("view", "user_scores", "item_vectors", "a"):
            with pytest.raises(InvalidInput, match=refused):
                store.begin(view, "v1")
    assert [node.command("dbsize") for node in nodes] == ["0", "0"]
