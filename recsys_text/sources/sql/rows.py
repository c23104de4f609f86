"""Makes frames of the rows that a driver of Python's database API gives. Knows no database."""

import json
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from recsys_text.errors import ContractError
from recsys_text.sources.sql.names import wanted_places

_INT64 = range(-(2**63), 2**63)


def frame_of_rows(
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    wanted: Collection[str] | None,
    utc: Collection[str] = (),
) -> pl.DataFrame:
    """A frame of the wanted columns; naive times of the columns in `utc` are UTC. Raises ContractError for twins."""
    kept = wanted_places(names, wanted)
    return pl.DataFrame([_column(name, [row[place] for row in rows], name in utc) for name, place in kept.items()])


def _column(name: str, values: list[Any], utc: bool) -> pl.Series:
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return pl.Series(name, values, dtype=pl.Null)
    kind = next(iter(kinds))
    if len(kinds) == 1 and kind in _READERS:
        plain, dtype = _READERS[kind]
        if kind is datetime and (utc or any(value is not None and value.tzinfo for value in values)):
            plain, dtype = _instant, pl.Datetime("us", "UTC")
        if kind is not int or all(value is None or value in _INT64 for value in values):
            read = [None if value is None else plain(value) for value in values]
            return pl.Series(name, read, dtype=dtype)
    if kinds <= {list, tuple}:
        listed = [None if value is None else [_text(part, name) for part in value] for value in values]
        return pl.Series(name, listed, dtype=pl.List(pl.String))
    return pl.Series(name, [_text(value, name) for value in values], dtype=pl.String)


def _instant(time: datetime) -> datetime:
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)


def _same(value: Any) -> Any:
    return value


#: The types whose columns keep their meaning: what reads a value, and the column's type.
_READERS: dict[type, tuple[Callable[[Any], Any], pl.DataType]] = {
    datetime: (_same, pl.Datetime("us")),
    date: (_same, pl.Date()),
    bool: (_same, pl.Boolean()),
    int: (_same, pl.Int64()),
    float: (_same, pl.Float64()),
    bytes: (_same, pl.Binary()),
    bytearray: (bytes, pl.Binary()),
    memoryview: (bytes, pl.Binary()),
}


def _text(value: Any, column: str) -> str | None:
    """One value as text, however its column mixes types; a whole number is the same text in each of them."""
    if isinstance(value, (dict, list, tuple)):
        shown = json.dumps(value, ensure_ascii=False, default=str)
        raise ContractError(
            f"column '{column}' of the query holds nested values such as {shown[:80]}; name the field in the query"
        )
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, Decimal) and value.is_finite():
        return f"{value.normalize():f}"
    return str(value)
