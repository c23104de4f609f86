"""Removes rows that no version needs any more, by the lists of what was written. Never scans the server."""

from typing import Any

import redis

from feature_store.errors import CorruptVersion
from feature_store.redis.connection import Server
from feature_store.redis.layout import VersionKeys, committed, refused, staged, trash
from feature_store.redis.lease import is_held
from feature_store.redis.manifest import Part, unpack_array
from feature_store.redis.table import pack_keys
from feature_store.redis.transaction import Fence


def remove_written(server: Server, keys: VersionKeys, token: str, fence: Fence | None = None) -> None:
    """Removes the rows that one attempt at a part wrote, last piece first; one that was killed here goes on later.

    With a fence, only while it holds.
    """
    written = keys.written(token)
    while True:
        with server.reaching("remove rows from"):
            pieces = server.client.hlen(written)
            if not pieces:
                return
            rows = _rows(server, keys, written, pieces - 1)

        def queue(pipe: Any, rows: list[bytes] = rows, last: int = pieces - 1) -> None:
            if rows:
                pipe.unlink(*rows)
            pipe.hdel(written, str(last))

        if fence is not None:
            fence.write("remove rows from", queue)
            continue
        with server.reaching("remove rows from"), server.transaction() as pipe:
            queue(pipe)
            pipe.execute()


def _rows(server: Server, keys: VersionKeys, written: str, piece: int) -> list[bytes]:
    packed = server.client.hget(written, str(piece))
    if packed is None:  # another clean-up was faster
        return []
    try:
        return pack_keys(unpack_array(packed, f"the keys in {written}", "delete its rows by hand"), keys.rows)
    except CorruptVersion:
        # Its rows stay, out of everyone's sight; refusing every publish for their memory would be worse.
        return []


def reclaim(server: Server, view_key: str) -> None:
    """Removes what was deleted and is open to nobody any more. Safe to call at once from many publishers."""
    now = server.now()
    with server.reaching("read"):
        state = server.client.hgetall(view_key)
    for name in state:
        if name.startswith(trash("")):
            keys = VersionKeys(prefix=server.prefix, uid=name.removeprefix(trash("")).decode())
            with server.reaching("read who reads in"):
                held = is_held(server.client, keys, now)
            if not held:
                _remove_version(server, view_key, keys)


def _remove_version(server: Server, view_key: str, keys: VersionKeys) -> None:
    with server.reaching("remove a version from"):
        # The manifest goes first: a reader that misses a row and still finds the manifest knows that there is none.
        server.client.delete(keys.manifest)
        tokens = [
            token
            for parts in (keys.staged_parts, keys.committed_parts)
            for name, content in server.client.hgetall(parts).items()
            for token in _tokens(content, name.decode())
        ]
    for token in tokens:
        remove_written(server, keys, token)
    with server.reaching("remove a version from"), server.transaction() as pipe:
        pipe.unlink(keys.staged_parts, keys.committed_parts, keys.strings, keys.leases)
        pipe.hdel(view_key, trash(keys.uid))
        pipe.execute()


def _tokens(content: bytes, name: str) -> tuple[str, ...]:
    try:
        return Part.unseal(content, name, "delete its rows by hand").tokens
    except CorruptVersion:
        return ()


def forget(pipe: redis.client.Pipeline, view_key: str, uid: str, version: str) -> None:
    """Queues that a version is gone from its view; its rows stay for those who have it open."""
    pipe.hdel(view_key, committed(version), staged(version), refused(version))
    pipe.hset(view_key, trash(uid), "")
