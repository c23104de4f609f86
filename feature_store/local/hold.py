"""Who has a version open: its readers share a lock on its manifest, which frees itself when they die. Reads no data."""

import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_store.local.disk import reaching
from feature_store.local.layout import MANIFEST
from feature_store.local.snapshot import LocalSnapshot

#: Descriptors that no snapshot owns yet.
_UNOWNED: set[int] = set()


def open_held(folder: Path) -> LocalSnapshot:
    """Opens a version that `unread` calls read from before its first file is opened until the snapshot is gone.

    Raises CorruptVersion as LocalSnapshot does, also when the version is removed meanwhile.
    """
    descriptor = _hold(folder / MANIFEST)
    try:
        snapshot = LocalSnapshot(folder)
    except BaseException:
        _release(descriptor)
        raise
    weakref.finalize(snapshot, _release, descriptor)
    _UNOWNED.discard(-1 if descriptor is None else descriptor)
    return snapshot


@contextmanager
def unread(folder: Path) -> Iterator[bool]:
    """Whether nobody has the version open. If so, those who want to open it wait for the end of the block."""
    # NFS gives a lock for one alone only to who may write.
    descriptor = _open(folder / MANIFEST, os.O_RDWR)
    try:
        yield descriptor is None or _lock(folder / MANIFEST, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        _release(descriptor)


def _hold(path: Path) -> int | None:
    while True:
        descriptor = _open(path, os.O_RDONLY)
        try:
            # Opening the version says that it's gone, and what to do.
            if descriptor is None or (_lock(path, descriptor, fcntl.LOCK_SH) and _is_at(path, descriptor)):
                return descriptor
        except BaseException:
            _release(descriptor)
            raise
        # The version that was there is gone, and another one may have its name now.
        _release(descriptor)


def _open(path: Path, mode: int) -> int | None:
    with reaching(path, "read"):
        try:
            descriptor = os.open(path, mode | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
    _UNOWNED.add(descriptor)
    return descriptor


def _lock(path: Path, descriptor: int, kind: int) -> bool:
    with reaching(path, "lock"):
        try:
            fcntl.flock(descriptor, kind)
        except BlockingIOError:
            return False
    return True


def _is_at(path: Path, descriptor: int) -> bool:
    with reaching(path, "read"):
        try:
            return os.path.samestat(os.stat(path), os.fstat(descriptor))
        except FileNotFoundError:
            return False


def _release(descriptor: int | None) -> None:
    if descriptor is not None:
        _UNOWNED.discard(descriptor)
        os.close(descriptor)


def _after_fork() -> None:
    """A thread that is opening a version isn't there in a child, which would hold the version as long as it lives."""
    while _UNOWNED:
        os.close(_UNOWNED.pop())


os.register_at_fork(after_in_child=_after_fork)
