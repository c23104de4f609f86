"""Answers from whatever version is served, and follows swaps. Knows the pointer and how to open a version."""

import os
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any

from feature_store.base import Key, Reader
from feature_store.errors import StoreError, UnknownVersion
from feature_store.local.columns import LocalRow
from feature_store.local.disk import reaching
from feature_store.local.hold import open_held
from feature_store.local.layout import ViewFolder
from feature_store.local.manifest import load_pointer
from feature_store.local.snapshot import LocalSnapshot

#: Verifying a large version takes a while, so that a damaged one isn't opened again at every call.
_RETRY_SECONDS = 5.0

Signature = tuple[int, int, bytes]


def open_served(folder: ViewFolder) -> LocalSnapshot:
    """The version being served, verified. Raises UnknownVersion or CorruptVersion."""
    while True:
        version = load_pointer(folder.current)
        if version is None:
            raise UnknownVersion(f"view '{folder.view}' has no published version in {folder.path}; publish one first")
        try:
            return open_held(folder.version(version))
        except StoreError:
            # The version may have been replaced and deleted since the pointer was read.
            if load_pointer(folder.current) == version:
                raise


class LocalReader(Reader):
    """A reader of a local view, for any number of threads and for children forked later.

    A new version is opened, verified and warmed in a thread of its own, while the old one answers; with
    `follow_seconds = 0` every call looks for one, and opens it before it answers.
    """

    def __init__(self, folder: ViewFolder, follow_seconds: float) -> None:
        self._folder = folder
        self._follow_seconds = follow_seconds
        self._alone = threading.Lock()
        _READERS.add(self)
        self._error: StoreError | None = None
        self._failed: Signature | None = None
        self._retry_at = 0.0
        self._next_look = time.monotonic() + follow_seconds
        # Read before the version is opened: a swap in between then shows at the first look.
        self._signature = self._sign()
        self._snapshot = open_served(folder)

    @property
    def error(self) -> StoreError | None:
        self.snapshot()
        return self._error

    def get(self, key: Key) -> LocalRow | None:
        return self.snapshot().get(key)

    def get_many(self, keys: Sequence[Key]) -> Any:
        return self.snapshot().get_many(keys)

    def snapshot(self) -> LocalSnapshot:
        if time.monotonic() >= self._next_look and self._alone.acquire(blocking=False):
            beside = self._follow_seconds and self._is_news() and self._follows_beside()
            if not beside:
                self._follow_and_release()
        return self._snapshot

    def refresh(self) -> bool:
        with self._alone:
            before = self._snapshot
            self._follow()
            return self._snapshot is not before

    def _follows_beside(self) -> bool:
        try:
            threading.Thread(target=self._follow_and_release, daemon=True).start()
        except RuntimeError:  # the machine gives no more threads
            return False
        return True

    def _follow_and_release(self) -> None:
        try:
            self._follow()
        finally:
            self._alone.release()

    def _is_news(self) -> bool:
        try:
            return self._sign() != self._signature
        except StoreError:
            return False

    def _follow(self) -> None:
        now = time.monotonic()
        self._next_look = now + self._follow_seconds
        try:
            signature = self._sign()
            if signature is not None and signature == self._signature:
                self._error = None
                return
            if signature is not None and signature == self._failed and now < self._retry_at:
                return
            # Until it succeeds it counts as failed, so that a damaged version isn't verified at every look.
            self._failed, self._retry_at = signature, now + _RETRY_SECONDS
            fresh = open_served(self._folder)
        except StoreError as error:
            self._error = error
            return
        # A rollback to the version that's held already keeps its warm pages.
        if fresh.manifest != self._snapshot.manifest:
            self._snapshot = fresh
        self._signature, self._failed, self._error = signature, None, None

    def _sign(self) -> Signature | None:
        """What changes whenever the pointer is replaced; inode and time alone may repeat within a clock tick."""
        with reaching(self._folder.current, "read"):
            try:
                status = os.stat(self._folder.current)
                return status.st_ino, status.st_mtime_ns, self._folder.current.read_bytes()
            except FileNotFoundError:
                return None


_READERS: "weakref.WeakSet[LocalReader]" = weakref.WeakSet()


def _after_fork() -> None:
    """A thread that held a lock, to open a version, isn't there in a child, which would wait for it for ever."""
    for reader in _READERS:
        reader._alone = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
