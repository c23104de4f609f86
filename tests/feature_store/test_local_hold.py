"""A version that a process has open, or is about to open, outlives pruning; a reader that died holds nothing."""

import errno
import fcntl
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from feature_store import CorruptVersion, LocalStore, StoreUnavailable
from feature_store.local import hold as hold_module
from tests.contracts.store_data import numbered, publish
from tests.feature_store.publisher import KEYS

# Opens the served version and answers for as long as its input is open. With `late` it tells that it's there when
# it has looked up the version and found none of its files yet.
READER = """
import sys
from feature_store import LocalStore
from feature_store.local import hold

def tell(word):
    print(word, flush=True)
    sys.stdin.readline()

class Late(hold.LocalSnapshot):
    def __init__(self, folder):
        tell("looked up")
        super().__init__(folder)

root, late = sys.argv[1:]
if late == "late":
    hold.LocalSnapshot = Late
snapshot = LocalStore(root).snapshot("view")
tell("open")
print(sorted({snapshot.get(f"k{number}")["value"] for number in range(30)}), flush=True)
"""


@contextmanager
def reading(root: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", READER, str(root), how],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def go_on(process: subprocess.Popen[str]) -> str:
    """Lets the reader take its next step; what it says then."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return said(process)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def publish_numbers(store: LocalStore, *values: int) -> None:
    for value in values:
        publish(store, f"v{value}", {"p": numbered(value, KEYS[::2]), "q": numbered(value, KEYS[1::2])}, view="view")


@pytest.mark.parametrize("how", ["late", "at once"])
def test_a_version_outlives_pruning_until_its_reader_is_killed(store: LocalStore, root: Path, how: str) -> None:
    publish_numbers(store, 1)
    with reading(root, how) as first, reading(root, how) as second:
        for process in (first, second):
            assert said(process) == ("looked up" if how == "late" else "open")
        publish_numbers(store, 2, 3)
        assert store.prune("view", 1) == ["v2"]
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert store.prune("view", 1) == []
        if how == "late":
            assert go_on(second) == "open"
        assert store.prune("view", 1) == []
        assert go_on(second) == "[1]"
        second.wait()
        assert store.prune("view", 1) == ["v1"]
    assert [info.version for info in store.versions("view")] == ["v3"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_goes_on_reading(store: LocalStore) -> None:
    publish_numbers(store, 1)
    snapshot = store.snapshot("view")
    wait, go = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(wait, 1)
        os._exit(0 if snapshot.get("k0") == {"key": "k0", "value": 1} else 1)
    del snapshot
    publish_numbers(store, 2)
    assert store.prune("view", 1) == []
    os.write(go, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.prune("view", 1) == ["v1"]
    os.close(wait)
    os.close(go)


def test_a_reader_that_comes_while_a_version_is_pruned_finds_the_next(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_numbers(store, 1, 2)
    folder = root / "view" / "v1"
    waits = threading.Event()
    lock = hold_module._lock
    found: list[object] = []

    def tell(path: Path, descriptor: int, kind: int) -> bool:
        waits.set()
        return lock(path, descriptor, kind)

    def open_v1() -> None:
        try:
            found.append(hold_module.open_held(folder))
        except CorruptVersion as error:
            found.append(error)

    with hold_module.unread(folder) as free:
        assert free
        monkeypatch.setattr(hold_module, "_lock", tell)
        reader = threading.Thread(target=open_v1)
        reader.start()
        assert waits.wait(60)
        folder.rename(root / "removed")
        # Another version of that name is whole, and is what it gets.
        publish_numbers(store, 1)
    reader.join()
    with hold_module.unread(folder) as free:
        assert not free, "the lock is on the version that is gone"
    snapshot = found.pop()
    assert isinstance(snapshot, hold_module.LocalSnapshot)
    assert snapshot.get("k0") == {"key": "k0", "value": 1}
    del snapshot
    store.rollback("view", "v2")
    with hold_module.unread(folder) as free:
        assert free
        (root / "view" / "v1").rename(root / "removed again")
        open_v1()
    assert "MANIFEST.json is missing" in str(found[0])


def test_what_was_held_is_closed(store: LocalStore) -> None:
    publish_numbers(store, 1, 2)
    gc.collect()  # what tests before this one left in cycles
    before = len(os.listdir("/proc/self/fd"))
    reader = store.reader("view")
    for _ in range(20):
        store.rollback("view")
        assert reader.get("k0") == {"key": "k0", "value": 1}
        store.rollback("view", "v2")
        assert reader.get("k0") == {"key": "k0", "value": 2}
        store.verify("view", "v1")
    del reader
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_lock_that_fails_leaves_nothing_open(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_numbers(store, 1)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))

    def fail(descriptor: int, kind: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="no locks available"):
            hold_module.open_held(store.root / "view" / "v1")
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forked_while_a_version_is_opened_does_not_hold_it(store: LocalStore) -> None:
    publish_numbers(store, 1)
    folder = store.root / "view" / "v1"
    descriptor = hold_module._hold(folder / "MANIFEST.json")
    there, done = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.write(there[1], b"x")
        os.read(done[0], 1)
        os._exit(0)
    os.read(there[0], 1)
    hold_module._release(descriptor)
    try:
        with hold_module.unread(folder) as free:
            assert free
    finally:
        os.write(done[1], b"x")
        os.waitpid(child, 0)
        for end in (*there, *done):
            os.close(end)
