"""Reads files as batches of rows: Parquet, CSV and JSON lines, by glob, at any fsspec address. Knows no contract.

CSV comes as text, column by column, so that no reader guesses a type: an id `007` stays `007`.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from glob import escape, has_magic
from logging import getLogger
from typing import Any
from urllib.parse import unquote

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.dataset

from recsys_text.errors import ConfigError, ContractError, UnavailableError
from recsys_text.sources.arrow import plain_frame
from recsys_text.sources.boundary import describe_path, foreign, one_line
from recsys_text.sources.csv_files import read_csv
from recsys_text.sources.json_files import read_json_lines
from recsys_text.sources.loose import is_loose
from recsys_text.sources.read import ROW_RULE
from recsys_text.sources.texts import FLAGS
from recsys_text.sources.times import POSSIBLE, Span

logger = getLogger("recsys_text")

_BATCH_ROWS = 131_072
_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_NO_PARTITION = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Some rows of a source: the wanted columns that it has, all `columns` that there are, and where they are from.

    sparse: whether rows name their own columns, so that others may come in later rows and files.
    """

    frame: pl.DataFrame
    columns: list[str]
    origin: str
    sparse: bool = False


def read_files(
    path: str,
    wanted: Collection[str],
    *,
    time: str | None,
    span: Span,
    may_lack: bool = False,
    where: str | None = None,
    separator: str | None = None,
    nulls: Collection[str] | None = None,
) -> Iterator[Batch]:
    """Batches of the `wanted` columns that the files have; the first of each file may be empty.

    `time` names the column by which rows outside the span may be left out; it is a hint that Parquet
    takes and the others do not, and rows without a time always come. With `may_lack`, a glob without files has no rows.
    `where` leaves out other rows; `separator` and `nulls` are those of CSV files. A row that cannot be read carries its
    `rule` and `offender`. Raises ConfigError for a missing file or a wrong `where`, ContractError for one that is not
    what its name says, and UnavailableError when reading breaks off.
    """
    condition = None if where is None else _condition(where)
    wanted = {*wanted, *(condition.meta.root_names() if condition is not None else ())}
    filesystem, files = find_files(path, may_lack)
    #: Files of which the condition leaves no row, and how many rows they have.
    emptied: dict[str, int] = {}
    for file in files:
        shown = describe_path(file)
        kind = _format(shown)
        rows = kept = 0
        with foreign(shown, kind):
            for batch in _batches(filesystem, file, shown, kind, wanted, time, span, separator, nulls):
                whole = _with_partitions(batch, file, wanted)
                chosen = whole if condition is None else _where(whole, condition, where)
                rows, kept = rows + whole.frame.height, kept + chosen.frame.height
                yield chosen
        # A condition on the folders that files lie in is there to leave out whole files.
        if rows and not kept and condition is not None and not _folders(file).keys() & condition.meta.root_names():
            emptied[shown] = rows
    if emptied:
        total, first = sum(emptied.values()), next(iter(emptied))
        which = first if len(emptied) == 1 else f"{len(emptied)} of {len(files)} files, such as {first}"
        logger.warning("where = %r leaves no row of %s in %s", where, f"{total:,}", which)


def _format(shown: str) -> str:
    name = shown.lower().removesuffix(".gz")
    kind = next((kind for suffix, kind in _FORMATS.items() if name.endswith(suffix)), None)
    if kind is None:
        raise ConfigError(f"no reader for {shown}; its name must end in one of {', '.join(_FORMATS)} (.gz after it)")
    return kind


def _batches(
    filesystem: Any,
    file: str,
    shown: str,
    kind: str,
    wanted: Collection[str],
    time: str | None,
    span: Span,
    separator: str | None,
    nulls: Collection[str] | None,
) -> Iterator[Batch]:
    if kind == "parquet":
        yield from _parquet(filesystem, file, shown, wanted, time, span)
        return
    compression = _compression(filesystem, file, shown)

    def opened() -> Any:
        return filesystem.open(file, "rb", compression=compression)

    if kind == "csv":
        for frame, names in read_csv(opened, shown, wanted, separator=separator, nulls=nulls):
            yield Batch(frame=frame, columns=names, origin=shown)
    else:
        with opened() as raw:
            for frame, names in read_json_lines(raw, shown, wanted):
                yield Batch(frame=frame, columns=names, origin=shown, sparse=True)


