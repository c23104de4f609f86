"""Readers of the Redis backend: removed versions, swaps, threads and forks."""

import multiprocessing
import threading
from typing import Any

import pyarrow as pa
import pytest

from feature_store import UnknownVersion
from feature_store.redis import RedisStore
from tests.contracts.store_data import ROWS, batch, numbered, publish
from tests.feature_store.redis_keys import end_leases, keys_of


@pytest.fixture
def store(url: str) -> RedisStore:
    return RedisStore(url, follow_seconds=0)


# What is removed


def test_deleted_versions_leave_nothing_behind(store: RedisStore, client: Any, prefix: str) -> None:
    publish(store, "v1")
    before = len(keys_of(client, prefix))
    for number in range(2, 6):
        publish(store, f"v{number}")
        store.prune("user_scores", 1)
        assert len(keys_of(client, prefix)) == before
    with store.begin("user_scores", "v9").writer("p") as writer:
        writer.write(batch(ROWS))
    store.delete("user_scores", "v9")
    assert len(keys_of(client, prefix)) == before


def test_a_deleted_version_stays_for_those_who_have_it_open(store: RedisStore, client: Any, prefix: str) -> None:
    publish(store, "v1")
    pinned = store.snapshot("user_scores")
    publish(store, "v2")
    store.delete("user_scores", "v1")
    store.begin("user_scores", "v3")
    assert (pinned.get("ann"), pinned.get("nobody")) == (ROWS[0], None)
    end_leases(client, prefix)
    store.begin("user_scores", "v3")
    for read in (lambda: pinned.get("ann"), lambda: pinned.get("no"), lambda: pinned.get_many(["ann", "bob"])):
        with pytest.raises(UnknownVersion, match=r"'v1' .* is gone"):
            read()


def test_a_reader_that_slept_through_a_removal_goes_on_with_what_is_served(url: str, client: Any, prefix: str) -> None:
    store = RedisStore(url, follow_seconds=3600)
    publish(store, "v1", {"p": numbered(1, ["k"])})
    readers = [store.reader("user_scores"), store.reader("user_scores")]
    publish(store, "v2", {"p": numbered(2, ["k"])})
    end_leases(client, prefix)
    store.prune("user_scores", 1)
    assert readers[0].get("k") == {"key": "k", "value": 2}
    assert readers[1].get_many(["k", "l"]).column("value").to_pylist() == [2, None]


def test_a_swap_is_followed_without_being_asked_to(url: str) -> None:
    store = RedisStore(url)
    publish(store, "v1", {"p": numbered(1, ["k"])})
    reader = store.reader("user_scores")
    publish(store, "v2", {"p": numbered(2, ["k"])})
    while reader.get("k") != {"key": "k", "value": 2}:
        assert reader.error is None


# Threads and forks


def test_threads_and_forks_share_a_reader(store: RedisStore) -> None:
    keys = [f"k{number}" for number in range(200)]
    publish(store, "v1", {"p": pa.record_batch({"key": keys, "value": list(range(200))})})
    reader = store.reader("user_scores")
    wrong: list[Any] = []

    def read(numbers: range, failures: Any) -> None:
        for number in numbers:
            row = reader.get(keys[number])
            if row is None or row["value"] != number:
                failures.append((number, row))

    context = multiprocessing.get_context("fork")
    with context.Manager() as manager:
        failures = manager.list()
        threads = [threading.Thread(target=read, args=(range(200), wrong)) for _ in range(4)]
        forks = [context.Process(target=read, args=(range(200), failures)) for _ in range(3)]
        for fork in forks:
            fork.start()
        for thread in threads:
            thread.start()
        for task in (*threads, *forks):
            task.join()
        assert [fork.exitcode for fork in forks] == [0, 0, 0]
        assert (wrong, list(failures)) == ([], [])


def test_a_fork_is_not_stopped_by_a_lock_of_its_parent(store: RedisStore) -> None:
    publish(store, "v1")
    reader = store.reader("user_scores")
    with reader._lock:
        child = multiprocessing.get_context("fork").Process(target=reader.refresh)
        child.start()
        child.join(30)
    assert child.exitcode == 0
