"""The Redis backend: versions of views in one server. Knows no row."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from feature_store.base import VersionInfo
from feature_store.errors import InvalidInput, RefusedVersion, UnknownVersion, VersionServed, not_staged
from feature_store.redis.aio import AsyncRedisReader
from feature_store.redis.cleanup import forget, reclaim
from feature_store.redis.commit import commit_stage, committed_already
from feature_store.redis.connection import connect
from feature_store.redis.layout import (
    CURRENT,
    VersionKeys,
    committed,
    new_id,
    owner_key,
    refused,
    staged,
    view_key,
    views_key,
)
from feature_store.redis.lease import is_held
from feature_store.redis.listing import committed_ids, infos_of, refusals, untouched
from feature_store.redis.reader import RedisReader, open_held, open_served
from feature_store.redis.snapshot import RedisSnapshot, open_version, read_manifest
from feature_store.redis.stage import RedisStage
from feature_store.redis.transaction import transact
from feature_store.redis.verify import verify_rows
from feature_store.rules import check_metadata, check_name, check_owner, previous_version
from feature_store.validate import Checks


class RedisStore:
    """A feature store in one Redis server. See Store for what each method promises; all may raise EvictingServer, and
    InvalidInput where the server is a node of a cluster.

    `url` is redis-py's, `redis://` or `rediss://`, and may give a `prefix` of all keys in its query. `follow_seconds`
    is how often readers look for a swap. `owner` is as `open_store` says. The rows of a version that was deleted stay
    for whoever has it open, and are removed by a later publisher.
    """

    def __init__(self, url: str, *, owner: str | None = None, follow_seconds: float = 0.2) -> None:
        self._server = connect(url)
        self._owner = owner
        self._follow_seconds = follow_seconds

    def __repr__(self) -> str:
        return f"RedisStore({self._server.place!r})"

    def begin(self, view: str, version: str) -> RedisStage:
        key = self._key(view)
        check_name("version", version)
        self._server.refuse_eviction()
        self._claim()
        reclaim(self._server, key)

        def attempt(pipe: Any) -> str:
            state = pipe.hgetall(key)
            if committed(version) in state:
                raise committed_already(self._server, view, version)
            if staged(version) in state:
                return str(state[staged(version)].decode())
            uid = new_id()
            pipe.multi()
            pipe.sadd(views_key(self._server.prefix), view)
            pipe.hset(key, staged(version), uid)
            pipe.execute()
            return uid

        uid = transact(self._server, "begin a version in", [key], attempt)
        return RedisStage(self._server, view, version, uid)

    def stage(self, view: str, version: str) -> RedisStage:
        state = self._state(view)
        check_name("version", version)
        if committed(version) in state:
            raise committed_already(self._server, view, version)
        if staged(version) not in state:
            raise not_staged(view, version, self._server.place)
        return RedisStage(self._server, view, version, state[staged(version)].decode())

    def commit(
        self,
        view: str,
        version: str,
        *,
        expect_parts: Sequence[str],
        metadata: Mapping[str, str],
        checks: Checks | None = None,
    ) -> VersionInfo:
        self._key(view)
        check_name("version", version)
        check_metadata(version, metadata)
        self._server.refuse_eviction()
        return commit_stage(self._server, view, version, expect_parts, metadata, checks or Checks())

    def views(self) -> list[str]:
        with self._server.reaching("list the views in"):
            return sorted(view.decode() for view in self._server.client.smembers(views_key(self._server.prefix)))

    def current(self, view: str) -> str | None:
        state = self._state(view)
        served = state.get(CURRENT)
        return next((version for version, uid in committed_ids(state).items() if uid.encode() == served), None)

    def versions(self, view: str) -> list[VersionInfo]:
        return infos_of(self._server, view, lambda: self._state(view))

    def staged(self, view: str) -> dict[str, timedelta]:
        state = self._state(view)
        with self._server.reaching("read the parts in"):
            return untouched(self._server, state)

    def rollback(self, view: str, version: str | None = None) -> VersionInfo:
        key = self._key(view)
        while True:
            target = (
                previous_version(view, self._server.place, self.current(view), self.versions(view))
                if version is None
                else version
            )
            state = self._state(view)
            uid = self._committed(view, target, state)
            manifest = read_manifest(self._server, uid)
            verify_rows(self._server, manifest)
            open_version(self._server, uid)
            if self._change(key, state, partial(_serve, key=key, uid=uid)):
                return manifest.info

    def delete(self, view: str, version: str) -> None:
        key = self._key(view)
        check_name("version", version)
        tried = False
        while True:
            state = self._state(view)
            found = [field for field in (committed(version), staged(version)) if field in state]
            if not found and tried:
                break  # the answer to our own deletion was lost, or another one was faster
            if not found:
                raise UnknownVersion(f"view '{view}' has no version '{version}' in {self._server.place}")
            if state.get(committed(version), b"") == state.get(CURRENT):
                raise VersionServed(
                    f"version '{version}' of view '{view}' is being served; publish or roll back to another one first"
                )
            tried = True
            if self._change(key, state, partial(_forget, key=key, state=state, version=version)):
                break
        reclaim(self._server, key)

    def prune(self, view: str, keep: int, *, spare: Collection[str] = ()) -> list[str]:
        if keep < 1:
            raise InvalidInput(f"keep {keep} would leave no version of view '{view}'; keep one at least")
        key = self._key(view)
        while True:
            state = self._state(view)
            if not state:
                raise UnknownVersion(f"there's no view '{view}' in {self._server.place}; publish a version of it first")
            removed = self._remove_old(key, state, self.versions(view), keep, spare)
            if removed is not None:
                break
        reclaim(self._server, key)
        return removed

    def reader(self, view: str) -> RedisReader:
        self._key(view)
        return RedisReader(self._server, view, self._follow_seconds)

    def async_reader(self, view: str) -> AsyncRedisReader:
        """A reader to use as `async with store.async_reader(view) as reader: await reader.get(key)`."""
        self._key(view)
        return AsyncRedisReader(self._server, view, self._follow_seconds)

    def snapshot(self, view: str, version: str | None = None) -> RedisSnapshot:
        self._server.refuse_eviction()
        if version is None:
            self._key(view)
            return open_served(self._server, view)
        uid = self._committed(view, version, self._state(view))
        snapshot = open_held(self._server, uid, lambda: self._state(view).get(committed(version)) == uid.encode())
        if snapshot is None:
            raise UnknownVersion(f"version '{version}' of view '{view}' was just removed from {self._server.place}")
        return snapshot

    def verify(self, view: str, version: str | None = None) -> VersionInfo:
        snapshot = self.snapshot(view, version)
        snapshot.verify()
        return snapshot.info

    def _key(self, view: str) -> str:
        key = view_key(self._server.prefix, check_name("view", view))
        if self._owner is not None:
            with self._server.reaching("read the owner of"):
                found = self._server.client.get(owner_key(self._server.prefix))
            self._check_owner(found)
        return key

    def _check_owner(self, found: bytes | None) -> None:
        place = f"{self._server.place} under '{self._server.prefix}'"
        check_owner(place, self._owner, None if found is None else found.decode())

    def _claim(self) -> None:
        """Makes a store that is nobody's the owner's, once and for all."""
        if self._owner is not None:
            with self._server.reaching("claim"):
                self._server.client.setnx(owner_key(self._server.prefix), self._owner)
                found = self._server.client.get(owner_key(self._server.prefix))
            self._check_owner(found)

    def _state(self, view: str) -> dict[bytes, bytes]:
        key = self._key(view)
        with self._server.reaching("read"):
            state: dict[bytes, bytes] = self._server.client.hgetall(key)
        return state

    def _committed(self, view: str, version: str, state: Mapping[bytes, bytes]) -> str:
        if refused(version) in state:
            rule = refusals(self._server, view, state)[version].problem
            raise RefusedVersion(
                f"version '{version}' of view '{view}' was refused by its commit, it breaks the rule {rule}. "
                f"It is staged in {self._server.place}"
            )
        if committed(version) not in state:
            raise UnknownVersion(f"view '{view}' has no committed version '{version}' in {self._server.place}")
        return state[committed(version)].decode()

    def _change(self, key: str, state: Mapping[bytes, bytes], queue: Callable[[Any], object]) -> bool:
        """Executes what `queue` queues if the view is still as it was read."""

        def attempt(pipe: Any) -> bool:
            if pipe.hgetall(key) != state:
                return False
            pipe.multi()
            queue(pipe)
            pipe.execute()
            return True

        return transact(self._server, "change a view in", [key], attempt)

    def _remove_old(
        self, key: str, state: Mapping[bytes, bytes], infos: Sequence[VersionInfo], keep: int, spare: Collection[str]
    ) -> list[str] | None:
        """The versions that prune removed; None where the view isn't as it was read, or one was just opened."""
        stay = {name for name, uid in committed_ids(state).items() if uid.encode() == state.get(CURRENT)} | {*spare}
        old = [info.version for info in infos if not info.refused][:-keep]
        old += [info.version for info in infos if info.refused][:-keep]
        fields = {name: committed(name) if committed(name) in state else staged(name) for name in old}
        # One that was removed since the view was read is in no field of it.
        uids = {name: state[field].decode() for name, field in fields.items() if field in state and name not in stay}
        keys = {name: VersionKeys(prefix=self._server.prefix, uid=uid) for name, uid in uids.items()}
        now = self._server.now()

        def attempt(pipe: Any) -> list[str] | None:
            if pipe.hgetall(key) != state:
                return None
            free = [name for name in uids if not is_held(pipe, keys[name], now)]
            pipe.multi()
            for name in free:
                _forget(pipe, key, state, name)
            pipe.execute()
            return free

        # A reader that opens one of them meanwhile changes its leases.
        return transact(self._server, "prune", [key, *(version.leases for version in keys.values())], attempt)


def _serve(pipe: Any, key: str, uid: str) -> None:
    pipe.hset(key, CURRENT, uid)


def _forget(pipe: Any, key: str, state: Mapping[bytes, bytes], version: str) -> None:
    for field in (committed(version), staged(version)):
        if field in state:
            forget(pipe, key, state[field].decode(), version)
