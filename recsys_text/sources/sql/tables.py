"""Lists the tables of a database and looks at the first rows of one. Knows no contract."""

from collections.abc import Collection, Iterator
from contextlib import closing

import polars as pl

from recsys_text.sources.sql.addresses import Address, address_of_connection, address_of_uri
from recsys_text.sources.sql.databases import open_database
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
    asked = _Asked()
    with one_line_faults(address), closing(open_database(address)) as database:
        next(database.rows(Query(text=f"{_whole(table).text} WHERE 1 = 0"), None, asked))
    return list(asked.names)


class _Asked(Collection[str]):
    """Wanted columns that are none, and the names of those that a database asked for: all that it has."""

    def __init__(self) -> None:
        self.names: dict[str, None] = {}

    def __contains__(self, name: object) -> bool:
        self.names[str(name)] = None
        return False

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def sample_table(where: str, table: str, rows: int, wanted: Collection[str] | None = None) -> pl.DataFrame:
    """Read the `wanted` columns (None: all) of the first `rows` rows of one of the tables that `tables_of` lists.

    Raises as `tables_of` does.
    """
    address = _address(where)
    with one_line_faults(address), closing(open_database(address)) as database:
        frames = list(_first(database.rows(_whole(table), None, wanted), rows))
        return pl.concat([frame for frame in frames if frame.height] or frames[:1], how="vertical_relaxed")


def _whole(table: str) -> Query:
    return Query(text=f"SELECT * FROM {table}")  # noqa: S608 - the database's own name of it


def _first(batches: Iterator[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    for batch in batches:
        yield batch.head(rows)
        rows -= batch.height
        if rows <= 0:
            return


def _address(where: str) -> Address:
    return address_of_uri(where) if "://" in where else address_of_connection(where)
