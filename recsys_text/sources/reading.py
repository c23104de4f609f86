"""Read a source as rows of its table's contract, whatever it is. Knows no windows and no lake."""

from collections.abc import Iterator

import polars as pl

from recsys_text.errors import ContractError
from recsys_text.sections import Source
from recsys_text.sources.boundary import describe_path, foreign
from recsys_text.sources.cast import columns_of, no_column, source_names, to_contract
from recsys_text.sources.files import Batch, read_files
from recsys_text.sources.sql import TimeColumn, describe_query, one_query, read_query
from recsys_text.sources.times import Span

#: The column that places a row of the table in time.
TIME = {"items": "updated_at", "events": "occurred_at", "impressions": "shown_at"}


def read_rows(table: str, source: Source, span: Span) -> Iterator[pl.DataFrame]:
    """Batches of rows in the contract's types, with `rule` and `offender` of those that could not be read as such.

    Rows outside the span may be left out. Raises ConfigError, ContractError or UnavailableError, each of which names
    the file or the database.
    """
    seen: dict[str, None] = {}
    sparse = False
    #: The contract's columns that are a field within a column, and had no value so far.
    fields = {name for name, wanted in source.columns.items() if "." in wanted}
    for batch in _batches(table, source, span):
        with foreign(batch.origin, source.kind):
            try:
                frame = to_contract(batch.frame, table, source, there=batch.columns, sparse=batch.sparse)
            except ContractError as error:
                raise ContractError(f"{batch.origin}: {error}") from None
        seen.update(dict.fromkeys(batch.columns))
        sparse = sparse or (batch.sparse and frame.height > 0)
        fields -= {name for name in fields if not _is_nothing(frame[name])}
        yield frame
    for name, wanted in source.columns.items():
        if name in source.left_out():
            continue
        root, _, field = wanted.partition(".")
        if sparse and not {wanted, root} & seen.keys():
            raise ContractError(f"{describe(source)}: {no_column(table, wanted, seen)}")
        if sparse and name in fields and wanted not in seen:
            raise ContractError(
                f"{describe(source)}: no row has a field '{field}' in its '{root}'; correct or leave out '{wanted}' in "
                f"sources.{table}.columns"
            )


def _is_nothing(column: pl.Series) -> bool:
    """Whether no row has a value."""
    known = column.drop_nulls()
    return not len(known) or (isinstance(column.dtype, pl.List) and not known.list.len().sum())


def describe(source: Source) -> str:
    """The source in words without what may be secret."""
    return describe_path(source.path or "") if source.kind == "file" else describe_query(source)


def depends_on_span(source: Source) -> bool:
    """Whether what the source gives depends on the span that it is asked for: a query with `:start` or `:end`."""
    return source.query is not None and bool(one_query(source.query).names)


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
