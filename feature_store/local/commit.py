"""Staged parts to a served version: verify, index, check, swap. Its caller holds the view's lock.

Legend: P parts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from feature_store.base import VersionInfo, parse_as_of
from feature_store.errors import (
    CorruptVersion,
    IncompleteVersion,
    OlderVersion,
    RefusedVersion,
    VersionExists,
    not_staged,
)
from feature_store.local.disk import reaching, remove_file, rename_folder, write_atomic
from feature_store.local.index import build_index
from feature_store.local.layout import INDEX, MANIFEST, ViewFolder
from feature_store.local.manifest import Entry, Manifest, Part, load_pointer, save_pointer
from feature_store.local.snapshot import open_part
from feature_store.local.stage import part_manifest, staged_parts
from feature_store.validate import Checks, Served, broken_rule


def recover(folder: ViewFolder) -> None:
    """Takes back what a commit left that died before its swap: the version is staged again, whole.

    The lock is held, as for commit_stage.
    """
    version = folder.unfinished()
    if version is not None and folder.version(version).is_dir():
        rename_folder(folder.version(version), folder.staged(version))
    if folder.pending.exists():
        remove_file(folder.pending)
    # Pointers are written under the lock alone, so that these belong to nobody who lives.
    for path in folder.path.glob("*.tmp"):
        remove_file(path)


def commit_stage(
    folder: ViewFolder,
    version: str,
    expect_parts: Sequence[str],
    metadata: Mapping[str, str],
    sequence: int,
    checks: Checks,
) -> VersionInfo:
    """Store.commit, once the lock is held and what a dead commit left was taken back."""
    parse_as_of(metadata)
    if folder.is_committed(version):
        return _committed_before(folder, version, expect_parts, metadata)
    staged = folder.staged(version)
    if not staged.is_dir():
        raise not_staged(folder.view, version, staged)
    _refuse_older(folder, version, metadata)
    parts = _expected(staged, staged_parts(staged), expect_parts)
    _remove_unnamed(staged, parts)
    batches_P = _open(staged, parts)
    manifest = _describe(
        staged, parts, batches_P, view=folder.view, version=version, metadata=metadata, sequence=sequence
    )
    _refuse_broken(folder, manifest, [batch for batches in batches_P for batch in batches], checks)
    manifest.save(staged / MANIFEST)
    save_pointer(folder.pending, version)
    rename_folder(staged, folder.version(version))
    save_pointer(folder.current, version)
    remove_file(folder.pending)
    return manifest.info


def _committed_before(
    folder: ViewFolder, version: str, expect_parts: Sequence[str], metadata: Mapping[str, str]
) -> VersionInfo:
    """The answer to a commit that's asked for again, because its first answer was lost on the way."""
    if version == load_pointer(folder.current):
        manifest = folder.manifest(version)
        if {part.part for part in manifest.parts} == set(expect_parts) and manifest.metadata == dict(metadata):
            return manifest.info
    raise VersionExists(
        f"version '{version}' of view '{folder.view}' is committed in {folder.version(version)} and never changes; "
        "publish under another name, or delete it first"
    )


def _refuse_older(folder: ViewFolder, version: str, metadata: Mapping[str, str]) -> None:
    as_of = parse_as_of(metadata)
    served = load_pointer(folder.current)
    if as_of is None or served is None:
        return
    try:
        served_as_of = folder.manifest(served).info.as_of
    except CorruptVersion:
        return  # A damaged version must not stand in the way of the one that replaces it.
    if served_as_of is not None and as_of < served_as_of:
        raise OlderVersion(
            f"version '{version}' of view '{folder.view}' is as of {as_of:%Y-%m-%dT%H:%M:%SZ}, before the served "
            f"'{served}' ({served_as_of:%Y-%m-%dT%H:%M:%SZ}); publish newer data, or go back by rollback"
        )


def _refuse_broken(folder: ViewFolder, manifest: Manifest, batches: Sequence[Any], checks: Checks) -> None:
    as_of = manifest.info.as_of
    broken = broken_rule(checks, batches=batches, as_of=as_of, served=_served(folder))
    if broken is not None:
        staged = folder.staged(manifest.version)
        replace(manifest, refused=broken).save(staged / MANIFEST)
        raise RefusedVersion(
            f"version '{manifest.version}' of view '{folder.view}' is not served, it breaks the rule {broken}. "
            f"It stays in {staged}: commit it under other rules, write it again or delete it"
        )


def _served(folder: ViewFolder) -> Served | None:
    """What a new version is compared with: nothing where what is served is damaged, as that is to be replaced."""
    version = load_pointer(folder.current)
    if version is None:
        return None
    try:
        manifest = folder.manifest(version)
    except CorruptVersion:
        return None

    def batches() -> list[Any]:
        try:
            return [batch for part in manifest.parts for batch in open_part(folder.version(version), part, "")]
        except CorruptVersion:
            return []

    return Served(version=version, rows=manifest.rows, batches=batches)


def _expected(staged: Path, parts: Mapping[str, Part], expect_parts: Sequence[str]) -> list[Part]:
    missing, extra = sorted(set(expect_parts) - set(parts)), sorted(set(parts) - set(expect_parts))
    if missing:
        raise IncompleteVersion(f"{staged} lacks the parts {missing}; write them and commit again")
    if extra:
        raise IncompleteVersion(
            f"{staged} has the parts {extra} that were not expected; expect them, or delete the staged version "
            "and write it again"
        )
    return list(parts.values())


def _remove_unnamed(staged: Path, parts: Sequence[Part]) -> None:
    """Removes what killed writers left, so that any Arrow reader of the folder sees each row once."""
    named = {part.file for part in parts} | {part_manifest(staged, part.part).name for part in parts}
    with reaching(staged, "clean"):
        for path in list(staged.iterdir()):
            if path.name not in named:
                path.unlink()


def _open(staged: Path, parts: Sequence[Part]) -> list[list[Any]]:
    """The record batches of each part, verified and of one schema."""
    batches_P: list[list[Any]] = []
    for part in parts:
        batches_P.append(open_part(staged, part, f"write part '{part.part}' again"))
        if batches_P[-1][0].schema != batches_P[0][0].schema:
            raise IncompleteVersion(
                f"part '{part.part}' in {staged} has other columns than part '{parts[0].part}'; write one of them again"
            )
    return batches_P


def _describe(
    staged: Path,
    parts: Sequence[Part],
    batches_P: Sequence[Sequence[Any]],
    *,
    view: str,
    version: str,
    metadata: Mapping[str, str],
    sequence: int,
) -> Manifest:
    """Writes the index and says what the version is."""
    rows = sum(part.rows for part in parts)
    if rows == 0:
        raise IncompleteVersion(f"{staged} has no rows at all, and an empty version would serve nobody; write some")
    keys = [batch.column(0) for batches in batches_P for batch in batches]
    names = [part.part for part, batches in zip(parts, batches_P, strict=True) for _ in batches]
    index = write_atomic(staged / INDEX, build_index(keys, names).astype("<u8", copy=False))
    return Manifest(
        view=view,
        version=version,
        sequence=sequence,
        created_at=datetime.now(UTC),
        schema=tuple((field.name, str(field.type)) for field in batches_P[0][0].schema),
        rows=rows,
        parts=tuple(parts),
        index=Entry(file=INDEX, bytes=index.bytes, checksum=index.checksum),
        metadata=dict(metadata),
    )
