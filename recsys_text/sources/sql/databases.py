"""What every kind of database does for a reader, and which module does it. Drivers are loaded where they are used."""

from collections.abc import Collection, Generator, Sequence
from typing import Protocol

import polars as pl

from recsys_text.sources.sql.addresses import Address
from recsys_text.sources.sql.query import Bounds, Query
from recsys_text.sources.times import Span

#: Batches of rows, each with the names of all columns of the query.
Rows = Generator[tuple[pl.DataFrame, list[str]], None, None]

#: Rows of one batch.
FETCH_ROWS = 100_000
#: Numbers a second of each unit of epoch times.
UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000}


class Database(Protocol):
    """An open database.

    mismatches: what the driver raises where bounds are of a kind that the query's columns cannot be compared with.
    advice: how a query compares what the database does not compare as a time.
    """

    mismatches: tuple[type[Exception], ...]
    advice: str

    def bounds(self, span: Span) -> Sequence[Bounds]:
        """A span in each kind of values that the database may have to be asked with; its own times come first."""
        ...

    def rows(
        self, query: Query, bounds: Bounds | None, wanted: Collection[str] | None = None, *, near: str | None = None
    ) -> Rows:
        """Batches of the `wanted` columns (None: of all), each with the names of all columns; the first may be empty.

        `near` names a column of times: rows whose time is surely outside of the span may be left out. Raises
        ContractError for a wanted column that the query gives twice.
        """
        ...

    def all_times(self) -> Sequence[Bounds]:
        """Bounds of each kind that hold every time there is."""
        ...

    def reads_rows(self, query: Query) -> bool:
        """Whether any of the tables that the query reads is known to have rows."""
        ...

    def tables(self) -> list[str]:
        """The names of tables and views as a query would write them."""
        ...

    def close(self) -> None: ...


def open_database(address: Address, span: Span | None = None, time_unit: str | None = None) -> Database:
    """Opens the database to read; the session's zone is that of the span."""
    match address.kind:
        case "sqlite":
            from recsys_text.sources.sql.sqlite import Sqlite  # noqa: PLC0415

            return Sqlite(address.target, span, time_unit)
        case "postgresql":
            from recsys_text.sources.sql.postgresql import Postgresql  # noqa: PLC0415

            return Postgresql(address.target, span)
        case "duckdb":
            from recsys_text.sources.sql.duck import Duck  # noqa: PLC0415

            return Duck(address.target, span)
        case "sqlalchemy":
            from recsys_text.sources.sql.alchemy import Alchemy  # noqa: PLC0415

            return Alchemy(address.target, span, time_unit)
        case "hook":
            from recsys_text.sources.sql.hook import Hook  # noqa: PLC0415

            return Hook(address.target, span, time_unit)
