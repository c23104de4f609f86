"""Lists the tables of a database and looks at the first rows of one. Knows no contract."""

import json
from collections.abc import Collection, Iterator
from contextlib import closing
from typing import Any

import polars as pl

from recsys_text.sources.loose import BOOLEAN, NESTED, UNREADABLE, is_loose
from recsys_text.sources.sql.addresses import Address, address_of_connection, address_of_uri
from recsys_text.sources.sql.databases import Rows, open_database
from recsys_text.sources.sql.faults import one_line_faults
from recsys_text.sources.sql.query import Query


def tables_of(where: str) -> list[str]:
    """List the tables and views of a database, named by a uri or the id of an Airflow connection.

    Each is written as a query can hold it, with its schema and in quotes where that is needed.

    Raises:
        ConfigError: the address is not known or refused.
        UnavailableError: the database is out of reach.
    """
    address = _address(where)
    with one_line_faults(address), closing(open_database(address)) as database:
        return database.tables()


def columns_of(where: str, table: str) -> list[str]:
    """The columns of one of the tables that `tables_of` lists, of whatever types. Raises as `tables_of` does."""
    address = _address(where)
    with one_line_faults(address), closing(open_database(address)) as database:
        _, names = next(database.rows(Query(text=f"{_whole(table).text} WHERE 1 = 0"), None, ()))
    return list(names)


def sample_table(where: str, table: str, rows: int, wanted: Collection[str] | None = None) -> pl.DataFrame:
    """Read the `wanted` columns (None: all) of the first `rows` rows of one of the tables that `tables_of` lists.

    Raises as `tables_of` does.
    """
    address = _address(where)
    with one_line_faults(address), closing(open_database(address)) as database:
        frames = list(_first(database.rows(_whole(table), None, wanted), rows))
        told = [_told(frame) for frame in frames if frame.height] or frames[:1]
        return pl.concat(told, how="vertical_relaxed")


def _whole(table: str) -> Query:
    return Query(text=f"SELECT * FROM {table}")  # noqa: S608 - the database's own name of it


def _told(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with each value of a mixed column as what it is, without those that nobody could read."""
    return frame.with_columns(
        pl.Series(column.name, [_value(**entry) if entry else None for entry in column.to_list()], dtype=pl.Object)
        for column in frame
        if is_loose(column)
    )


def _value(text: str, kind: str) -> Any:
    if kind == UNREADABLE:
        return None  # such as a picture
    return json.loads(text) if kind in (BOOLEAN, NESTED) else text


def _first(batches: Rows, rows: int) -> Iterator[pl.DataFrame]:
    for batch, _ in batches:
        yield batch.head(rows)
        rows -= batch.height
        if rows <= 0:
            return


def _address(where: str) -> Address:
    return address_of_uri(where) if "://" in where else address_of_connection(where)
