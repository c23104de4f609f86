"""Reads the rows of a source's query that may lie in a span of time.

A database compares a query's column with `:start` and `:end` as it is stored: SQLite sorts every number before every
text, and MySQL reads a date beside a number as the number of its year. So what the bounds must be is found
out by reading back: of the kinds of bounds that a database may want, those are taken with which the most rows of the
span come. Rows outside of the span are left to whoever reads to drop.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain
from typing import Self

import polars as pl

from recsys_text.errors import ConfigError, ContractError, RecsysTextError
from recsys_text.sections import Source
from recsys_text.sources.boundary import describe_path
from recsys_text.sources.sql.addresses import resolve
from recsys_text.sources.sql.databases import Database, open_database
from recsys_text.sources.sql.faults import one_line_faults
from recsys_text.sources.sql.query import Bounds, Query, one_query
from recsys_text.sources.times import Span

#: Times before and after all that a table is likely to hold.
_FIRST, _LAST = datetime(1995, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class TimeColumn:
    """The column by which rows belong to windows.

    name: its name in the source. read: what reads UTC times from a batch and the names of all columns of the query.
    """

    name: str
    read: Callable[[pl.DataFrame, list[str]], pl.Series]


def read_query(
    source: Source, wanted: Collection[str], span: Span, time: TimeColumn | None = None
) -> Iterator[tuple[pl.DataFrame, list[str]]]:
    """Give batches of the `wanted` columns of the query, each with the names of all columns; the first may be empty.

    Args:
        source: a source of kind 'sql'.
        wanted: the names of the columns in the source; those that the query lacks are left out.
        span: the time that is asked for; rows outside of it may come as well.
        time: the column that lies in the span; without it, all rows come that the query gives.

    Raises:
        ConfigError: an address or a query that the database refuses, or one that no bounds can satisfy.
        ContractError: a wanted column comes twice, or its values cannot be read.
        UnavailableError: the database is out of reach, locked or breaks off.
    """
    assert source.query is not None
    query = one_query(source.query)
    address = resolve(source)
    with one_line_faults(address), closing(open_database(address, span, source.time_unit)) as database:
        try:
            yield from _within(database, query, wanted, span, time)
        except ContractError as error:
            raise ContractError(f"{describe_query(source)}: {error}") from None


def describe_query(source: Source) -> str:
    """The source in words without what may be secret: a password in its address, a `${NAME}` in its query."""
    assert source.query is not None
    where = source.conn_id or describe_path(source.uri or "")
    return f"sql at {where}, query {hashlib.sha256(source.query.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class _Count:
    """How many rows there are, of how many the time can be read, and how many lie in the span."""

    rows: int = 0
    readable: int = 0
    inside: int = 0

    @classmethod
    def of(cls, batch: pl.DataFrame, names: list[str], span: Span, time: TimeColumn) -> Self:
        """Counts the rows of a batch of the query with the columns `names`."""
        if not batch.height:
            return cls()
        times = time.read(batch, names)
        inside = times.is_between(span.start, span.end, closed="left").sum()
        return cls(batch.height, batch.height - times.null_count(), int(inside))

    @property
    def unreadable(self) -> int:
        return self.rows - self.readable

    def __add__(self, other: Self) -> Self:
        return replace(
            self,
            rows=self.rows + other.rows,
            readable=self.readable + other.readable,
            inside=self.inside + other.inside,
        )


def _within(
    database: Database, query: Query, wanted: Collection[str], span: Span, time: TimeColumn | None
) -> Iterator[tuple[pl.DataFrame, list[str]]]:
    bounds = database.bounds(span)
    if not query.names or len(bounds) == 1:
        yield from database.rows(query, bounds[0], wanted)
        return
    given = False
    with closing(database.rows(query, bounds[0], wanted)) as batches:
        first, names = next(batches)
        if time is not None and time.name in names and first.schema[time.name].is_temporal():
            # What the database knows as times it compares as times; doubt begins where that finds nothing.
            given, found = True, _Count()
            for batch, _ in chain([(first, names)], batches):
                found += _Count.of(batch, names, span, time)
                yield batch, names
            if found.inside:
                return
            bounds = bounds[1:]
    if time is None or time.name not in names:
        yield from database.rows(query, _compared(database, query, span), wanted)
        return

    def count(kind: Bounds, near: str | None = None) -> _Count:
        found = _Count()
        try:
            with closing(database.rows(query, kind, wanted, near=near)) as batches:
                for batch, _ in batches:
                    found += _Count.of(batch, names, span, time)
        except RecsysTextError:
            raise
        except database.mismatches:
            return _Count()  # the database compares no such values
        return found

    near = [count(kind, near=time.name) for kind in bounds]
    best = max(range(len(near)), key=lambda place: (near[place].inside, -place))
    if near[best].inside:
        most = max(range(len(near)), key=lambda place: near[place].unreadable)
        if near[most].unreadable == near[best].unreadable:
            yield from database.rows(query, bounds[best], wanted, near=time.name)
            return
        # Bounds leave out texts that are no times: they come from those that find most of them, to be rejected.
        for place, unreadable in ((best, False), (most, True)):
            for batch, _ in database.rows(query, bounds[place], wanted, near=time.name):
                if batch.height:
                    yield batch.filter(time.read(batch, names).is_null() == unreadable), names
        return
    times = database.all_times()
    counts = [count(kind) for kind in times]
    rows = [each.rows for each in counts]
    if any(each.inside for each in counts) or (times and not any(rows) and database.reads_rows(query)):
        raise ConfigError(
            "the query's condition does not find the rows that its tables have, whatever is bound to :start and :end; "
            f"write {database.advice}"
        )
    if not given and any(each.unreadable for each in counts):
        # No span holds a row whose time cannot be read: all come, to be rejected as those of a file are.
        yield from database.rows(query, times[rows.index(max(rows))], wanted)


def _compared(database: Database, query: Query, span: Span) -> Bounds:
    """The kind of bounds that the query compares with its columns, where no column of its rows tells their time.

    What is bound makes a difference only where it is compared with values of its own kind and unit: SQLite finds every
    text later than any number, and seconds lie before all milliseconds of a sensible year. Of bounds that all make a
    difference, or none, those are taken that give the most rows.
    """
    kinds = database.bounds(span)
    others = [database.bounds(replace(span, start=start, end=end)) for start, end in ((_FIRST, _LAST), (_LAST, _FIRST))]
    counted = Query(text=f"SELECT count(*) AS counted FROM ({query.text}\n) source")  # noqa: S608 - the user's own query

    def count(kind: Bounds) -> int:
        try:
            return sum(int(frame.item()) for frame, _ in database.rows(counted, kind) if frame.height)
        except database.mismatches:
            return 0  # the database compares no such values

    counts = [[count(kind) for kind in same] for same in zip(kinds, *others, strict=True)]
    telling = [place for place, rows in enumerate(counts) if kinds[place].exact and len(set(rows)) > 1]
    return kinds[max(telling or range(len(kinds)), key=lambda place: counts[place][0])]
