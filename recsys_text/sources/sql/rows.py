"""Makes frames of the rows that a driver of Python's database API gives. Knows no database."""

import json
from collections.abc import Collection, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import polars as pl

from recsys_text.errors import ContractError

_INT64 = range(-(2**63), 2**63)


def frame_of_rows(
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    wanted: Collection[str] | None,
    utc: Collection[str] = (),
) -> pl.DataFrame:
    """A frame of the wanted columns; naive times of the columns in `utc` are UTC. Raises ContractError for twins."""
    kept = [(number, name) for number, name in enumerate(names) if wanted is None or name in wanted]
    twins = sorted({name for _, name in kept if [other for _, other in kept].count(name) > 1})
    if twins:
        raise ContractError(f"the query gives more than one column '{twins[0]}'; give each its own name with AS")
    return pl.DataFrame([_column(name, [row[number] for row in rows], name in utc) for number, name in kept])


def _column(name: str, values: list[Any], utc: bool) -> pl.Series:
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return pl.Series(name, values, dtype=pl.Null)
    if all(issubclass(kind, datetime) for kind in kinds):
        if utc:
            values = [value and value.replace(tzinfo=UTC) for value in values]
        if all(value is None or value.tzinfo for value in values):
            instants = [value and value.astimezone(UTC) for value in values]
            return pl.Series(name, instants, dtype=pl.Datetime("us", "UTC"))
        if not any(value is not None and value.tzinfo for value in values):
            return pl.Series(name, values, dtype=pl.Datetime("us"))
    elif kinds == {date}:
        return pl.Series(name, values, dtype=pl.Date)
    elif kinds == {bool}:
        return pl.Series(name, values, dtype=pl.Boolean)
    elif kinds == {int} and all(value is None or value in _INT64 for value in values):
        return pl.Series(name, values, dtype=pl.Int64)
    elif kinds == {float}:
        return pl.Series(name, values, dtype=pl.Float64)
    elif kinds <= {bytes, bytearray, memoryview}:
        return pl.Series(name, [None if value is None else bytes(value) for value in values], dtype=pl.Binary)
    elif kinds <= {list, tuple}:
        listed = [None if value is None else [_text(part, name) for part in value] for value in values]
        return pl.Series(name, listed, dtype=pl.List(pl.String))
    return pl.Series(name, [_text(value, name) for value in values], dtype=pl.String)


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
