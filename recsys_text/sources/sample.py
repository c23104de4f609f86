"""Read the first rows of any foreign table, whatever its columns: files, folders of files, databases.

Knows no contract; `sources.guess` says what the tables are.
"""

import csv
import gzip
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape, has_magic
from io import StringIO
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_text.errors import ConfigError, ContractError, RecsysTextError, UnavailableError
from recsys_text.sources.boundary import describe_path, without_secrets
from recsys_text.sources.csv_files import SEPARATORS
from recsys_text.sources.files import files_of, filesystem_of, is_hidden
from recsys_text.sources.sql import sample_table, tables_of

#: So many rows of a table are looked at, and at most so many bytes of a file of text.
ROWS = 5000
_BYTES = 1 << 23
_SUFFIXES = re.compile(r"\.(parquet|pq|csv|tsv|jsonl|ndjson)(\.gz)?$", re.IGNORECASE)
_DATABASES = {".db": "sqlite", ".sqlite": "sqlite", ".sqlite3": "sqlite", ".duckdb": "duckdb"}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The first rows of a foreign table.

    name: as shown to a user. columns: one list of Python values for each. source: the keys by which a config names the
    table; a local `path` or database is absolute there.
    """

    name: str
    columns: dict[str, list[Any]]
    source: dict[str, str]


def sample(address: str) -> list[Sample]:
    """The tables at a file, a glob, a folder, a database's address or an Airflow connection.

    Raises ConfigError where nothing is there, ContractError for a file that is not what its name says, and
    UnavailableError for what is out of reach.
    """
    if "://" in address:
        scheme = address.partition("://")[0]
        return [_file([address])] if scheme in fsspec.available_protocols() else _database("uri", address)
    path = Path(address).expanduser().absolute()
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        kind = _DATABASES.get(path.suffix.lower()) or ("sqlite" if _is_sqlite(path) else None)
        return [_file([str(path)])] if kind is None else _database("uri", f"{kind}:///{path}")
    if has_magic(address):
        return [_file(_files_of(str(path)), glob=str(path))]
    if re.fullmatch(r"[\w.-]+", address) and not _SUFFIXES.search(address):
        return _database("conn_id", address)
    raise ConfigError(f"no file at {address}")


def _folder(folder: Path) -> list[Sample]:
    """Each file of a folder as a table; those in one folder with the same columns are one."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and (_SUFFIXES.search(path.name) or path.suffix.lower() in _DATABASES)
        and not is_hidden(str(path.relative_to(folder)))
    ]
    found: list[Sample] = []
    alike: dict[tuple[Any, ...], list[Path]] = defaultdict(list)
    for path in files:
        if path.suffix.lower() in _DATABASES:
            found += sample(str(path))
            continue
        # The folders of one partitioned table differ in the values of their keys alone.
        parent = re.sub(r"=[^/]+", "=*", escape(str(path.parent)))
        alike[parent, tuple(_file([str(path)]).columns)].append(path)
    for (parent, _), paths in alike.items():
        if len(paths) == 1:
            found.append(_file([str(paths[0])]))
        else:
            glob = f"{parent}/{_common(paths)}"
            others = {str(path) for path in files} - {str(path) for path in paths}
            matched = others & set(_files_of(glob))
            if matched:
                raise ConfigError(
                    f"{folder} holds tables of different columns whose files no glob tells apart ({paths[0].name} and "
                    f"{Path(min(matched)).name}); name each with a --from of its own"
                )
            found.append(_file([str(path) for path in paths], glob=glob))
    if not found:
        raise ConfigError(f"{folder} holds no Parquet, CSV or JSON lines file and no database")
    return found


def _common(paths: Sequence[Path]) -> str:
    """A glob for the names: what they begin and end with."""
    names = [path.name for path in paths]
    if len(set(names)) == 1:
        return escape(names[0])
    start = _shared_start(names)
    end = _shared_start([name[len(start) :][::-1] for name in names])[::-1]
    return f"{escape(start)}*{escape(end)}"


