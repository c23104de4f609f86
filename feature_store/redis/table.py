"""One version's rows as bytes and back: keys, packed values, answers. Knows the form, no server."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from feature_store.base import Key
from feature_store.errors import CorruptVersion, InvalidInput
from feature_store.redis.columns import ARROW, NULL, Column, column_of, pack_column, unpack_arrow
from feature_store.redis.row import PackedRow
from feature_store.schema import CODED

_seed = xxhash.xxh3_64_intdigest
_checksum = xxhash.xxh3_64_digest


def pack_keys(keys: Any, rows: bytes) -> list[bytes]:
    """The Redis key of each of N Arrow keys; `rows` is what they begin with."""
    if pa.types.is_int64(keys.type):
        return [b"%s%d" % (rows, key) for key in keys.to_pylist()]
    return [rows + key for key in keys.cast(pa.binary()).to_pylist()]


def pack_rows(
    batch: Any, columns: Sequence[Column], keys: Sequence[bytes], codes: Callable[[list[str]], npt.NDArray[np.int32]]
) -> list[bytes]:
    """The packed rows of a batch whose columns have the plain types; `keys` are their Redis keys."""
    packed = [pack_column(column, array, codes) for column, array in zip(columns, batch.columns[1:], strict=True)]
    lengths = np.stack([lengths for lengths, _ in packed], axis=1).astype("<i4") if packed else None
    heads = [b""] * len(keys) if lengths is None else [row.tobytes() for row in lengths]
    pieces = zip(heads, *(pieces for _, pieces in packed), strict=True)
    bodies = map(b"".join, pieces)
    return [_checksum(body, _seed(key)) + body for key, body in zip(keys, bodies, strict=True)]


def is_written(redis_key: bytes, value: bytes) -> bool:
    """Whether a packed row is what was written for its Redis key."""
    # The key is the seed: a row that was written for another key or version is as wrong as a damaged one.
    return value[:8] == _checksum(value[8:], _seed(redis_key))


class Table:
    """The answers of one version of a view from what the server holds of it.

    `strings` is the dictionary, an Arrow array; `rows` is what the Redis keys of rows begin with.
    """

    def __init__(self, *, view: str, schema: Any, strings: Any, rows: bytes) -> None:
        self.schema = schema
        self.columns = tuple(column_of(field) for field in list(schema)[1:])
        self.names: tuple[str, ...] = tuple(schema.names)
        self.places = {column.name: place for place, column in enumerate(self.columns)}
        self.head = struct.Struct(f"<8x{len(self.columns)}i")
        self.strings: list[str] = strings.to_pylist()
        self._view = view
        self._array = strings
        self._rows = rows
        self._key_type = schema.field(0).type
        self._python_key: type = int if pa.types.is_int64(self._key_type) else str
        # Rows of unknown keys are null in every column.
        self._answer_schema = pa.schema([field.with_nullable(True) for field in schema])

    def redis_key(self, key: Key) -> bytes:
        """Raises InvalidInput when the key is not of the view's key type."""
        if not isinstance(key, self._python_key) or isinstance(key, bool):
            raise InvalidInput(f"{key!r} can't be a key of view '{self._view}', whose keys are {self._key_type}")
        try:
            return self._rows + (key.encode() if isinstance(key, str) else b"%d" % key)
        except UnicodeEncodeError:
            raise InvalidInput(f"{key!r} cannot be a key; keys are Unicode strings or 64-bit integers") from None

    def row(self, key: Key, redis_key: bytes, value: bytes) -> PackedRow:
        """Raises CorruptVersion when the value is not what was written for the key in this version."""
        self.check(redis_key, value)
        return PackedRow(self, key, value)

    def check(self, redis_key: bytes, value: bytes) -> None:
        if not is_written(redis_key, value):
            raise self.corrupt(redis_key)

    def corrupt(self, redis_key: bytes) -> CorruptVersion:
        return CorruptVersion(
            f"the row at {redis_key!r} of view '{self._view}' is not as it was written; roll back to another version, "
            "then delete this one and publish it again"
        )

    def key_array(self, keys: Sequence[Key]) -> Any:
        """Raises InvalidInput when one is null or not of the view's key type."""
        try:
            asked = pa.array(keys, type=self._key_type, from_pandas=False)
        except (pa.ArrowException, UnicodeEncodeError, OverflowError) as error:
            raise InvalidInput(
                f"not all are keys of view '{self._view}', whose keys are {self._key_type}: {error}"
            ) from None
        if asked.null_count:
            raise InvalidInput(f"null can't be a key of view '{self._view}'")
        return asked

    def redis_keys(self, asked: Any) -> list[bytes]:
        return pack_keys(asked, self._rows)

    def batch(self, asked: Any, redis_keys: Sequence[bytes], values: Sequence[bytes | None]) -> Any:
        """The RecordBatch that answers N asked keys with the values found. Raises CorruptVersion."""
        for redis_key, value in zip(redis_keys, values, strict=True):
            if value is not None:
                self.check(redis_key, value)
        found = [value for value in values if value is not None]
        known = np.array([value is not None for value in values], dtype=bool)
        lengths = np.array([self.head.unpack_from(value) for value in found], dtype=np.int64).reshape(
            len(found), len(self.columns)
        )
        place = pa.array(np.cumsum(known) - 1, mask=~known)
        answer = [pc.if_else(pa.array(known), asked, pa.scalar(None, self._key_type))]
        starts = np.full(len(found), self.head.size, dtype=np.int64)
        for number, column in enumerate(self.columns):
            length = lengths[:, number]
            sizes = np.where(length >= NULL, np.maximum(length, 0) * column.dtype.itemsize, ARROW - length)
            ends = starts + sizes
            pieces = [value[start:end] for value, start, end in zip(found, starts.tolist(), ends.tolist(), strict=True)]
            array = self._array_of(column, length, pieces)
            answer.append(array if known.all() else array.take(place))
            starts = ends
        return pa.RecordBatch.from_arrays(answer, schema=self._answer_schema)

    def _array_of(self, column: Column, length: npt.NDArray[np.int64], pieces: list[bytes]) -> Any:
        """The values of M rows as an Arrow array of the column's type."""
        if column.kind == "other" or (length <= ARROW).any():
            return pa.array(
                [self.value(column, n, piece) for n, piece in zip(length.tolist(), pieces, strict=True)], column.type
            )
        data = b"".join(pieces)
        null = length == NULL
        offsets = np.concatenate([[0], np.cumsum(np.maximum(length, 0))])
        if column.kind == "text":
            buffers = [None, pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(data)]
            array = pa.Array.from_buffers(column.type, len(length), buffers)
        else:
            array = self._lists(column, offsets, np.frombuffer(data, dtype=column.dtype), null)
        return _with_nulls(array, null)

    def _lists(
        self, column: Column, offsets: npt.NDArray[np.int64], values: npt.NDArray[Any], null: npt.NDArray[np.bool_]
    ) -> Any:
        if column.kind == "number":
            spread = np.zeros(len(null), dtype=column.dtype)
            spread[~null] = values
            return pa.array(spread, column.type)
        if column.kind == "codes":
            codes = pa.array(values, pa.int32(), mask=values < 0)
            inner = pa.DictionaryArray.from_arrays(codes, self._array)
            assert inner.type == CODED
            return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), inner, type=column.type)
        inner = pa.array(values, column.type.value_type)
        if pa.types.is_fixed_size_list(column.type):
            spread = np.zeros((len(null), column.type.list_size), dtype=column.dtype)
            spread[~null] = values.reshape(-1, column.type.list_size)
            inner = pa.array(spread.ravel(), column.type.value_type)
            return pa.FixedSizeListArray.from_arrays(inner, type=column.type)
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), inner, type=column.type)

    def value(self, column: Column, length: int, data: bytes) -> Any:
        """One value as Python sees it."""
        if length == NULL:
            return None
        if length < NULL:
            return unpack_arrow(column, data)
        if column.kind == "text":
            return data.decode() if pa.types.is_string(column.type) else data
        values = np.frombuffer(data, dtype=column.dtype).tolist()
        if column.kind == "codes":
            return [None if code < 0 else self.strings[code] for code in values]
        return values[0] if column.kind == "number" else values


def _with_nulls(array: Any, null: npt.NDArray[np.bool_]) -> Any:
    return array.take(pa.array(np.arange(len(null)), mask=null)) if null.any() else array
