"""The Redis backend: versions of views in one server. Knows no row."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from feature_store.base import VersionInfo
from feature_store.errors import CorruptVersion, InvalidInput, UnknownVersion, VersionServed
from feature_store.local.manifest import check_name
from feature_store.redis.aio import AsyncRedisReader
from feature_store.redis.cleanup import forget, reclaim
from feature_store.redis.commit import commit_stage, committed_already, read_manifest, unseal_manifest
from feature_store.redis.connection import connect
from feature_store.redis.layout import CURRENT, VersionKeys, committed, left, new_id, staged, view_key
from feature_store.redis.reader import RedisReader, open_served
from feature_store.redis.snapshot import RedisSnapshot, open_version
from feature_store.redis.stage import RedisStage
from feature_store.redis.transaction import transact
from feature_store.redis.verify import verify_rows

_UNKNOWN = datetime.fromtimestamp(0, UTC)


class RedisStore:
    """A feature store in one Redis server. See Store for what each method promises; all may raise EvictingServer.

    `url` is redis-py's, `redis://` or `rediss://`, and may give a `prefix` of all keys in its query. `follow_seconds`
    is how often readers look for a swap. The rows of a version stay for `grace_seconds` after it was last served,
    for whoever still reads them, and are removed by the next publisher.
    """

    def __init__(self, url: str, *, follow_seconds: float = 0.2, grace_seconds: float = 60.0) -> None:
        self._server = connect(url)
        self._follow_seconds = follow_seconds
        self._grace_seconds = grace_seconds

    def __repr__(self) -> str:
        return f"RedisStore({self._server.place!r})"

    def begin(self, view: str, version: str) -> RedisStage:
        key = self._key(view)
        check_name("version", version)
        self._server.refuse_eviction()
        reclaim(self._server, key)

        def attempt(pipe: Any) -> str:
            state = pipe.hgetall(key)
            if committed(version) in state:
                raise committed_already(self._server, view, version)
            if staged(version) in state:
                return str(state[staged(version)].decode())
            uid = new_id()
            pipe.multi()
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
            raise UnknownVersion(
                f"version '{version}' of view '{view}' isn't staged in {self._server.place}; begin it first"
            )
        return RedisStage(self._server, view, version, state[staged(version)].decode())

    def commit(
        self, view: str, version: str, *, expect_parts: Sequence[str], metadata: Mapping[str, str]
    ) -> VersionInfo:
        self._key(view)
        check_name("version", version)
        wrong = {key: value for key, value in metadata.items() if not (isinstance(key, str) and isinstance(value, str))}
        if wrong:
            raise InvalidInput(f"metadata {wrong} of version '{version}' must be strings; convert them first")
        self._server.refuse_eviction()
        return commit_stage(self._server, view, version, expect_parts, metadata)

    def current(self, view: str) -> str | None:
        state = self._state(view)
        served = state.get(CURRENT)
        return next((version for version, uid in _versions(state).items() if uid.encode() == served), None)

    def versions(self, view: str) -> list[VersionInfo]:
        infos = [info for name, uid in _versions(self._state(view)).items() if (info := self._info(view, name, uid))]
        return sorted(infos, key=lambda info: (info.sequence, info.version))

    def rollback(self, view: str, version: str | None = None) -> VersionInfo:
        key = self._key(view)
        while True:
            target = self._previous(view) if version is None else version
            state = self._state(view)
            uid = self._committed(view, target, state)
            manifest = read_manifest(self._server, uid)
            verify_rows(self._server, manifest)
            open_version(self._server, uid)
            if self._change(key, state, self._serving(key, state, uid)):
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
            if self._change(key, state, self._forgetting(key, state, found)):
                break
        reclaim(self._server, key)

    def prune(self, view: str, keep: int) -> list[str]:
        if keep < 1:
            raise InvalidInput(f"keep {keep} would leave no version of view '{view}'; keep one at least")
        key = self._key(view)
        while True:
            state = self._state(view)
            if not state:
                raise UnknownVersion(f"there's no view '{view}' in {self._server.place}; publish a version of it first")
            served = state.get(CURRENT, b"").decode()
            uids = _versions(state)
            old = [info.version for info in self.versions(view)[:-keep] if uids.get(info.version, served) != served]
            if not old or self._change(key, state, self._forgetting(key, state, [committed(name) for name in old])):
                break
        reclaim(self._server, key)
        return old

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
        return RedisSnapshot(self._server, open_version(self._server, uid))

    def _key(self, view: str) -> str:
        return view_key(self._server.prefix, check_name("view", view))

    def _state(self, view: str) -> dict[bytes, bytes]:
        key = self._key(view)
        with self._server.reaching("read"):
            state: dict[bytes, bytes] = self._server.client.hgetall(key)
        return state

    def _committed(self, view: str, version: str, state: Mapping[bytes, bytes]) -> str:
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

    def _serving(self, key: str, state: Mapping[bytes, bytes], uid: str) -> Callable[[Any], None]:
        served = state.get(CURRENT)
        now = self._server.now()

        def queue(pipe: Any) -> None:
            if served is not None and served != uid.encode():
                pipe.hset(key, left(served.decode()), repr(now))
            pipe.hset(key, CURRENT, uid)

        return queue

    def _forgetting(self, key: str, state: Mapping[bytes, bytes], fields: Sequence[bytes]) -> Callable[[Any], None]:
        """What takes versions out of a view: their rows stay for those who read a version that was served just now."""

        def queue(pipe: Any) -> None:
            for field in fields:
                uid = state[field].decode()
                served_until = state.get(left(uid))
                due = 0.0 if served_until is None else float(served_until) + self._grace_seconds
                forget(pipe, key, uid, field=field, due=due)

        return queue

    def _info(self, view: str, version: str, uid: str) -> VersionInfo | None:
        """What is known of a version; None where it was removed meanwhile."""
        with self._server.reaching("read a manifest in"):
            content = self._server.client.get(VersionKeys(prefix=self._server.prefix, uid=uid).manifest)
        try:
            return unseal_manifest(content, uid, self._server.place).info
        except (CorruptVersion, UnknownVersion) as error:
            if _versions(self._state(view)).get(version) != uid:
                return None
            return VersionInfo(
                view=view, version=version, created_at=_UNKNOWN, rows=0, bytes=0, sequence=0, problem=str(error)
            )

    def _previous(self, view: str) -> str:
        served, infos = self.current(view), self.versions(view)
        # Where the served one's own manifest is damaged its place is unknown, and the newest other one is meant.
        place = next((info.sequence for info in infos if info.version == served and not info.problem), None)
        earlier = [
            info.version
            for info in infos
            if not info.problem and info.version != served and (place is None or info.sequence < place)
        ]
        if not earlier:
            raise UnknownVersion(
                f"view '{view}' has no version before '{served}' in {self._server.place} to go back to"
            )
        return earlier[-1]


def _versions(state: Mapping[bytes, bytes]) -> dict[str, str]:
    """The ids of committed versions by name."""
    prefix = committed("")
    return {name.removeprefix(prefix).decode(): uid.decode() for name, uid in state.items() if name.startswith(prefix)}
