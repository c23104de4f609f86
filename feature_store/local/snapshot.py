"""One version opened by mmap, verified, and its answers. Knows files of one version only."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from feature_store.base import Key, VersionInfo
from feature_store.errors import CorruptVersion, InvalidInput
from feature_store.hashing import hash64, hash_keys
from feature_store.local.columns import LocalRow
from feature_store.local.disk import reaching
from feature_store.local.flat import Mask, Places
from feature_store.local.gather import Columns
from feature_store.local.index import KeyIndex
from feature_store.local.keys import Keys
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
        whole = len(index) == 2 * self.manifest.rows
        self._index = KeyIndex(index.reshape(2, -1) if whole else np.zeros((2, 0), np.uint64))
        if not whole or not self._index.fits([batch.num_rows for batch in self._batches]):
            raise CorruptVersion(f"{folder / self.manifest.index.file} doesn't fit its parts; {_WAY_OUT}")
        self._schema = self._batches[0].schema
        self._columns = Columns(self._batches)
        self._keys = Keys([batch.column(0) for batch in self._batches])
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

    def get(self, key: Key) -> LocalRow | None:
        if not isinstance(key, self._python_key) or isinstance(key, bool):
            raise InvalidInput(f"{key!r} can't be a key of {self._place}, whose keys are {self._key_type}")
        batch, row = self._find(hash64(key), key)
        return None if batch < 0 else LocalRow(self._columns.of_batch[batch], row)

    def get_many(self, keys: Sequence[Key]) -> Any:
        asked = self._key_array(keys)
        hashes = hash_keys(asked)
        batch_N, row_N, there_N = self._index.first_candidates(hashes)
        known_N, batch_F, row_F = _known(asked, batch_N, row_N, there_N)
        if not self._keys.are(known_N, batch_F, row_F):  # keys of one hash, which is as rare as it gets
            located = [self._find(int(hashed), key) for hashed, key in zip(hashes, asked.to_pylist(), strict=True)]
            batch_N, row_N = np.array(located, np.int64).T
            there_N = batch_N >= 0
            known_N, batch_F, row_F = _known(asked, batch_N, row_N, there_N)
        columns = self._columns.gather(batch_F, row_F, there_N)
        return pa.RecordBatch.from_arrays([known_N, *columns], schema=self._answer_schema)

    def batches(self) -> Iterator[Any]:
        return iter(self._batches)

    def _find(self, hashed: int, key: Key) -> tuple[int, int]:
        """Batch and row of a key, -1 for one that isn't there. Keys of one hash are told apart by what they are."""
        for batch, row in self._index.candidates(hashed):
            if self._keys.key(batch, row) == key:
                return batch, row
        return -1, -1

    def _key_array(self, keys: Sequence[Key]) -> Any:
        try:
            asked = pa.array(keys, type=self._key_type, from_pandas=False)
        except (pa.ArrowException, UnicodeEncodeError, OverflowError) as error:
            raise InvalidInput(f"not all are keys of {self._place}, whose keys are {self._key_type}: {error}") from None
        if asked.null_count:
            raise InvalidInput(f"null can't be a key of {self._place}")
        return asked

    @property
    def _place(self) -> str:
        return f"view '{self._info.view}'"


def _known(asked: Any, batch_N: Places, row_N: Places, there_N: Mask) -> tuple[Any, Places, Places]:
    """N keys, null where they aren't there, and the F batches and rows of those that are."""
    if np.count_nonzero(there_N) == len(there_N):
        return asked, batch_N, row_N
    known = [key if there else None for key, there in zip(asked.to_pylist(), there_N.tolist(), strict=True)]
    return pa.array(known, asked.type), batch_N[there_N], row_N[there_N]