def _shared_start(texts: Sequence[str]) -> str:
    first, last = min(texts), max(texts)
    return next((first[:place] for place, letter in enumerate(first) if not last.startswith(letter, place)), first)


def _files_of(pattern: str) -> list[str]:
    files = files_of(*filesystem_of(pattern))
    if not files:
        raise ConfigError(f"no file at {pattern}")
    return files


def _file(paths: Sequence[str], glob: str | None = None) -> Sample:
    path = paths[0]
    shown = describe_path(path)
    suffix = _SUFFIXES.search(shown)
    if suffix is None:
        raise ConfigError(f"no reader for {shown}; its name must end in .parquet, .csv or .jsonl (or .gz after these)")
    source = {"kind": "file", "path": glob or path}
    try:
        filesystem, root = filesystem_of(path)
        with filesystem.open(root, "rb") as file:
            if suffix[1].lower() in ("parquet", "pq"):
                columns = _parquet(file)
            else:
                text = _text(file)
                if suffix[1].lower() in ("csv", "tsv"):
                    columns, separator = _csv(text)
                    if separator != ",":
                        source["separator"] = separator
                else:
                    columns = _json_lines(text, shown)
    except RecsysTextError:
        raise
    except (pa.ArrowInvalid, pl.exceptions.PolarsError, EOFError, gzip.BadGzipFile) as error:
        raise ContractError(f"{shown} is not readable as {suffix[0]}: {without_secrets(str(error))}") from None
    except (OSError, ImportError, ValueError) as error:
        raise UnavailableError(f"{shown} is out of reach: {without_secrets(str(error))}") from None
    rows = max(map(len, columns.values()), default=0)
    for key, value in re.findall(r"/([^/=]+)=([^/]+)(?=/)", path):
        columns.setdefault(key, [value] * rows)
    if not columns:
        raise ContractError(f"{shown} is empty: it has no columns")
    name = Path(describe_path(glob or path)).name
    return Sample(name=name, columns=columns, source=source)


def _parquet(file: Any) -> dict[str, list[Any]]:
    batch = next(pq.ParquetFile(file).iter_batches(ROWS), None)
    return {} if batch is None else {name: batch.column(name).to_pylist() for name in batch.schema.names}


def _text(file: Any) -> str:
    """The first lines of a file, without the last where it is cut off."""
    packed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    unpacked = gzip.GzipFile(fileobj=file) if packed else file
    data = unpacked.read(_BYTES)
    if len(data) == _BYTES:
        data = data[: data.rfind(b"\n") + 1]
    return str(data.decode("utf-8-sig", errors="replace"))


def _csv(text: str) -> tuple[dict[str, list[Any]], str]:
    header = text.partition("\n")[0]
    separator = max(SEPARATORS, key=header.count)
    rows = csv.reader(StringIO(text, newline=""), delimiter=separator)
    names = [name.strip() for name in next(rows, [])]
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for _, row in zip(range(ROWS), rows, strict=False):
        if len(row) == len(names):
            for name, value in zip(names, row, strict=True):
                columns[name].append(value)
    return columns, separator


def _json_lines(text: str, shown: str) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {}
    for number, line in enumerate(text.splitlines()[:ROWS]):
        try:
            record = json.loads(line) if line.strip() else {}
        except ValueError as error:
            raise ContractError(f"{shown} line {number + 1} is not JSON: {error}") from None
        if not isinstance(record, dict):
            raise ContractError(f"{shown} line {number + 1} is not a JSON object")
        for name, value in record.items():
            columns.setdefault(name, []).append(value)
    return columns


def _is_sqlite(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(16) == b"SQLite format 3\x00"


def _database(key: str, address: str) -> list[Sample]:
    """Each table and view of a database.

    The query has no condition on the time: whoever knows the database's own types adds one, for a table that is large.
    """
    found = []
    for table in tables_of(address):
        frame = sample_table(address, table, ROWS)
        columns = {column.name: column.to_list() for column in frame}
        if columns:
            source = {"kind": "sql", key: address, "query": f"select * from {table}"}  # noqa: S608 - its own name
            found.append(Sample(name=table, columns=columns, source=source))
    return found
