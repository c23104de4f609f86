"""Answers from whatever version is served, and follows swaps. Knows the pointer and how to open a version."""

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from feature_store.base import Key, Reader
from feature_store.errors import StoreError, UnknownVersion
from feature_store.redis.connection import Server
from feature_store.redis.layout import VersionKeys
from feature_store.redis.lease import Lease
from feature_store.redis.row import PackedRow
from feature_store.redis.snapshot import RedisSnapshot, open_version, served_id


def open_served(server: Server, view: str) -> RedisSnapshot:
    """The version being served. Raises UnknownVersion or CorruptVersion."""
    while True:
        uid = served_id(server, view)
        is_served = partial(_is_served, server, view, uid)
        try:
            snapshot = open_held(server, uid, is_served)
        except StoreError:
            if is_served():
                raise
            continue
        if snapshot is not None:
            return snapshot


def _is_served(server: Server, view: str, uid: str) -> bool:
    return served_id(server, view) == uid


def open_held(server: Server, uid: str, is_there: Callable[[], bool]) -> RedisSnapshot | None:
    """A version that prune passes over until the snapshot is gone, or None. Raises UnknownVersion or CorruptVersion.

    `is_there` is asked once nobody can remove it any more: it may have been removed before.
    """
    lease = Lease(server, VersionKeys(prefix=server.prefix, uid=uid))
    try:
        if is_there():
            return RedisSnapshot(server, open_version(server, uid), lease)
    except BaseException:
        lease.release()
        raise
    lease.release()
    return None


class RedisReader(Reader):
    """A reader of a view in Redis. Threads and forks may share it: one opens a new version, the others go on."""

    def __init__(self, server: Server, view: str, follow_seconds: float) -> None:
        server.refuse_eviction()
        self._server = server
        self._view = view
        self._follow_seconds = follow_seconds
        self._error: StoreError | None = None
        self._next_look = time.monotonic() + follow_seconds
        self._snapshot = open_served(server, view)
        self._opened = weakref.WeakSet([self._snapshot])
        self.renew_lock()
        _readers.add(self)

    def renew_lock(self) -> None:
        self._lock = threading.Lock()

    @property
    def error(self) -> StoreError | None:
        self.snapshot()
        return self._error

    def get(self, key: Key) -> PackedRow | None:
        snapshot = self.snapshot()
        while True:
            try:
                return snapshot.get(key)
            except UnknownVersion:
                snapshot = self._newer(snapshot)

    def get_many(self, keys: Sequence[Key]) -> Any:
        snapshot = self.snapshot()
        while True:
            try:
                return snapshot.get_many(keys)
            except UnknownVersion:
                snapshot = self._newer(snapshot)

    def snapshot(self) -> RedisSnapshot:
        if time.monotonic() >= self._next_look and self._lock.acquire(blocking=False):
            try:
                self._follow()
            finally:
                self._lock.release()
        return self._snapshot

    def refresh(self) -> bool:
        with self._lock:
            before = self._snapshot
            self._follow()
            return self._snapshot is not before

    def _newer(self, gone: RedisSnapshot) -> RedisSnapshot:
        """What's served in place of a version that was removed while this reader slept.

        Raises UnknownVersion or why it can't be opened.
        """
        with self._lock:
            if self._snapshot is gone:
                self._follow()
            if self._snapshot is gone:
                raise self._error or gone.version.gone()
            return self._snapshot

    def _follow(self) -> None:
        self._next_look = time.monotonic() + self._follow_seconds
        try:
            # First, as they go on answering where the newer one can't be opened.
            for snapshot in list(self._opened):
                snapshot.keep()
            if served_id(self._server, self._view) != self._snapshot.version.keys.uid:
                self._snapshot = open_served(self._server, self._view)
                self._opened.add(self._snapshot)
            self._error = None
        except StoreError as error:
            self._error = error


_readers: "weakref.WeakSet[RedisReader]" = weakref.WeakSet()


def _after_fork() -> None:
    # A lock that another thread held while the process was forked would stay locked in the child for ever.
    for reader in _readers:
        reader.renew_lock()


os.register_at_fork(after_in_child=_after_fork)
