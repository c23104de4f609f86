"""How the columns of a view lie in a packed row. Knows Arrow types, no server.

A row is `8 bytes of checksum | length i32 per column | values of each column`, little-endian, without its key. A
length counts numbers, codes, or bytes of text; -1 is null, which is not an empty list. Numbers lie raw, one after
another; strings in lists are codes of the version's dictionary, -1 for null. What fits none of these (structs, nested
lists, times, lists of numbers with nulls inside) is one Arrow value of n bytes, and its length is -2 - n.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_store.schema import CODED, is_list

NULL = -1
ARROW = -2

Kind = Literal["number", "numbers", "codes", "text", "other"]


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column beside the key: its Arrow type, and the type of one element where it has plain elements."""

    name: str
    type: Any
    kind: Kind
    dtype: np.dtype[Any]

    @property
    def is_list(self) -> bool:
        return is_list(self.type)

    @cached_property
    def plain(self) -> Any:
        """The type with strings in place of codes."""
        return _plain(self.type)

    def size(self, length: int) -> int:
        """The bytes that a value of this length takes."""
        return max(0, length) * self.dtype.itemsize if length >= NULL else ARROW - length


def column_of(field: Any) -> Column:
    types, kind = pa.types, field.type
    if _is_number(kind):
        return Column(name=field.name, type=kind, kind="number", dtype=_dtype(kind))
    if types.is_string(kind) or types.is_binary(kind):
        return Column(name=field.name, type=kind, kind="text", dtype=np.dtype("u1"))
    if (types.is_list(kind) or types.is_fixed_size_list(kind)) and _is_number(kind.value_type):
        return Column(name=field.name, type=kind, kind="numbers", dtype=_dtype(kind.value_type))
    if types.is_list(kind) and kind.value_type == CODED:
        return Column(name=field.name, type=kind, kind="codes", dtype=np.dtype("<i4"))
    return Column(name=field.name, type=kind, kind="other", dtype=np.dtype("u1"))


def pack_column(
    column: Column, array: Any, codes: Callable[[list[str]], npt.NDArray[np.int32]]
) -> tuple[npt.NDArray[np.int32], list[bytes]]:
    """The lengths and the bytes of N values, of an array of the column's plain type.

    `codes` gives the codes of strings.
    """
    count = len(array)
    if column.kind == "other":
        odd = np.ones(count, dtype=bool)
        lengths, pieces = np.zeros(count, dtype=np.int32), [b""] * count
    else:
        starts, values = _elements(column, array, codes)
        odd = _holds_nulls(array) if column.kind == "numbers" else np.zeros(count, dtype=bool)
        lengths = np.diff(starts).astype(np.int32)
        data = values.tobytes()
        at = ((starts - starts[0]) * column.dtype.itemsize).tolist()
        pieces = [data[start:end] for start, end in pairwise(at)]
    null = array.is_null().to_numpy(zero_copy_only=False)
    for row in np.flatnonzero(odd & ~null).tolist():
        pieces[row] = pa.record_batch([array.slice(row, 1)], names=["value"]).serialize().to_pybytes()
        lengths[row] = ARROW - len(pieces[row])
    for row in np.flatnonzero(null).tolist():
        pieces[row], lengths[row] = b"", NULL
    return lengths, pieces


def unpack_arrow(column: Column, data: bytes) -> Any:
    """The Python value that pack_column kept as Arrow."""
    schema = pa.schema({"value": column.plain})
    return pa.ipc.read_record_batch(pa.py_buffer(data), schema).column(0)[0].as_py()


def _elements(
    column: Column, array: Any, codes: Callable[[list[str]], npt.NDArray[np.int32]]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """Where each value starts among the elements (N + 1 places), and the elements from the first start on."""
    if column.kind == "number":
        starts = np.arange(len(array) + 1, dtype=np.int64)
        return starts, _raw(array, column.dtype)
    if column.kind == "text":
        starts = _offsets(array)
        data = array.buffers()[2]
        return starts, np.frombuffer(data or b"", dtype="u1")[starts[0] : starts[-1]]
    if pa.types.is_fixed_size_list(array.type):
        starts = (np.arange(len(array) + 1, dtype=np.int64) + array.offset) * array.type.list_size
    else:
        starts = array.offsets.to_numpy().astype(np.int64)
    inner = array.values.slice(starts[0], starts[-1] - starts[0])
    if column.kind == "numbers":
        return starts, _raw(inner, column.dtype)
    coded = inner.dictionary_encode()
    numbers = np.append(codes(coded.dictionary.to_pylist()), np.int32(NULL))
    return starts, numbers[coded.indices.fill_null(len(numbers) - 1).to_numpy()].astype("<i4", copy=False)


def _offsets(array: Any) -> npt.NDArray[np.int64]:
    buffer = array.buffers()[1]
    if buffer is None or len(array) == 0:
        return np.zeros(len(array) + 1, dtype=np.int64)
    offsets = np.frombuffer(buffer, dtype=np.int32)[array.offset : array.offset + len(array) + 1]
    return offsets.astype(np.int64)


def _raw(array: Any, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The values as they lie in memory; what stands in a null's place is never looked at."""
    data = array.buffers()[1]
    values = np.frombuffer(data or b"", dtype=dtype)
    return values[array.offset : array.offset + len(array)]


def _holds_nulls(array: Any) -> npt.NDArray[np.bool_]:
    """For each list whether an element of it is null."""
    if pa.types.is_fixed_size_list(array.type):
        starts = (np.arange(len(array) + 1) + array.offset) * array.type.list_size
    else:
        starts = array.offsets.to_numpy()
    if array.values.null_count == 0:
        return np.zeros(len(array), dtype=bool)
    nulls = np.concatenate([[0], np.cumsum(array.values.is_null().to_numpy(zero_copy_only=False))])
    held: npt.NDArray[np.bool_] = nulls[starts[1:]] > nulls[starts[:-1]]
    return held


def _is_number(kind: Any) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _dtype(kind: Any) -> np.dtype[Any]:
    dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype()).newbyteorder("<")
    return dtype


def _plain(kind: Any) -> Any:
    if kind == CODED:
        return pa.string()
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)), kind.list_size)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    return kind
