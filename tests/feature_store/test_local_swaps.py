"""Swaps under load, publishers that come at once, and clocks that go backwards."""

import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from feature_store import Checks, LocalStore
from feature_store.local import commit
from tests.contracts.store_data import numbered, publish
from tests.feature_store.forks import KILLED, REFUSED, forks
from tests.feature_store.publisher import KEYS
from tests.feature_store.served import served

SWAPS = 1_000
CONTESTS = 40

# Publishes v1 to v<swaps>, each in two parts, and removes all but the newest two.
PUBLISH_ALL = """
import sys
from feature_store import LocalStore
from tests.contracts.store_data import numbered, publish
from tests.feature_store.publisher import KEYS
store = LocalStore(sys.argv[1])
for value in range(1, int(sys.argv[2]) + 1):
    publish(store, f"v{value}", {"p": numbered(value, KEYS[::2]), "q": numbered(value, KEYS[1::2])}, view="view")
    store.prune("view", 2)
"""


def test_readers_across_many_swaps(store: LocalStore, root: Path) -> None:
    """One reader looks at every call, the other one follows in a thread of its own as a service's does."""
    publish(store, "v0", {"p": numbered(0, KEYS)}, view="view")
    readers = [store.reader("view"), LocalStore(root, follow_seconds=1e-4).reader("view")]
    done = threading.Event()
    failures: list[BaseException] = []
    answers, seen = [0, 0], [{0}, {0}]

    def read(place: int) -> None:
        last = 0
        try:
            while not done.is_set():
                snapshot = readers[place].snapshot()
                values = set(snapshot.get_many(KEYS).column(1).to_pylist())
                one = snapshot.get("k7")
                assert one is not None
                assert values == {one["value"]} == {int(snapshot.info.version[1:])}, f"mixed: {values}, {one}"
                assert one["value"] >= last, f"backwards from {last} to {one['value']}"
                assert readers[place].error is None
                last = one["value"]
                answers[place] += 1
                seen[place].add(last)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read, args=(place,)) for place in range(len(readers))]
    for thread in threads:
        thread.start()
    try:
        command = [sys.executable, "-c", PUBLISH_ALL, str(root), str(SWAPS)]
        subprocess.run(command, cwd=Path(__file__).parents[2], check=True)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert served(store) == {SWAPS}
    assert store.verify("view").sequence == SWAPS + 1
    for place, reader in enumerate(readers):
        reader.refresh()
        assert reader.version == f"v{SWAPS}"
        assert len(seen[place]) > 20
    print(f"\n{SWAPS} swaps, {sum(answers)} answers from {[len(values) for values in seen]} versions, none mixed")


def test_publishers_of_two_processes_at_once(store: LocalStore, root: Path) -> None:
    publish(store, "v0", {"p": numbered(0, KEYS)}, view="view")
    late = 0
    with forks() as one, forks() as other:
        for value in range(1, 2 * CONTESTS, 2):
            # Two versions at once: both are committed, one after the other.
            one.start(root, value)
            other.start(root, value + 1)
            assert min(one.end(), other.end()) > 0
            newest = store.versions("view")[-2:]
            assert {info.version for info in newest} == {f"v{value}", f"v{value + 1}"}
            assert newest[1].sequence - newest[0].sequence == 1
            assert store.current("view") == newest[1].version
            assert served(store) == {int(newest[1].version[1:])}
        for value in range(2 * CONTESTS + 1, 3 * CONTESTS + 1):
            # One version twice: it's committed once, and who comes late is told so.
            one.start(root, value)
            other.start(root, value)
            ends = [one.end(), other.end()]
            assert KILLED not in ends
            late += ends.count(REFUSED)
            assert max(ends) > 0
            assert served(store) == {value}
            assert store.verify("view").version == f"v{value}"
    assert list((root / "view").rglob("*.tmp")) == []
    print(f"\n{CONTESTS} times two versions at once and as often one version twice, of which {late} came late")


def test_a_clock_that_goes_backwards_changes_no_order(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Backwards:
        year = 2020

        @classmethod
        def now(cls, zone: Any) -> Any:
            cls.year -= 1
            return real(cls.year, 1, 1, tzinfo=zone)

    real = commit.datetime
    monkeypatch.setattr(commit, "datetime", Backwards)
    publish(store, "v0", {"p": numbered(0, KEYS)}, view="view")
    reader = store.reader("view")
    for value in range(1, 6):
        publish(store, f"v{value}", {"p": numbered(value, KEYS)}, view="view")
        # The file system's clock, too: the pointer looks older than the one that it replaced.
        pointer = root / "view" / "CURRENT"
        os.utime(pointer, (2e9 - value, 2e9 - value))
        assert reader.get("k0") == {"key": "k0", "value": value}
    created = [info.created_at for info in store.versions("view")]
    assert created == sorted(created, reverse=True)
    assert [info.version for info in store.versions("view")] == [f"v{value}" for value in range(6)]
    assert store.prune("view", 3) == ["v0", "v1", "v2"]
    assert store.rollback("view").version == "v4"
    # Data of a time that's still to come are not too old.
    now = datetime(2014, 3, 18, tzinfo=UTC)
    young = Checks(max_age=timedelta(hours=1), now=now)
    publish(store, "v9", {"p": numbered(9, KEYS)}, view="view", as_of="2014-03-19", checks=young)
    assert served(store) == {9}
    print(f"\n{len(created)} versions by a clock that went back a year each")
