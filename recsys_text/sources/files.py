"""Reads files as batches of rows: Parquet, CSV and JSON lines, by glob, at any fsspec address. Knows no contract.

CSV and JSON lines come as text, column by column, so that no reader guesses a type: an id `007` stays `007`.
"""

import csv
import io
import json
import re
import zlib
from collections.abc import Collection, Iterator
from glob import has_magic
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset

from recsys_text.errors import ConfigError, ContractError, UnavailableError
from recsys_text.sources.cast import Span

_BATCH_ROWS = 131_072
_BLOCK_BYTES = 1 << 23
_FORMATS = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson": "jsonl",
    ".ndjson.gz": "jsonl",
}


def read_files(
    path: str, wanted: Collection[str], *, time: str | None, span: Span, may_lack: bool = False
) -> Iterator[pl.DataFrame]:
    """Batches of the `wanted` columns that the files have; the first of each file may be empty.

    `time` names the column by which rows outside the span may be left out; it is a hint that Parquet
    takes and the others do not, and rows without a time always come. With `may_lack`, a glob without files has no rows.
    Raises ConfigError for a missing file, ContractError for one that is not what its name says, and
    UnavailableError when reading breaks off.
    """
    filesystem, files = _find(path, may_lack)
    for file in files:
        shown = describe_path(file)
        kind = next((kind for suffix, kind in _FORMATS.items() if shown.lower().endswith(suffix)), None)
        try:
            match kind:
                case "parquet":
                    yield from _parquet(filesystem, file, wanted, time, span)
                case "csv":
                    yield from _csv(filesystem, file, wanted)
                case "jsonl":
                    yield from _json_lines(filesystem, file, wanted)
                case _:
                    raise ConfigError(f"no reader for {shown}; its name must end in one of {', '.join(_FORMATS)}")
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            raise ContractError(f"{shown} is not readable as {kind}: {_line(error)}") from None
        except (OSError, EOFError, zlib.error) as error:
            raise UnavailableError(f"reading {shown} broke off: {_line(error)}") from None


def describe_path(path: str) -> str:
    """The path without what may be secret in an address: a user, a password, a query."""
    return without_secrets(path.partition("?")[0]) if "://" in path else path


def without_secrets(text: str) -> str:
    """The text with each address in it stripped of its user, password and query."""
    return re.sub(r"(://)(?:[^\s/?]*@)?([^\s?'\"]*)(?:\?[^\s'\"]*)?", r"\1\2", text)


def _find(path: str, may_lack: bool) -> tuple[Any, list[str]]:
    shown = describe_path(path)
    try:
        filesystem, root = fsspec.core.url_to_fs(path)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"cannot open {shown}: {_line(error)}") from None
    try:
        if filesystem.isfile(root):
            return filesystem, [root]
        files = sorted(file for file in filesystem.glob(root) if filesystem.isfile(file))
        folder = filesystem.isdir(root)
    except OSError as error:
        raise UnavailableError(f"{shown} is out of reach: {_line(error)}") from None
    if not files and (folder or not (may_lack and has_magic(root))):
        raise ConfigError(
            f"{shown} is a folder; write {shown.rstrip('/')}/*.parquet" if folder else f"no file at {shown}"
        )
    return filesystem, files


def _parquet(
    filesystem: Any,
    file: str,
    wanted: Collection[str],
    time: str | None,
    span: Span,
) -> Iterator[pl.DataFrame]:
    dataset = pa.dataset.dataset(file, format="parquet", filesystem=filesystem)
    columns = [name for name in dataset.schema.names if name in wanted]
    yield plain_frame(dataset.schema.empty_table().select(columns))
    in_span = None
    if time in columns and pa.types.is_timestamp(dataset.schema.field(time).type):
        kind = dataset.schema.field(time).type
        bounds = (span.start, span.end) if kind.tz else span.wall_clock()
        low, high = (pa.scalar(bound, pa.timestamp("us", kind.tz)).cast(kind) for bound in bounds)
        field = pa.dataset.field(time)
        in_span = ((field >= low) & (field < high)) | field.is_null()
    # Little read-ahead and no buffering of whole row groups: memory stays that of a few batches.
    scanner = dataset.scanner(
        columns=columns,
        filter=in_span,
        batch_size=_BATCH_ROWS,
        batch_readahead=1,
        fragment_readahead=1,
        fragment_scan_options=pa.dataset.ParquetFragmentScanOptions(use_buffered_stream=True, pre_buffer=False),
        cache_metadata=False,
    )
    for batch in scanner.to_batches():
        if batch.num_rows:
            yield plain_frame(pa.Table.from_batches([batch]))


def _csv(filesystem: Any, file: str, wanted: Collection[str]) -> Iterator[pl.DataFrame]:
    with (
        filesystem.open(file, "rb", compression=_compression(file)) as raw,
        io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text,
    ):
        header = next(csv.reader(text), [])
    columns = [name for name in header if name in wanted]
    yield pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
    with filesystem.open(file, "rb", compression=_compression(file)) as raw:
        reader = pa.csv.open_csv(
            raw,
            read_options=pa.csv.ReadOptions(block_size=_BLOCK_BYTES),
            parse_options=pa.csv.ParseOptions(newlines_in_values=True),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                include_columns=columns,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        for batch in reader:
            yield plain_frame(pa.Table.from_batches([batch]))


def _json_lines(filesystem: Any, file: str, wanted: Collection[str]) -> Iterator[pl.DataFrame]:
    columns: dict[str, list[str | None]] = {name: [] for name in wanted}
    seen: set[str] = set()
    with filesystem.open(file, "rb", compression=_compression(file)) as raw:
        rows = 0
        for number, line in enumerate(raw, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ContractError(f"{describe_path(file)} line {number} is not JSON: {error}") from None
            if not isinstance(record, dict):
                raise ContractError(f"{describe_path(file)} line {number} is not a JSON object")
            seen.update(record.keys() & wanted)
            for name, values in columns.items():
                value = record.get(name)
                values.append(value if value is None or isinstance(value, str) else json.dumps(value))
            rows += 1
            if rows % _BATCH_ROWS == 0:
                yield pl.DataFrame({name: columns[name] for name in sorted(seen)}, schema_overrides=_texts(seen))
                columns = {name: [] for name in wanted}
    if rows % _BATCH_ROWS:
        yield pl.DataFrame({name: columns[name] for name in sorted(seen)}, schema_overrides=_texts(seen))


def _compression(file: str) -> str | None:
    return "gzip" if describe_path(file).lower().endswith(".gz") else None


def _texts(names: Collection[str]) -> dict[str, type[pl.DataType]]:
    return dict.fromkeys(names, pl.String)


def plain_frame(table: pa.Table) -> pl.DataFrame:
    """Arrow to polars; extension types as what they stand for: a UUID as text, a foreign type as its text."""
    for index, field in enumerate(table.schema):
        if not isinstance(field.type, pa.BaseExtensionType):
            continue
        column = table.column(index)
        if isinstance(field.type, pa.UuidType):
            plain = pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())
        else:
            storage = column.cast(field.type.storage_type)
            plain = storage.cast(pa.string()) if pa.types.is_binary(storage.type) else storage
        table = table.set_column(index, field.name, plain)
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def _line(error: BaseException) -> str:
    return without_secrets(" ".join(str(error).split())) or type(error).__name__
