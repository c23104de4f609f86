"""Arrow tables to polars frames, of every type that a file or database can have. Knows no files and no contract."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from recsys_text.errors import ContractError
from recsys_text.sources.loose import loose_series


def plain_frame(table: pa.Table) -> pl.DataFrame:
    """Arrow to polars, with types that polars lacks as what they stand for: a UUID as text, an offset's time as UTC.

    Raises ContractError for a column of a type that stands for nothing that could be read.
    """
    columns = [_plain(field, table.column(place)) for place, field in enumerate(table.schema)]
    frame = pl.from_arrow(pa.table(columns, names=table.schema.names))
    assert isinstance(frame, pl.DataFrame)
    return frame


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type that a column is cast to before polars takes it."""
    plain = kind
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        plain = pa.timestamp(kind.unit, "UTC")
    elif pa.types.is_string_view(kind):
        plain = pa.large_string()
    elif pa.types.is_binary_view(kind):
        plain = pa.large_binary()
    elif pa.types.is_dictionary(kind):
        plain = plain_type(kind.value_type)
    elif pa.types.is_decimal256(kind):
        plain = pa.string()
    elif pa.types.is_float16(kind):
        plain = pa.float32()
    elif pa.types.is_fixed_size_list(kind):
        plain = pa.list_(plain_type(kind.value_type), kind.list_size)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or _is_list_view(kind):
        plain = pa.large_list(plain_type(kind.value_type))
    elif pa.types.is_struct(kind):
        plain = pa.struct([pa.field(field.name, plain_type(field.type)) for field in kind])
    return plain


def _is_list_view(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind))


def _holds_uuids(kind: pa.DataType) -> bool:
    inner = [kind.field(place).type for place in range(kind.num_fields)]
    return isinstance(kind, pa.UuidType) or any(map(_holds_uuids, inner))


def _each(value: Any, plain: Callable[[Any], Any]) -> Any:
    """The value with what `plain` makes of it, or of each value within its lists and structs."""
    if isinstance(value, list):
        return [_each(part, plain) for part in value]
    if isinstance(value, dict):
        return {name: _each(part, plain) for name, part in value.items()}
    return plain(value)


def _written(value: Any) -> Any:
    """A UUID as text."""
    return str(value) if isinstance(value, UUID) else value


def _is_unicode(column: pa.ChunkedArray) -> bool:
    """Whether all texts are UTF-8: Parquet promises it and does not look, and polars fails on others as it likes.

    Raises ArrowException for a column that is damaged otherwise.
    """
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            return False
        raise
    return True


def _as_bytes(kind: pa.DataType) -> pa.DataType:
    """The type with bytes for each text."""
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.large_binary()
    if pa.types.is_dictionary(kind):
        return _as_bytes(kind.value_type)
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _as_bytes(field.type)) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.large_list(_as_bytes(kind.value_type))
    return kind


def _escaped(value: Any) -> Any:
    """Bytes as a text, in which what is no UTF-8 is half a pair of surrogates, as in no text."""
    return value.decode(errors="surrogateescape") if isinstance(value, bytes) else value


def _json(text: str | None) -> Any:
    """What a text of JSON says; the text itself, where it is none."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return text


def _plain(field: pa.Field, column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = field.type
    try:
        if not _is_unicode(column):
            values = column.cast(_as_bytes(kind)).to_pylist()
            return loose_series(field.name, [_each(value, _escaped) for value in values]).to_arrow()
        if isinstance(kind, pa.JsonType):
            return loose_series(field.name, [_json(text) for text in column.cast(pa.string()).to_pylist()]).to_arrow()
        if _holds_uuids(kind):
            return pa.array([_each(value, _written) for value in column.to_pylist()])
        if isinstance(kind, pa.BaseExtensionType):
            storage = column.cast(kind.storage_type)
            return storage.cast(pa.string()) if pa.types.is_binary(storage.type) else storage
        if pa.types.is_run_end_encoded(kind):
            return _plain(field.with_type(kind.value_type), pc.run_end_decode(column))
        return column if plain_type(kind) == kind else column.cast(plain_type(kind))
    except (pa.ArrowException, NotImplementedError) as error:
        raise ContractError(
            f"column '{field.name}' of the source holds {kind}, which cannot be read: {error}"
        ) from None
