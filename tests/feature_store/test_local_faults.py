"""Injected faults: what is served stays whole, and what was interrupted can run again."""

import errno
import os
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from feature_store import LocalStore, StoreError, StoreUnavailable, UnknownVersion
from feature_store.local import commit
from tests.contracts.store_data import numbered
from tests.contracts.store_data import publish as publish_parts
from tests.feature_store import publisher
from tests.feature_store.publisher import run_publisher
from tests.feature_store.served import served

KEYS = publisher.KEYS


# Killed publishers


@pytest.fixture(scope="module")
def forks() -> Iterator[subprocess.Popen[str]]:
    with publisher.publishers("tests.feature_store.publisher") as process:
        yield process


def assert_whole_and_repeatable(store: LocalStore, root: Path, value: int) -> None:
    """After publisher `value` died: the former or the new version is served, whole, and a re-run succeeds."""
    current = store.current("view")
    assert current in {f"v{value - 1}", f"v{value}"}
    assert served(store) == {int(current[1:])}
    assert [info.problem for info in store.versions("view")].count("") == len(store.versions("view"))
    publisher.publish(str(root), f"v{value}", value)
    assert served(store) == {value}
    left = {path.name for path in (root / "view").iterdir()}
    assert left - {f"v{value}", f"v{value - 1}"} == {"CURRENT", ".lock", ".staging"}
    assert list((root / "view").rglob("*.tmp")) == []


def test_a_publisher_killed_before_any_system_call(forks: Any, store: LocalStore, root: Path) -> None:
    publisher.publish(str(root), "v0", 0)
    calls = run_publisher(forks, root, 1)
    assert calls > 30
    for number in range(1, calls + 1):
        assert run_publisher(forks, root, number + 1, die_at=number) == -1
        assert_whole_and_repeatable(store, root, number + 1)


def test_a_publisher_killed_at_any_time(forks: Any, store: LocalStore, root: Path) -> None:
    publisher.publish(str(root), "v0", 0)
    started = time.monotonic()
    assert run_publisher(forks, root, 1) > 30
    whole = time.monotonic() - started
    chance = random.Random(11)
    killed, value = 0, 1
    while killed < 30:
        value += 1
        assert value < 300, "the kills come too late"
        if run_publisher(forks, root, value, kill_after=chance.uniform(0, whole)) == -1:
            killed += 1
        else:
            whole *= 0.9  # the first run was slower than those that follow
        assert_whole_and_repeatable(store, root, value)


# A disk that fails


def publish_or_reason(root: Path, value: int) -> str:
    """Publishes version v<value>; why it couldn't, or nothing."""
    try:
        publisher.publish(str(root), f"v{value}", value)
    except StoreUnavailable as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("calls", "number"),
    [
        (("write",), errno.ENOSPC),
        (("fsync",), errno.EIO),
        (("rename", "replace"), errno.EIO),
        (("open", "mkdir"), errno.EROFS),
    ],
)
def test_each_failing_call_loses_nothing(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, calls: tuple[str, ...], number: int
) -> None:
    publisher.publish(str(root), "v0", 0)
    reader = store.reader("view")
    originals = {name: getattr(os, name) for name in calls}
    value, reached = 0, True
    while reached:
        value += 1
        count = 0

        def fail(name: str, *args: Any, failing: int = value, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count == failing:
                raise OSError(number, os.strerror(number))
            return originals[name](*args, **kwargs)

        for name in calls:
            monkeypatch.setattr(os, name, lambda *args, name=name, **kwargs: fail(name, *args, **kwargs))
        reason = publish_or_reason(root, value)
        for name, original in originals.items():
            monkeypatch.setattr(os, name, original)
        reached = count >= value
        assert (str(root) in reason, os.strerror(number) in reason) == (reached, reached)
        assert served(store) in ({value - 1}, {value})
        assert reader.error is None
        publisher.publish(str(root), f"v{value}", value)
        assert reader.get("k0") == {"key": "k0", "value": value}
    assert value > 5


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
    with pytest.raises(StoreUnavailable, match="No space left on device; free some space"):
        publish_parts(store, "v2", {"p": big}, view="view")
    assert served(store) == {1}
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


def test_a_clock_that_goes_backwards_changes_no_order(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    class Backwards:
        year = 2020

        @classmethod
        def now(cls, zone: Any) -> Any:
            cls.year -= 1
            return real(cls.year, 1, 1, tzinfo=zone)

    real = commit.datetime
    monkeypatch.setattr(commit, "datetime", Backwards)
    for value in (1, 2, 3):
        publish_parts(store, f"v{value}", {"p": numbered(value, KEYS)}, view="view")
    assert [info.version for info in store.versions("view")] == ["v1", "v2", "v3"]
    assert store.rollback("view").version == "v2"


def test_errors_are_store_errors_with_a_place_and_a_way_out(store: LocalStore, root: Path) -> None:
    with pytest.raises(StoreError, match=f"{root}.*; publish one first"):
        store.reader("view")
