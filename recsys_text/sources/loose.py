"""Columns whose values each have a type of their own, as in JSON lines and SQLite. Knows no files and no contract.

Such a column is a struct of `text`, the value written out, and `kind`, what it was. A column of texts alone is a plain
column of texts.
"""

import json
import math
from collections.abc import Sequence
from typing import Any

import polars as pl

TEXT, NUMBER, INEXACT, BOOLEAN, NESTED, UNREADABLE = "text", "number", "inexact", "boolean", "nested", "unreadable"
LOOSE = pl.Struct({"text": pl.String, "kind": pl.String})
#: Floats hold every whole number below this; above it, two ids may be one float.
EXACT = 2**53


def loose_series(name: str, values: Sequence[Any]) -> pl.Series:
    """A column of Python values as JSON has them; NaN is null, and a text that is no Unicode is UNREADABLE."""
    told = [_told(value) for value in values]
    if all(entry is None or entry[1] == TEXT for entry in told):
        return pl.Series(name, [entry and entry[0] for entry in told], pl.String)
    return pl.Series(name, [entry and {"text": entry[0], "kind": entry[1]} for entry in told], LOOSE)


def is_loose(series: pl.Series) -> bool:
    return series.dtype == LOOSE


def _written(value: float) -> str:
    """A number as text, the same for equal numbers of any type: 7 and 7.0 are '7'."""
    if isinstance(value, int):
        return str(value)
    return str(int(value)) if value.is_integer() and abs(value) < EXACT else repr(value)


def _told(value: Any) -> tuple[str, str] | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        # Half of a pair of surrogates, such as JSON's "\\ud83d", is no character.
        return (value, TEXT) if value.isascii() or _is_unicode(value) else (ascii(value), UNREADABLE)
    if isinstance(value, bool):
        return str(value).lower(), BOOLEAN
    if isinstance(value, int | float):
        return _written(value), NUMBER if isinstance(value, int) or abs(value) < EXACT else INEXACT
    return _nested(value)


def _nested(value: Any) -> tuple[str, str]:
    text = json.dumps(value, ensure_ascii=False)
    return (text, NESTED) if _is_unicode(text) else (ascii(text), UNREADABLE)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def decoded(given: pl.Series) -> pl.Series:
    """A column of bytes as UTF-8, as many tools write texts without saying so; what is none is UNREADABLE."""
    try:
        return given.cast(pl.String)
    except pl.exceptions.PolarsError:
        told = [None if value is None else _decoded(value) for value in given.to_list()]
        return pl.Series(given.name, told, LOOSE)


def _decoded(value: bytes) -> dict[str, str]:
    try:
        return {"text": value.decode(), "kind": TEXT}
    except UnicodeDecodeError:
        return {"text": repr(value), "kind": UNREADABLE}
