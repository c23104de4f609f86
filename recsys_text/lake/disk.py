"""Locks between processes and folders made durable. Knows no tables and no windows."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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


def sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
