"""Reads SQLite through ADBC. Whatever a column mixes comes as text, as SQLite types values and not columns."""

import re
import sqlite3
from collections.abc import Collection, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import polars as pl
import pyarrow as pa
from adbc_driver_sqlite import dbapi

from recsys_text.sources.loose import decoded
from recsys_text.sources.sql.databases import FETCH_ROWS, UNITS, Rows
from recsys_text.sources.sql.names import column_at, quoted, wanted_places, written
from recsys_text.sources.sql.query import Bounds, Query
from recsys_text.sources.times import Span

#: How long another process may write before reading fails.
_BUSY_MS = 10_000
# SQLite sorts numbers before texts before blobs, whatever they hold.
_EVERYTHING = Bounds(start=float("-inf"), end=b"\xff" * 8, exact=False)
_ALL_TIMES = (_EVERYTHING, Bounds(start="0001-01-01", end="9999-12-31"), Bounds(start=0, end=10**17))
_DAY = timedelta(days=1)
#: The signs before a value that is a text or a number, and before the digits of a blob.
_PLAIN, _BLOB = "=", "x"


class Sqlite:
    """An open SQLite file."""

    mismatches: tuple[type[Exception], ...] = ()
    advice = (
        "integers of seconds with unixepoch(:start) or CAST(strftime('%s', :start) AS INTEGER), times of any "
        "form with datetime(column) >= datetime(:start)"
    )

    def __init__(self, path: str, span: Span | None, time_unit: str | None) -> None:
        self._path = path
        self._span = span
        self._time_unit = time_unit
        self._connection = dbapi.connect(f"file:{quote(path)}?mode=ro")
        with self._connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")

    def bounds(self, span: Span) -> Sequence[Bounds]:
        low, high = span.wall_clock()
        seconds = span.start.timestamp(), span.end.timestamp()
        units = [UNITS[self._time_unit]] if self._time_unit else UNITS.values()
        # The text bounds sort before and after every usual way to write a time of the span (with a blank or a T, with
        # or without seconds, a date alone); those a day wider also where texts have offsets or a function cuts them.
        return [
            Bounds(start=_text_bound(low, " %H:%M"), end=_text_bound(high, "T%H:%M:%S")),
            *(Bounds(start=int(seconds[0] * unit), end=int(seconds[1] * unit)) for unit in units),
            Bounds(start=f"{low - _DAY:%Y-%m-%d}", end=f"{high + 2 * _DAY:%Y-%m-%d}", exact=False),
            _EVERYTHING,
        ]

    def rows(
        self, query: Query, bounds: Bounds | None, wanted: Collection[str] | None = None, *, near: str | None = None
    ) -> Rows:
        text = query.numbered("?")
        values = (query.values(bounds) if bounds else None) or None
        with self._connection.cursor() as cursor:
            names = self._names(cursor, text, values)
            kept = wanted_places(names, wanted)
            yield pl.DataFrame(schema=dict.fromkeys(kept, pl.String)), names
            if not kept:
                return
            # The driver guesses a column's type from its first rows and fails on a later one of another type (or on
            # a text after nulls). Texts that are never null leave nothing to guess.
            marked = ", ".join(_marked(column_at(place)) for place in kept.values())
            where = f" WHERE {self._near(column_at(kept[near]))}" if near in kept else ""
            columns = ", ".join(map(column_at, range(len(names))))
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(FETCH_ROWS)})
            cursor.execute(f"WITH source({columns}) AS ({text}\n) SELECT {marked} FROM source{where}", values)  # noqa: S608
            for batch in cursor.fetch_record_batch():
                yield _unmarked(batch, list(kept)), names

    def all_times(self) -> Sequence[Bounds]:
        return _ALL_TIMES

    def reads_rows(self, query: Query) -> bool:
        """Asks SQLite itself, which tells what a query reads while it compiles it."""
        found: set[str] = set()

        def note(action: int, table: str | None, *_: Any) -> int:
            if action == sqlite3.SQLITE_READ and table:
                found.add(table)
            return sqlite3.SQLITE_OK

        with closing(sqlite3.connect(f"file:{quote(self._path)}?mode=ro", uri=True)) as connection:
            names = {str(name) for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            connection.set_authorizer(note)
            connection.execute(f"EXPLAIN {query.numbered('?')}", [None] * len(query.names))
            return any(
                connection.execute(f"SELECT 1 FROM {quoted(table)} LIMIT 1").fetchone()  # noqa: S608
                for table in sorted(found & names)
            )

    def tables(self) -> list[str]:
        with self._connection.cursor() as cursor:
            cursor.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' "
                "ESCAPE '\\' ORDER BY name"
            )
            return [written(str(name)) for (name,) in cursor.fetchall()]

    def close(self) -> None:
        self._connection.close()

    def _names(self, cursor: Any, text: str, values: list[Any] | None) -> list[str]:
        """The names of the query's columns, as often as it gives them."""
        cursor.execute(f"SELECT * FROM ({text}\n) LIMIT 0", values)  # noqa: S608 - the user's own query
        names: list[str] = cursor.fetch_record_batch().schema.names
        if not any(re.search(r":\d+$", name) for name in names):
            return names
        # A number is what SQLite itself puts behind a name that came before; the query alone tells, with its first row.
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": "1"})
        cursor.execute(text, values)
        return list(cursor.fetch_record_batch().schema.names)

    def _near(self, column: str) -> str:
        """A condition that leaves out only rows whose time is surely not in the span."""
        assert self._span is not None
        low, high = self._span.wall_clock()
        number = "1"
        if self._time_unit:
            unit = UNITS[self._time_unit]
            number = f"{column} BETWEEN {(self._span.start - _DAY).timestamp() * unit:.0f}"
            number += f" AND {(self._span.end + _DAY).timestamp() * unit:.0f}"
        return (
            f"CASE WHEN typeof({column}) IN ('integer', 'real') THEN {number} "
            f"WHEN {column} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]*' "
            f"THEN substr({column}, 1, 10) BETWEEN '{low - _DAY:%Y-%m-%d}' AND '{high + _DAY:%Y-%m-%d}' ELSE 1 END"
        )


