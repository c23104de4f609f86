"""The small files that describe a version, a part or a choice, each with its own checksum. Reads no data."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import xxhash

from feature_store.base import Described, VersionInfo
from feature_store.errors import CorruptVersion
from feature_store.local.disk import reaching, write_atomic

FORMAT = 2
_READABLE = (1, FORMAT)
_SEAL = "seal"  # the checksum of everything else in the file


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One file of a version: its name in the folder, size and XXH3-128 of its bytes."""

    file: str
    bytes: int
    checksum: str


@dataclass(frozen=True, kw_only=True)
class RowRange:
    """Rows [first, first + rows) of a part: `bytes` bytes of its file from `offset` on, and the XXH3-128 of these.

    The last range of a file is what stands behind its rows.
    """

    first: int
    rows: int
    offset: int
    bytes: int
    checksum: str


@dataclass(frozen=True, kw_only=True)
class Part(Entry):
    """One Arrow IPC file with some of the rows; its `ranges` cover each byte of it, and format 1 had none."""

    part: str
    rows: int
    ranges: tuple[RowRange, ...] = ()

    def save(self, path: Path) -> None:
        write_atomic(path, _seal(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> Self:
        return cls.parse(_unseal(path, "write the part again"))

    @classmethod
    def parse(cls, body: Mapping[str, Any]) -> Self:
        return cls(**{**body, "ranges": tuple(RowRange(**rows) for rows in body.get("ranges", ()))})


@dataclass(frozen=True, kw_only=True)
class Manifest(Described):
    """All of a version; `schema` lists [column, Arrow type], the key first."""

    schema: tuple[tuple[str, str], ...]
    parts: tuple[Part, ...]
    index: Entry

    @property
    def info(self) -> VersionInfo:
        return self.info_of(self.index.bytes + sum(part.bytes for part in self.parts))

    def save(self, path: Path) -> None:
        body = asdict(self) | {"created_at": self.created_at.isoformat(), "keys": self.rows, "format": FORMAT}
        write_atomic(path, _seal(body))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Raises CorruptVersion when the file is missing, not as written or of an unknown format."""
        way_out = "roll back to another version, then delete this one"
        body = _unseal(path, way_out)
        if body.pop("format", None) not in _READABLE:
            raise CorruptVersion(f"{path} is not of format {FORMAT}; read it with the release that wrote it")
        del body["keys"]
        return cls(
            **body
            | {
                "created_at": datetime.fromisoformat(body["created_at"]).astimezone(UTC),
                "schema": tuple((name, kind) for name, kind in body["schema"]),
                "parts": tuple(Part.parse(part) for part in body["parts"]),
                "index": Entry(**body["index"]),
            }
        )


def save_pointer(path: Path, version: str) -> None:
    """Makes the pointer file name a version: the version, a space and its checksum."""
    write_atomic(path, f"{version} {xxhash.xxh3_64_hexdigest(version.encode())}\n".encode())


def load_pointer(path: Path) -> str | None:
    """The version that the pointer file names, or None without one. Raises CorruptVersion for a damaged one."""
    with reaching(path, "read"):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
    name, _, checksum = content.rstrip(b"\n").rpartition(b" ")
    # Versions often differ in one digit, so that one flipped bit could name another day's scores.
    if xxhash.xxh3_64_hexdigest(name).encode() != checksum:
        raise CorruptVersion(f"{path} is damaged; roll back to the version that should be served, by its name")
    return name.decode()


def _seal(body: Mapping[str, Any]) -> bytes:
    return json.dumps({**body, _SEAL: _checksum(body)}, indent=1, sort_keys=True).encode() + b"\n"


def _unseal(path: Path, way_out: str) -> dict[str, Any]:
    with reaching(path, "read"):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise CorruptVersion(f"{path} is missing; {way_out}") from None
    try:
        body = json.loads(content)
        intact = isinstance(body, dict) and body.pop(_SEAL, None) == _checksum(body)
    except (ValueError, RecursionError):
        intact = False
    if not intact:
        raise CorruptVersion(f"{path} is not as it was written; {way_out}")
    return dict(body)


def _checksum(body: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(body, sort_keys=True).encode())