def find_files(path: str, may_lack: bool = False) -> tuple[Any, list[str]]:
    """The file system of a path or an address, and the names of its files there, of which a glob has several.

    Raises ConfigError where there is none, unless a glob `may_lack` files, and UnavailableError where it is out of
    reach.
    """
    shown = describe_path(path)
    try:
        filesystem, root = filesystem_of(path)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"cannot open {shown}: {one_line(error)}") from None
    try:
        files, folder = files_of(filesystem, root), filesystem.isdir(root)
    except OSError as error:
        raise UnavailableError(f"{shown} is out of reach: {one_line(error)}") from None
    if not files and (folder or not (may_lack and has_magic(root))):
        raise ConfigError(
            f"{shown} is a folder; write {shown.rstrip('/')}/*{_usual(filesystem, root)}"
            if folder
            else f"no file at {shown}"
        )
    return filesystem, files


def _usual(filesystem: Any, folder: str) -> str:
    """How the name of a file ends that lies in the folder and has a format; .parquet where there is none."""
    names = sorted(str(name).lower() for name in filesystem.ls(folder, detail=False))
    endings = (suffix for name in names for suffix in _FORMATS if name.removesuffix(".gz").endswith(suffix))
    return next(endings, ".parquet")


def filesystem_of(path: str) -> tuple[Any, str]:
    """The file system of a path or an address, and what it calls it. Raises ValueError or ImportError for none.

    Nothing in a path has a meaning that its file does not have: a double colon is no chain of addresses.
    """
    return fsspec.core.url_to_fs(path) if "://" in path else (fsspec.filesystem("file"), path)


def files_of(filesystem: Any, root: str) -> list[str]:
    """The file of this name, or else those that it means as a glob, without those that are half written.

    A name is first taken for itself: a folder is no pattern where it exists as it is written, brackets and all.
    """
    if filesystem.isfile(root):
        return [root]
    folders = root.split("/")[:-1]
    patterns = (
        place
        for place, folder in enumerate(folders)
        if has_magic(folder) and not filesystem.isdir("/".join(folders[: place + 1]))
    )
    names = next(patterns, len(folders))
    below = len("/".join(folders[:names]))
    pattern = escape(root[:below]) + root[below:]
    return sorted(file for file in filesystem.glob(pattern) if filesystem.isfile(file) and not is_hidden(file[below:]))


def is_hidden(path: str) -> bool:
    """Whether a part of a path that a glob found says that the file is half written, or a tool's own."""
    return any(part.startswith(("_", ".")) for part in path.split("/"))


def _condition(where: str) -> pl.Expr:
    try:
        return pl.sql_expr(where)
    except pl.exceptions.PolarsError as error:
        raise ConfigError(f"where = {where!r} is no SQL expression: {one_line(error)}") from None


def _where(batch: Batch, condition: pl.Expr, where: str | None) -> Batch:
    """The rows for which the condition holds, and those that could not be read at all."""
    missing = [name for name in condition.meta.root_names() if name not in batch.frame.columns]
    if missing:
        raise ConfigError(
            f"where = {where!r}: {batch.origin} has no column '{missing[0]}' ({', '.join(batch.columns)})"
        )
    plain = batch.frame.with_columns(
        column.struct.field("text").alias(column.name) for column in batch.frame if is_loose(column)
    )
    unread = pl.col(ROW_RULE).is_not_null() if ROW_RULE in plain.columns else pl.lit(False)
    try:
        plain = _with_flags(plain, condition)
        kept = plain.select((condition.fill_null(False) | unread).alias("kept")).to_series()
        return replace(batch, frame=batch.frame.filter(kept))
    except (pl.exceptions.PolarsError, _NoFlagError) as error:
        raise ConfigError(
            f"where = {where!r} does not fit {batch.origin}: {one_line(error)}; CSV and JSON lines have texts: "
            "write cast(NAME as double) to compare numbers, NAME = true to compare what is true or false"
        ) from None


class _NoFlagError(ValueError):
    """A text that is compared with true or false, and says neither."""


def _with_flags(frame: pl.DataFrame, condition: pl.Expr) -> pl.DataFrame:
    """The frame with each column of texts that the condition compares with true or false as `true` and `false`.

    The texts would be compared letter by letter, and no row of a file with `True` in it be equal to true. Raises
    _NoFlagError for a text that says neither.
    """
    for name in _compared_with_flags(frame, condition):
        texts = frame[name].str.strip_chars().str.to_lowercase()
        flags = texts.replace_strict(FLAGS, default=None, return_dtype=pl.Boolean)
        neither = frame[name].filter(texts.is_not_null() & flags.is_null())
        if len(neither):
            raise _NoFlagError(f"'{name}' holds {neither[0]!r}, which says neither true nor false")
        frame = frame.with_columns(flags.cast(pl.String).alias(name))
    return frame


