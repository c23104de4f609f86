"""Files that are either there as written or not at all, and a lock between processes. Knows no format."""

import errno
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import xxhash

from feature_store.errors import StoreUnavailable

_WAYS_OUT = {
    errno.ENOSPC: "free some space and run again",
    errno.EDQUOT: "free some space or raise the quota, and run again",
    errno.EROFS: "mount it writable or choose another folder",
    errno.EACCES: "give this user the right to it or choose another folder",
    errno.EPERM: "give this user the right to it or choose another folder",
    errno.ENOTDIR: "a part of this path is a file; choose another folder",
}
_LOCK_POLL_SECONDS = 0.01


@contextmanager
def reaching(path: Path, action: str) -> Iterator[None]:
    """Turns what the operating system refuses into StoreUnavailable with the path and the way out."""
    try:
        yield
    except OSError as error:
        way_out = _WAYS_OUT.get(error.errno or 0, "check the disk and run again")
        raise StoreUnavailable(f"cannot {action} {path}: {error.strerror or error}; {way_out}") from error


class DurableFile:
    """A new file that counts and checksums what it's given; `finish` returns once it's on the disk.

    The checksum is of the bytes as handed over, not as read back, so that it also tells a bad write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes = 0
        self.closed = False
        self._hash = xxhash.xxh3_128()
        self._since_cut, self._cut_at = xxhash.xxh3_128(), 0
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    @property
    def checksum(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: Any) -> int:
        rest = memoryview(data).cast("B")
        size = len(rest)
        self._hash.update(rest)
        self._since_cut.update(rest)
        self.bytes += size
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        return size

    def cut(self) -> tuple[int, int, str]:
        """Offset, size and checksum of what was written since the last cut."""
        piece = self._cut_at, self.bytes - self._cut_at, self._since_cut.hexdigest()
        self._since_cut, self._cut_at = xxhash.xxh3_128(), self.bytes
        return piece

    def tell(self) -> int:
        return self.bytes

    def flush(self) -> None:
        """Nothing is buffered here; Arrow asks for the method."""

    def finish(self) -> None:
        os.fsync(self._descriptor)
        self.close()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            os.close(self._descriptor)

    def discard(self) -> None:
        """Closes and removes the file; quietly, as this follows a failure that matters more."""
        with suppress(OSError):
            self.close()
        with suppress(OSError):
            os.unlink(self.path)


def temporary(path: Path) -> Path:
    """A name beside `path` that no other writer uses."""
    return path.with_name(f"{path.name}.{secrets.token_hex(6)}.tmp")


def write_atomic(path: Path, data: Any) -> DurableFile:
    """Puts `data` at `path` whole or not at all; returns the finished file for its size and checksum."""
    with reaching(path, "write"):
        file = DurableFile(temporary(path))
        try:
            file.write(data)
            file.finish()
            os.replace(file.path, path)
        except BaseException:
            file.discard()
            raise
        sync_folder(path.parent)
    return file


def sync_folder(path: Path) -> None:
    """Makes the names in a folder last: renames and new files survive a loss of power after this."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Makes a folder and its missing parents, each one to last."""
    with reaching(path, "make the folder"):
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)


def rename_folder(source: Path, target: Path) -> None:
    """Moves a folder to a name that's free, to last."""
    with reaching(target, f"move {source} to"):
        os.rename(source, target)
        for folder in {source.parent, target.parent}:
            sync_folder(folder)


def remove_file(path: Path) -> None:
    """Removes a file that may be gone already, to last."""
    with reaching(path, "remove"):
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


@contextmanager
def locked(path: Path, timeout_seconds: float) -> Iterator[None]:
    """Holds the lock file for one thread of one process; the kernel frees it when its owner dies."""
    with reaching(path, "lock"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        deadline = time.monotonic() + timeout_seconds
        while not _try_lock(descriptor, path):
            if time.monotonic() > deadline:
                raise StoreUnavailable(
                    f"{path} has been held for {timeout_seconds:g} s; wait for the other publisher or end it"
                )
            time.sleep(_LOCK_POLL_SECONDS)
        try:
            yield
        finally:
            # Unlocked by hand: a child forked meanwhile would otherwise keep the lock with its copy.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, path: Path) -> bool:
    with reaching(path, "lock"):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
