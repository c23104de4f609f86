"""Injected faults: what is served stays whole, and what was interrupted can run again."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feature_store import LocalStore, StoreError, StoreUnavailable, UnknownVersion
from tests.contracts.store_data import numbered
from tests.contracts.store_data import publish as publish_parts
from tests.feature_store import publisher
from tests.feature_store.served import served

KEYS = publisher.KEYS


def publish_or_reason(root: Path, value: int) -> str:
    """Publishes version v<value>; why it couldn't, or nothing."""
    try:
        publisher.publish(str(root), f"v{value}", value)
    except StoreUnavailable as error:
        return str(error)
    return ""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS], ids=errno.errorcode.get)
@pytest.mark.parametrize("calls", ["open", "write", "fsync", "rename replace", "mkdir", "unlink rmdir"])
def test_each_failing_call_loses_nothing(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, calls: str, number: int
) -> None:
    for value in (0, 1):
        publisher.publish(str(root), f"v{value}", value)
    reader = store.reader("view")
    originals = {name: getattr(os, name) for name in calls.split()}
    failed, swapped, reached = 0, 0, True
    while reached:
        value, count = failed + 2, 0

        def fail(name: str, *args: Any, failing: int = failed + 1, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == failing:
                raise OSError(number, os.strerror(number))
            return originals[name](*args, **kwargs)

        for name in originals:
            monkeypatch.setattr(os, name, lambda *args, name=name, **kwargs: fail(name, *args, **kwargs))
        reason = publish_or_reason(root, value)
        for name, original in originals.items():
            monkeypatch.setattr(os, name, original)
        reached = count > failed
        assert (str(root) in reason) == (os.strerror(number) in reason) == bool(reason)
        current = served(store)
        assert current in ({value - 1}, {value})
        # What is told failed, and what isn't told is done: only tidying up after the work may fail in silence.
        assert bool(reason) == reached or (calls == "unlink rmdir" and current == {value})
        assert reader.get("k29") == {"key": "k29", "value": min(current)}
        assert reader.error is None
        publisher.publish(str(root), f"v{value}", value)
        assert reader.get("k0") == {"key": "k0", "value": value}
        assert store.verify("view").version == f"v{value}"
        failed += reached
        swapped += reached and current == {value}
    assert failed >= 2
    print(f"\n{errno.errorcode[number]} from each of {failed} calls of {calls}; {swapped} times the new one was served")


def test_short_writes_are_completed(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:100]))
    publish_parts(store, "v1", {"p": numbered(1, KEYS)}, view="view")
    assert served(store) == {1}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB of its own."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], check=False, capture_output=True, text=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"mounting takes rights that this user lacks: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_keeps_what_is_served(small_disk: Path) -> None:
    store = LocalStore(small_disk / "store", follow_seconds=0)
    publish_parts(store, "v1", {"p": numbered(1, KEYS)}, view="view")
    big = pa.record_batch({"key": [f"k{n}" for n in range(60_000)], "value": range(60_000)})
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="No space left on device; free some space"):
            publish_parts(store, "v2", {"p": big}, view="view")
        assert served(store) == {1}
        assert store.verify("view").version == "v1"
    publish_parts(store, "v2", {"p": numbered(2, KEYS)}, view="view")
    assert served(store) == {2}


def test_a_read_only_disk_is_read_and_not_written(small_disk: Path) -> None:
    store = LocalStore(small_disk / "store", follow_seconds=0)
    publish_parts(store, "v1", {"p": numbered(1, KEYS)}, view="view")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for attempt in (
        lambda: store.begin("view", "v2"),
        lambda: store.rollback("view"),
        lambda: store.begin("new", "v1"),
    ):
        with pytest.raises(StoreUnavailable, match="Read-only file system; mount it writable"):
            attempt()
    assert served(store) == {1}
    assert [info.version for info in store.versions("view")] == ["v1"]


def test_a_root_below_a_file_names_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = LocalStore(tmp_path / "file" / "store")
    with pytest.raises(StoreUnavailable, match="a part of this path is a file"):
        store.begin("view", "v1")
    with pytest.raises((UnknownVersion, StoreUnavailable)):
        store.reader("view")


def test_errors_are_store_errors_with_a_place_and_a_way_out(store: LocalStore, root: Path) -> None:
    with pytest.raises(StoreError, match=f"{root}.*; publish one first"):
        store.reader("view")
