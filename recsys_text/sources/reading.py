"""Read a source as rows of its table's contract, whatever it is. Knows no windows and no lake."""

from collections.abc import Iterator

import polars as pl

from recsys_text.errors import ContractError
from recsys_text.sections import Source
from recsys_text.sources.boundary import describe_path, foreign
from recsys_text.sources.cast import columns_of, source_names, to_contract
from recsys_text.sources.files import Batch, read_files
from recsys_text.sources.sql import TimeColumn, describe_query, read_query
from recsys_text.sources.times import Span

#: The column that places a row of the table in time.
TIME = {"items": "updated_at", "events": "occurred_at", "impressions": "shown_at"}


def read_rows(table: str, source: Source, span: Span) -> Iterator[pl.DataFrame]:
    """Batches of rows in the contract's types, with `rule` and `offender` of those that could not be read as such.

    Rows outside the span may be left out. Raises ConfigError, ContractError or UnavailableError, each of which names
    the file or the database.
    """
    for batch in _batches(table, source, span):
        with foreign(batch.origin, source.kind):
            try:
                frame = to_contract(batch.frame, table, source, there=batch.columns)
            except ContractError as error:
                raise ContractError(f"{batch.origin}: {error}") from None
        yield frame


def describe(source: Source) -> str:
    """The source in words without what may be secret."""
    return describe_path(source.path or "") if source.kind == "file" else describe_query(source)


def _batches(table: str, source: Source, span: Span) -> Iterator[Batch]:
    names = source_names(table, source)
    wanted = columns_of(table, source)
    # The time at which an item changed says nothing of a snapshot: all of it is read.
    lies = names.get(TIME[table]) if table != "items" or source.feed == "changes" else None
    if source.kind == "file":
        assert source.path is not None
        yield from read_files(
            source.path,
            wanted,
            time=lies,
            span=span,
            # A log that the service writes has no file before its first ranking.
            may_lack=source.clicks_within is not None,
            where=source.where,
            separator=source.separator,
            nulls=source.nulls,
        )
    else:

        def times(frame: pl.DataFrame, columns: list[str]) -> pl.Series:
            return to_contract(frame, table, source, there=columns)[TIME[table]]

        for frame, columns in read_query(source, wanted, span, TimeColumn(name=lies, read=times) if lies else None):
            yield Batch(frame=frame, columns=columns, origin=describe(source))
