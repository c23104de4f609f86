"""The rules of a commit over rows in Redis, staged and served. Changes nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from feature_store.errors import CorruptVersion, UnknownVersion
from feature_store.redis.connection import Server
from feature_store.redis.manifest import Manifest, Part
from feature_store.redis.rows import Rows
from feature_store.redis.snapshot import OpenVersion, open_version, read_manifest
from feature_store.redis.verify import committed_parts
from feature_store.validate import Checks, Served, broken_rule


class _DamagedServed(Exception):
    """What is served can't be compared with."""


def broken_by(
    server: Server, checks: Checks, staged: OpenVersion, parts: Mapping[str, Part], served: str | None
) -> str | None:
    """The first rule that a staged version breaks, or None; `served` is the id of what it's compared with."""
    if checks == Checks():
        return None
    rows = Rows(server, staged.keys, staged.table, parts)
    compared = _served(server, served)
    try:
        return broken_rule(checks, batches=rows, as_of=staged.info.as_of, served=compared)
    except _DamagedServed:
        assert compared is not None
        return broken_rule(checks, batches=rows, as_of=staged.info.as_of, served=replace(compared, batches=list))


def _served(server: Server, uid: str | None) -> Served | None:
    """What a new version is compared with: nothing where its manifest is damaged, as that is to be replaced."""
    if uid is None:
        return None
    try:
        manifest = read_manifest(server, uid)
    except (CorruptVersion, UnknownVersion):
        return None
    return Served(version=manifest.version, rows=manifest.rows, batches=lambda: _batches(server, manifest))


def _batches(server: Server, manifest: Manifest) -> Iterator[Any]:
    try:
        version = open_version(server, manifest.uid)
        parts = dict(committed_parts(server, version.keys, manifest.parts))
        yield from Rows(server, version.keys, version.table, parts)
    except (CorruptVersion, UnknownVersion) as error:
        raise _DamagedServed from error
