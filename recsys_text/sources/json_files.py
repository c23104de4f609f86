"""Read JSON lines as batches of columns whose values keep their own types. Knows no contract."""

import codecs
import json
from collections.abc import Collection, Iterator
from typing import Any

import polars as pl

from recsys_text.errors import ContractError
from recsys_text.sources.boundary import refuse_utf_16
from recsys_text.sources.loose import loose_series
from recsys_text.sources.read import ROW_OFFENDER, ROW_RULE
from recsys_text.tables import NO_OBJECT, NO_UTF_8

_BATCH_ROWS = 131_072
_SHOWN = 500


def read_json_lines(file: Any, shown: str, wanted: Collection[str]) -> Iterator[tuple[pl.DataFrame, list[str]]]:
    """Batches of the wanted columns that the file has so far, each with the names of all columns.

    A line that is no JSON object is a row without values that carries its rule and its text; a file without lines gives
    nothing. Raises ContractError for a file that is one JSON array or written in UTF-16, or in which no line is an
    object.
    """
    names: dict[str, None] = {}
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    broken: list[tuple[str, str] | None] = []
    objects = 0
    for number, line in enumerate(file, start=1):
        if number == 1:
            refuse_utf_16(line, shown)
            line = line.removeprefix(codecs.BOM_UTF8)  # noqa: PLW2901 - no part of the line
        if not line.strip():
            continue
        record = _object(line)
        if record is None and number == 1 and line.lstrip().startswith(b"["):
            raise ContractError(f"{shown} is a JSON array; write each object on a line of its own (jq -c '.[]')")
        objects += record is not None
        names.update(dict.fromkeys(record or ()))
        for name, values in columns.items():
            values.append(None if record is None else record.get(name))
        broken.append(None if record is not None else _told(line))
        if len(broken) == _BATCH_ROWS:
            yield _frame(columns, broken, names), list(names)
            columns, broken = {name: [] for name in wanted}, []
    if not names and not broken:
        return
    if not objects and broken:
        rule, text = broken[0] or ("", "")
        why = " as it is not UTF-8; save it as UTF-8" if rule == NO_UTF_8 else ""
        raise ContractError(f"{shown} holds no JSON object in a line{why}; it begins with {text!r}")
    yield _frame(columns, broken, names), list(names)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line.decode())  # of bytes, json guesses another encoding for each line
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _told(line: bytes) -> tuple[str, str]:
    """The rule that a line breaks which is no object, and its text."""
    try:
        return NO_OBJECT, line.decode().strip()[:_SHOWN]
    except UnicodeDecodeError:
        return NO_UTF_8, line.decode(errors="backslashreplace").strip()[:_SHOWN]


def _frame(columns: dict[str, list[Any]], broken: list[tuple[str, str] | None], names: dict[str, None]) -> pl.DataFrame:
    frame = pl.DataFrame([loose_series(name, values) for name, values in sorted(columns.items()) if name in names])
    if not any(broken):
        return frame
    told = [
        pl.Series(name, [each and each[place] for each in broken], pl.String)
        for place, name in enumerate((ROW_RULE, ROW_OFFENDER))
    ]
    return frame.with_columns(told) if frame.width else pl.DataFrame(told)
