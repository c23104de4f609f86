"""What describes a part or a version, each text with its own checksum. Reads no rows."""

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Self

import pyarrow as pa
import xxhash

from feature_store.base import Described, VersionInfo
from feature_store.errors import CorruptVersion

FORMAT = 1
_SEAL = 16  # hexadecimal digits


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part and who writes it: the last of `tokens`. The others are attempts whose rows are not removed yet.

    It counts from when it's `done`; `size` is the bytes of keys and rows, `schema` is the Arrow schema in base64.
    """

    tokens: tuple[str, ...]
    done: bool = False
    rows: int = 0
    size: int = 0
    schema: str = ""

    def seal(self) -> bytes:
        return _seal(asdict(self))

    @classmethod
    def unseal(cls, content: bytes, name: str, way_out: str) -> Self:
        body = _unseal(content, f"the description of part '{name}'", way_out)
        return cls(**body | {"tokens": tuple(body["tokens"])})


@dataclass(frozen=True, kw_only=True)
class Manifest(Described):
    """All of a version; `pieces` of its dictionary count, with `strings_checksum`."""

    uid: str
    schema: str
    size: int
    parts: tuple[str, ...]
    pieces: int
    strings_checksum: str

    @property
    def info(self) -> VersionInfo:
        return self.info_of(self.size)

    def seal(self) -> bytes:
        return _seal(asdict(self) | {"created_at": self.created_at.isoformat(), "format": FORMAT})

    @classmethod
    def unseal(cls, content: bytes, place: str) -> Self:
        """Raises CorruptVersion when it's not as it was written or of another format."""
        body = _unseal(content, f"a manifest in {place}", "roll back to another version, then delete this one")
        if body.pop("format", None) != FORMAT:
            raise CorruptVersion(
                f"a manifest in {place} is not of format {FORMAT}; read it with the release that wrote"
            )
        created_at = datetime.fromisoformat(body["created_at"]).astimezone(UTC)
        return cls(**body | {"created_at": created_at, "parts": tuple(body["parts"])})


def pack_schema(schema: Any) -> str:
    return base64.b64encode(schema.serialize()).decode()


def unpack_schema(text: str) -> Any:
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text)))


def pack_array(array: Any) -> bytes:
    """An Arrow array as bytes, compressed: keys and ids have much in common."""
    sink = pa.BufferOutputStream()
    batch = pa.record_batch([array], names=["values"])
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_batch(batch)
    packed: bytes = sink.getvalue().to_pybytes()
    return xxhash.xxh3_64_digest(packed) + packed


def unpack_array(packed: bytes, what: str, way_out: str) -> Any:
    """Raises CorruptVersion when the bytes are not those that were written."""
    if xxhash.xxh3_64_digest(packed[8:]) != packed[:8]:
        raise CorruptVersion(f"{what} are not as they were written; {way_out}")
    return pa.ipc.open_stream(pa.py_buffer(packed[8:])).read_next_batch().column(0)


def _seal(body: Mapping[str, Any]) -> bytes:
    text = json.dumps(body, sort_keys=True).encode()
    return xxhash.xxh3_64_hexdigest(text).encode() + text


def _unseal(content: bytes, what: str, way_out: str) -> dict[str, Any]:
    if xxhash.xxh3_64_hexdigest(content[_SEAL:]).encode() != content[:_SEAL]:
        raise CorruptVersion(f"{what} is not as it was written; {way_out}")
    return dict(json.loads(content[_SEAL:]))