def _compared_with_flags(frame: pl.DataFrame, condition: pl.Expr) -> Iterator[str]:
    """The names of columns of texts that are compared with true or false somewhere in the condition."""
    inputs = condition.meta.pop()
    for one in inputs:
        yield from _compared_with_flags(frame, one)
    if len(inputs) != 2 or not any(str(one) in ("true", "false") for one in inputs):
        return
    for one in inputs:
        if one.meta.root_names() and frame.lazy().select(one.alias("one")).collect_schema()["one"] == pl.String:
            if not one.meta.is_column():
                raise _NoFlagError(f"{one} is a text, which is compared with true or false")
            yield one.meta.output_name()


def _with_partitions(batch: Batch, file: str, wanted: Collection[str]) -> Batch:
    """The batch with the keys of the folders that it lies in, as Hive names them (`day=2026-10-01/`), as columns."""
    new = {
        name: None if value == _NO_PARTITION else unquote(value)
        for name, value in _folders(file).items()
        if name in wanted and name not in batch.columns
    }
    if not new:
        return batch
    frame = batch.frame.with_columns(pl.lit(value, pl.String).alias(name) for name, value in new.items())
    return replace(batch, frame=frame, columns=[*batch.columns, *new])


def _folders(file: str) -> dict[str, str]:
    """The keys of the folders that a file lies in, and their values, as they are written."""
    return dict(re.findall(r"/([^/=]+)=([^/]*)(?=/)", file))


def _parquet(
    filesystem: Any,
    file: str,
    shown: str,
    wanted: Collection[str],
    time: str | None,
    span: Span,
) -> Iterator[Batch]:
    # Spark writes times as int96, which become nanoseconds, and those end in 2262, if nobody says otherwise.
    options = pa.dataset.ParquetReadOptions(coerce_int96_timestamp_unit="us")
    dataset = pa.dataset.dataset(file, format=pa.dataset.ParquetFileFormat(read_options=options), filesystem=filesystem)
    names = dataset.schema.names
    columns = [name for name in dict.fromkeys(names) if name in wanted]
    for name in columns:
        if names.count(name) > 1:
            raise ContractError(f"{shown} has {names.count(name)} columns '{name}'; rename one of them")
    # pyarrow's filter and scanner take the columns of a batch, so that memory stays that of a few batches.
    scanner = dataset.scanner(
        columns=columns,
        filter=_in_span(dataset.schema, time, span) if time in columns else None,
        batch_size=_BATCH_ROWS,
        batch_readahead=1,
        fragment_readahead=1,
        fragment_scan_options=pa.dataset.ParquetFragmentScanOptions(use_buffered_stream=True, pre_buffer=False),
        cache_metadata=False,
    )
    none = pa.Table.from_batches([], dataset.schema).select(columns)
    yield Batch(frame=plain_frame(none), columns=names, origin=shown)
    for batch in scanner.to_batches():
        if batch.num_rows:
            yield Batch(frame=plain_frame(pa.Table.from_batches([batch])), columns=names, origin=shown)


def _in_span(schema: pa.Schema, time: str | None, span: Span) -> pa.dataset.Expression | None:
    """The rows whose time lies in the span, is none or one that no log can have; None where the column is no time."""
    kind = schema.field(time).type
    # Arrow cannot filter rows that have views of texts in them.
    views = any(pa.types.is_string_view(field.type) or pa.types.is_binary_view(field.type) for field in schema)
    if views or not pa.types.is_timestamp(kind) or (kind.tz is None and span.zone is None):
        return None
    bounds = (span.start, span.end) if kind.tz else span.wall_clock()
    field = pa.dataset.field(time)
    try:
        low, high = (pa.scalar(bound, pa.timestamp("us", kind.tz)).cast(kind) for bound in bounds)
    except pa.ArrowInvalid:
        return None  # the bounds are beyond what the column can hold
    wanted = ((field >= low) & (field < high)) | field.is_null()
    if kind.unit == "ns":  # which holds no other times
        return wanted
    first, last = (bound.replace(tzinfo=None) for bound in POSSIBLE)
    first, last = (pa.scalar(bound, pa.timestamp("us", kind.tz)).cast(kind) for bound in (first, last))
    return wanted | (field < first) | (field >= last)


def _compression(filesystem: Any, file: str, shown: str) -> str | None:
    """Whether the file is packed, by its first bytes. Raises ContractError where its name alone says so."""
    with filesystem.open(file, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    if not packed and shown.lower().endswith(".gz"):
        raise ContractError(f"{shown} is not gzip, as its name says; write it anew or leave .gz out of its name")
    return "gzip" if packed else None
