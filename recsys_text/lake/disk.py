"""Locks between processes and folders made durable. Knows no tables and no windows."""

import fcntl
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

_SYNCING = 16


@contextmanager
def locked(path: Path, how: int) -> Iterator[bool]:
    """Whether the `flock` was got; it is held until the block ends or the process does."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, how)
        got = True
    except BlockingIOError:
        got = False
    try:
        yield got
    finally:
        os.close(descriptor)


def sync(paths: Iterable[Path]) -> None:
    """Make files and folders durable, many at a time, which takes a disk little longer than one."""
    with ThreadPoolExecutor(_SYNCING) as pool:
        list(pool.map(_sync, dict.fromkeys(paths)))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