def _marked(column: str) -> str:
    """The value as text behind a sign, nothing for null; a whole number is the same text however it is stored.

    A blob is written out in hexadecimal digits: beside a text, SQLite would take its bytes for text in the encoding of
    the file, which need not be UTF-8.
    """
    whole = f"typeof({column}) = 'real' AND {column} = CAST({column} AS INTEGER) AND abs({column}) < 9007199254740992"
    plain = (
        f"CASE WHEN {whole} THEN CAST({column} AS INTEGER) "
        f"WHEN typeof({column}) = 'real' THEN printf('%!.17g', {column}) ELSE {column} END"
    )
    return (
        f"CASE typeof({column}) WHEN 'null' THEN '' WHEN 'blob' THEN '{_BLOB}' || hex({column}) "
        f"ELSE '{_PLAIN}' || {plain} END"
    )


def _unmarked(batch: pa.RecordBatch, names: Sequence[str]) -> pl.DataFrame:
    """The values as texts, a blob as the text that it holds; what is not UTF-8 is marked as what cannot be read."""
    # The driver promises UTF-8 where it hands on what is stored, so that nobody else may take its word.
    columns = [
        pl.Series(name, pl.from_arrow(column.view(pa.binary()))) for name, column in zip(names, batch, strict=True)
    ]
    return pl.DataFrame([_plain(column) for column in columns])


def _plain(marked: pl.Series) -> pl.Series:
    sign, value = pl.col("marked").bin.slice(0, 1), pl.col("marked").bin.slice(1)
    digits = pl.when(sign == _BLOB.encode()).then(value).cast(pl.String)
    plain = pl.when(sign == _PLAIN.encode()).then(value)
    frame = marked.alias("marked").to_frame()
    return decoded(frame.select(pl.coalesce(plain, digits.str.decode("hex"))).to_series().alias(marked.name))


def _text_bound(time: datetime, clock: str) -> str:
    return time.strftime("%Y-%m-%d" if time.hour == time.minute == 0 else f"%Y-%m-%d{clock}")
