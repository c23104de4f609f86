"""Reads a version again from end to end and names what is damaged. Changes nothing."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import xxhash

from feature_store.base import VersionInfo
from feature_store.errors import CorruptVersion
from feature_store.local.disk import reaching
from feature_store.local.hold import open_held
from feature_store.local.layout import MANIFEST
from feature_store.local.manifest import Manifest, Part
from feature_store.local.snapshot import LocalSnapshot
from feature_store.local.stage import part_manifest

#: Keys that are looked up at once: memory stays bounded.
_LOOKUP = 8192


def verify_version(folder: Path) -> VersionInfo:
    """Checksums and counts of all files, then every key through the index, which must lead to its row.

    Raises CorruptVersion naming each damaged range of rows, or else the file.
    """
    try:
        snapshot = open_held(folder)
        manifest = snapshot.manifest
        for part in manifest.parts:
            _check_description(folder, part)
            _look_up(folder, part, snapshot)
    except CorruptVersion as error:
        # Only a file that isn't as it was written is read a second time.
        damaged = list(_damaged(folder))
        if not damaged:
            raise
        raise CorruptVersion(
            f"{folder} is damaged in {'; '.join(damaged)}; roll back to another version, then delete this one"
        ) from error
    return manifest.info


def _check_description(folder: Path, part: Part) -> None:
    path = part_manifest(folder, part.part)
    if Part.load(path) != part:
        raise CorruptVersion(f"{path} tells of another part than {folder / MANIFEST}; delete this version")


def _look_up(folder: Path, part: Part, snapshot: LocalSnapshot) -> None:
    """As many index entries as rows, and no key twice: where each key is found, each entry leads to its key."""
    path = folder / part.file
    with reaching(path, "read"), pa.memory_map(str(path)) as mapped:
        file = pa.ipc.open_file(mapped)
        for number in range(file.num_record_batches):
            keys = file.get_batch(number).column(0)
            for start in range(0, len(keys), _LOOKUP):
                asked = keys[start : start + _LOOKUP].to_pylist()
                found = snapshot.get_many(asked).column(0).to_pylist()
                if found != asked:
                    lost = next(key for key, answer in zip(asked, found, strict=True) if key != answer)
                    raise CorruptVersion(f"the index of {folder} doesn't lead to key {lost!r} in {path}; publish again")


def _damaged(folder: Path) -> Iterator[str]:
    for part in Manifest.load(folder / MANIFEST).parts:
        path = folder / part.file
        with reaching(path, "read"):
            size = path.stat().st_size if path.exists() else None
        if size is None:
            yield f"part '{part.part}': {path.name} is missing"
        elif size != part.bytes:
            yield f"part '{part.part}': {path.name} has {size} bytes where {part.bytes} were written"
        else:
            yield from (f"part '{part.part}': {piece}" for piece in _damaged_ranges(path, part))


def _damaged_ranges(path: Path, part: Part) -> Iterator[str]:
    with reaching(path, "read"), pa.memory_map(str(path)) as mapped:
        for piece in part.ranges:
            mapped.seek(piece.offset)
            if xxhash.xxh3_128_hexdigest(mapped.read_buffer(piece.bytes)) != piece.checksum:
                rows = f"rows [{piece.first}, {piece.first + piece.rows})" if piece.rows else "what follows its rows"
                yield f"{rows}, bytes [{piece.offset}, {piece.offset + piece.bytes}) of {path.name}"
