"""One version opened by mmap, verified, and its answers. Knows files of one version only."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from feature_store.base import Key, VersionInfo
from feature_store.errors import CorruptVersion, InvalidInput
from feature_store.local.disk import reaching
from feature_store.local.index import KeyIndex
from feature_store.local.layout import MANIFEST
from feature_store.local.manifest import Entry, Manifest, Part

_WAY_OUT = "roll back to another version, then delete this one"


def map_verified(folder: Path, entry: Entry, way_out: str) -> Any:
    """The bytes of a file as a mapped Arrow buffer, once they are those that were written.

    The very mapping that was verified is the one that's served. Raises CorruptVersion.
    """
    path = folder / entry.file
    with reaching(path, "read"):
        try:
            size = os.stat(path).st_size
        except FileNotFoundError:
            raise CorruptVersion(f"{path} is missing; {way_out}") from None
        if size != entry.bytes or size == 0:
            raise CorruptVersion(f"{path} has {size} bytes where {entry.bytes} were written; {way_out}")
        with pa.memory_map(str(path)) as mapped:
            buffer = mapped.read_buffer()
    if xxhash.xxh3_128_hexdigest(buffer) != entry.checksum:
        raise CorruptVersion(f"{path} is not as it was written (checksum); {way_out}")
    return buffer


def open_part(folder: Path, part: Part, way_out: str) -> list[Any]:
    """The record batches of a verified part. Raises CorruptVersion."""
    buffer = map_verified(folder, part, way_out)
    try:
        file = pa.ipc.open_file(pa.BufferReader(buffer))
        batches = [file.get_batch(number) for number in range(file.num_record_batches)]
    except pa.ArrowInvalid as error:
        raise CorruptVersion(f"{folder / part.file} is no Arrow file ({error}); {way_out}") from error
    if sum(batch.num_rows for batch in batches) != part.rows:
        raise CorruptVersion(f"{folder / part.file} has not the {part.rows} rows that were written; {way_out}")
    return batches


class LocalSnapshot:
    """A verified version of a local view. Threads may share it; deleting the version doesn't disturb it."""

    def __init__(self, folder: Path) -> None:
        """Raises CorruptVersion when a byte of the version is not as it was written."""
        self.manifest = Manifest.load(folder / MANIFEST)
        self._info = self.manifest.info
        self._batches = [batch for part in self.manifest.parts for batch in open_part(folder, part, _WAY_OUT)]
        index = np.frombuffer(map_verified(folder, self.manifest.index, _WAY_OUT), dtype="<u8")
        if len(index) != 2 * self.manifest.rows:
            raise CorruptVersion(f"{folder / self.manifest.index.file} doesn't fit its manifest; {_WAY_OUT}")
        self._index = KeyIndex(index.reshape(2, -1))
        self._schema = self._batches[0].schema
        self._columns = [list(zip(batch.schema.names, batch.columns, strict=True)) for batch in self._batches]
        self._key_type = self._schema.field(0).type
        self._python_key: type = int if pa.types.is_int64(self._key_type) else str
        # Rows of unknown keys are null in every column.
        self._answer_schema = pa.schema([field.with_nullable(True) for field in self._schema])

    @property
    def info(self) -> VersionInfo:
        return self._info

    @property
    def schema(self) -> Any:
        return self._schema

    def get(self, key: Key) -> dict[str, Any] | None:
        if not isinstance(key, self._python_key) or isinstance(key, bool):
            raise InvalidInput(f"{key!r} can't be a key of {self._place}, whose keys are {self._key_type}")
        for batch, row in self._index.candidates(key):
            columns = self._columns[batch]
            if columns[0][1][row].as_py() == key:
                return {name: column[row].as_py() for name, column in columns}
        return None

    def get_many(self, keys: Sequence[Key]) -> Any:
        asked = self._key_array(keys)
        locations = self._index.first_candidates(asked)
        answer = self._gather(locations)
        # Another key with the same hash may stand first; such a key is looked up by itself.
        other = pc.not_equal(answer.column(0), asked).fill_null(False).to_numpy(zero_copy_only=False)
        if other.any():
            for position in np.flatnonzero(other).tolist():
                locations[position] = self._find(asked[position].as_py())
            answer = self._gather(locations)
        return answer

    def _find(self, key: Key) -> int:
        for batch, row in self._index.candidates(key):
            if self._batches[batch].column(0)[row].as_py() == key:
                return (batch << 32) | row
        return -1

    def _key_array(self, keys: Sequence[Key]) -> Any:
        try:
            asked = pa.array(keys, type=self._key_type, from_pandas=False)
        except (pa.ArrowException, UnicodeEncodeError, OverflowError) as error:
            raise InvalidInput(f"not all are keys of {self._place}, whose keys are {self._key_type}: {error}") from None
        if asked.null_count:
            raise InvalidInput(f"null can't be a key of {self._place}")
        return asked

    def _gather(self, locations: npt.NDArray[np.int64]) -> Any:
        """The rows at N locations in their order; a null row for each -1."""
        known = locations >= 0
        batch_of = np.where(known, locations >> 32, -1)
        rows = locations & 0xFFFFFFFF
        taken = []
        position = np.zeros(len(locations), dtype=np.int64)
        count = 0
        for batch in np.unique(batch_of[known]).tolist():
            here = batch_of == batch
            piece = self._batches[batch].take(pa.array(rows[here]))
            position[here] = np.arange(count, count + piece.num_rows)
            count += piece.num_rows
            taken.append(piece)
        if not taken:
            columns = [pa.nulls(len(locations), field.type) for field in self._schema]
            return pa.RecordBatch.from_arrays(columns, schema=self._answer_schema)
        answer = pa.concat_batches(taken) if len(taken) > 1 else taken[0]
        if len(taken) > 1 or count < len(locations):
            answer = answer.take(pa.array(position, mask=~known))
        return pa.RecordBatch.from_arrays(answer.columns, schema=self._answer_schema)

    @property
    def _place(self) -> str:
        return f"view '{self._info.view}'"
