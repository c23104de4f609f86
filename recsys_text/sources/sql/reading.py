"""Reads the rows of a source's query that may lie in a span of time.

A database compares a query's column with `:start` and `:end` as it is stored: SQLite sorts every number before every
text, and MySQL reads a date beside a number as the number of its year. So what the bounds must be is found
out by reading back: of the kinds of bounds that a database may want, those are taken with which the most rows of the
span come. Rows outside of the span are left to whoever reads to drop.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

import polars as pl

from recsys_text.errors import ConfigError
from recsys_text.sections import Source
from recsys_text.sources.boundary import describe_path
from recsys_text.sources.sql.addresses import resolve
from recsys_text.sources.sql.databases import Database, open_database
from recsys_text.sources.sql.faults import one_line_faults
from recsys_text.sources.sql.query import Bounds, Query, one_query
from recsys_text.sources.times import Span


@dataclass(frozen=True, kw_only=True)
class TimeColumn:
    """The column by which rows belong to windows: its name in the source, and what reads UTC times from a batch."""

    name: str
    read: Callable[[pl.DataFrame], pl.Series]


def read_query(
    source: Source, wanted: Collection[str], span: Span, time: TimeColumn | None = None
) -> Iterator[pl.DataFrame]:
    """Give batches of the `wanted` columns of the query; the first may be empty.

    Args:
        source: a source of kind 'sql'.
        wanted: the names of the columns in the source; those that the query lacks are left out.
        span: the time that is asked for; rows outside of it may come as well.
        time: the column that lies in the span; without it, the bounds are bound as the database's own times.

    Raises:
        ConfigError: an address or a query that the database refuses, or one that no bounds can satisfy.
        UnavailableError: the database is out of reach, locked or breaks off.
    """
    assert source.query is not None
    query = one_query(source.query)
    address = resolve(source)
    with one_line_faults(address), closing(open_database(address, span, source.time_unit)) as database:
        yield from _within(database, query, wanted, span, time)


def describe_query(source: Source) -> str:
    """The source in words without what may be secret: a password in its address, a `${NAME}` in its query."""
    assert source.query is not None
    where = source.conn_id or describe_path(source.uri or "")
    return f"sql at {where}, query {hashlib.sha256(source.query.encode()).hexdigest()[:12]}"


def _within(
    database: Database, query: Query, wanted: Collection[str], span: Span, time: TimeColumn | None
) -> Iterator[pl.DataFrame]:
    bounds = database.bounds()
    batches = database.rows(query, bounds[0], wanted)
    first = next(batches)
    if time is None or time.name not in first.columns or not query.names or len(bounds) == 1:
        yield first
        yield from batches
        return

    def inside(frame: pl.DataFrame) -> int:
        return int(time.read(frame).is_between(span.start, span.end, closed="left").sum()) if frame.height else 0

    def count(kind: Bounds) -> int:
        try:
            return sum(inside(batch) for batch in database.rows(query, kind, wanted, near=time.name))
        except database.mismatches:
            return 0  # the database compares no such values

    if first.schema[time.name].is_temporal():
        # What the database knows as times it compares as times; doubt begins where that finds nothing.
        found = 0
        for batch in chain([first], batches):
            found += inside(batch)
            yield batch
        if found:
            return
        bounds = bounds[1:]
    del batches  # which ends the query
    counts = [count(kind) for kind in bounds]
    if not any(counts) and _misses(database, query, count):
        raise ConfigError(
            "the query's condition does not find the rows that its tables have, whatever is bound to :start and :end; "
            f"write {database.advice}"
        )
    yield from database.rows(query, bounds[counts.index(max(counts))], wanted, near=time.name)


def _misses(database: Database, query: Query, count: Callable[[Bounds], int]) -> bool:
    """Whether a query that finds nothing in the span does so because it compares otherwise than it means to.

    That is so where it finds rows of the span once it is asked for all times, or no row of any time at all.
    """
    if any(count(kind) for kind in database.all_times()):
        return True
    gives = any(frame.height for kind in database.all_times() for frame in database.rows(query, kind))
    return not gives and database.reads_rows(query)
