"""Staged parts to a served version: verify, describe, swap. One optimistic transaction, no lock."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from feature_store.base import VersionInfo, parse_as_of
from feature_store.errors import (
    CorruptVersion,
    IncompleteVersion,
    OlderVersion,
    RefusedVersion,
    UnknownVersion,
    VersionExists,
    not_staged,
)
from feature_store.redis.check import broken_by
from feature_store.redis.connection import Server
from feature_store.redis.layout import CURRENT, SEQUENCE, VersionKeys, committed, refused, staged, view_key
from feature_store.redis.manifest import Manifest, Part
from feature_store.redis.snapshot import OpenVersion, read_manifest
from feature_store.redis.stage import RedisPartWriter, read_parts
from feature_store.redis.strings import checksum
from feature_store.redis.transaction import transact
from feature_store.redis.verify import check_duplicates, written_keys
from feature_store.validate import Checks


def commit_stage(
    server: Server, view: str, version: str, expect_parts: Sequence[str], metadata: Mapping[str, str], checks: Checks
) -> VersionInfo:
    """Store.commit. What was verified is what is swapped in: where a part changes meanwhile, all is verified again."""
    commit = _Commit(server, view, version, expect_parts, metadata, checks)
    while True:
        info = commit.attempt()
        if info is not None and info.refused:
            raise RefusedVersion(
                f"version '{version}' of view '{view}' is not served, it breaks the rule {info.problem}. It stays "
                f"staged in {server.place}: commit it under other rules, write it again or delete it"
            )
        if info is not None:
            return info


class _Commit:
    """One commit and what it has verified so far."""

    def __init__(
        self,
        server: Server,
        view: str,
        version: str,
        expect_parts: Sequence[str],
        metadata: Mapping[str, str],
        checks: Checks,
    ) -> None:
        self._server = server
        self._view = view
        self._version = version
        self._expected = sorted(set(expect_parts))
        self._metadata = dict(metadata)
        self._as_of = parse_as_of(metadata)
        self._view_key = view_key(server.prefix, view)
        self._checks = checks
        self._verified: tuple[str, dict[str, Part]] | None = None

    def attempt(self) -> VersionInfo | None:
        """The committed or refused version; None where another one was faster, and it's to be tried again."""
        with self._server.reaching("read"):
            state = self._server.client.hgetall(self._view_key)
        done = self._committed_before(state)
        if done is not None:
            return done
        self._refuse_older(state)
        uid = self._staged(state)
        keys = VersionKeys(prefix=self._server.prefix, uid=uid)
        begun = self._parts(keys)
        try:
            if self._verified is None or self._verified != (uid, begun):
                self._verified = uid, self._verify(keys, begun)
            parts = self._verified[1]
            broken = self._broken(state, keys, parts)
        except CorruptVersion:
            if self._parts(keys) == begun:
                raise
            return None  # another writer took a part away while it was read
        return transact(
            self._server,
            f"commit version '{self._version}' in",
            [self._view_key, keys.staged_parts, keys.strings],
            lambda pipe: self._swap(pipe, state, keys, parts, broken),
        )

    def _swap(
        self,
        pipe: Any,
        state: Mapping[bytes, bytes],
        keys: VersionKeys,
        parts: Mapping[str, Part],
        broken: str | None,
    ) -> VersionInfo | None:
        if pipe.hgetall(self._view_key) != state or read_parts(pipe, keys) != parts:
            return None
        manifest = self._describe(parts, keys, state, pipe.lrange(keys.strings, 0, -1))
        pipe.multi()
        pipe.hset(self._view_key, SEQUENCE, manifest.sequence)
        if broken is not None:
            manifest = replace(manifest, refused=broken)
            pipe.hset(self._view_key, refused(self._version), manifest.seal())
            pipe.execute()
            return manifest.info
        pipe.rename(keys.staged_parts, keys.committed_parts)
        pipe.set(keys.manifest, manifest.seal())
        pipe.hdel(self._view_key, staged(self._version), refused(self._version))
        pipe.hset(self._view_key, committed(self._version), keys.uid)
        pipe.hset(self._view_key, CURRENT, keys.uid)
        pipe.execute()
        return manifest.info

    def _committed_before(self, state: Mapping[bytes, bytes]) -> VersionInfo | None:
        """The answer to a commit that's asked for again, because its first answer was lost on the way."""
        uid = state.get(committed(self._version))
        if uid is None:
            return None
        if uid == state.get(CURRENT):
            manifest = read_manifest(self._server, uid.decode())
            if list(manifest.parts) == self._expected and manifest.metadata == self._metadata:
                return manifest.info
        raise committed_already(self._server, self._view, self._version)

    def _refuse_older(self, state: Mapping[bytes, bytes]) -> None:
        served = state.get(CURRENT)
        if self._as_of is None or served is None:
            return
        try:
            info = read_manifest(self._server, served.decode()).info
        except (CorruptVersion, UnknownVersion):
            return  # A damaged version must not stand in the way of the one that replaces it.
        if info.as_of is not None and self._as_of < info.as_of:
            raise OlderVersion(
                f"version '{self._version}' of view '{self._view}' is as of {self._as_of:%Y-%m-%dT%H:%M:%SZ}, before "
                f"the served '{info.version}' ({info.as_of:%Y-%m-%dT%H:%M:%SZ}); publish newer data, or go back by "
                "rollback"
            )

    def _staged(self, state: Mapping[bytes, bytes]) -> str:
        uid = state.get(staged(self._version))
        if uid is None:
            raise not_staged(self._view, self._version, self._server.place)
        return uid.decode()

    def _parts(self, keys: VersionKeys) -> dict[str, Part]:
        with self._server.reaching("read the parts in"):
            return read_parts(self._server.client, keys)

    def _verify(self, keys: VersionKeys, parts: Mapping[str, Part]) -> dict[str, Part]:
        """The parts of a whole version: exactly those expected, of one schema, each key once, each row there."""
        done = sorted(name for name, part in parts.items() if part.done)
        missing, extra = sorted(set(self._expected) - set(done)), sorted(set(done) - set(self._expected))
        if missing:
            raise IncompleteVersion(
                f"version '{self._version}' of view '{self._view}' lacks the parts {missing}; write them and "
                "commit again"
            )
        if extra:
            raise IncompleteVersion(
                f"version '{self._version}' of view '{self._view}' has the parts {extra} that were not expected; "
                "expect them, or delete the staged version and write it again"
            )
        for name in parts.keys() - set(done):
            # The rows of a writer that died lie where a reader looks.
            RedisPartWriter(self._server, self._view, self._version, keys, name).discard()
        for name in done:
            if parts[name].schema != parts[done[0]].schema:
                raise IncompleteVersion(
                    f"part '{name}' of version '{self._version}' has other columns than part '{done[0]}'; "
                    "write one of them again"
                )
        if sum(part.rows for part in parts.values()) == 0:
            raise IncompleteVersion(
                f"version '{self._version}' of view '{self._view}' has no rows at all, and an empty version would "
                "serve nobody; write some"
            )
        check_duplicates({name: written_keys(self._server, keys, name, parts[name]) for name in done})
        return {name: parts[name] for name in done}

    def _broken(self, state: Mapping[bytes, bytes], keys: VersionKeys, parts: Mapping[str, Part]) -> str | None:
        """The rule that the verified parts break, or None."""
        with self._server.reaching("read the strings in"):
            strings = self._server.client.lrange(keys.strings, 0, -1)
        staged = OpenVersion(self._describe(parts, keys, state, strings), strings, self._server)
        served = state.get(CURRENT)
        return broken_by(self._server, self._checks, staged, parts, None if served is None else served.decode())

    def _describe(
        self, parts: Mapping[str, Part], keys: VersionKeys, state: Mapping[bytes, bytes], strings: list[bytes]
    ) -> Manifest:
        return Manifest(
            view=self._view,
            version=self._version,
            uid=keys.uid,
            sequence=1 + int(state.get(SEQUENCE, 0)),
            created_at=datetime.fromtimestamp(self._server.now(), UTC),
            schema=next(iter(parts.values())).schema,
            rows=sum(part.rows for part in parts.values()),
            size=sum(part.size for part in parts.values()) + sum(map(len, strings)),
            parts=tuple(self._expected),
            pieces=len(strings),
            strings_checksum=checksum(strings),
            metadata=self._metadata,
        )


def committed_already(server: Server, view: str, version: str) -> VersionExists:
    return VersionExists(
        f"version '{version}' of view '{view}' is committed in {server.place} and never changes; "
        "publish under another name, or delete it first"
    )
