"""Read the first rows of any foreign table, whatever its columns: files, folders of files, databases.

Files and databases are opened by the readers of extraction: what extraction reads is read here, in the same way.
Knows no contract; `sources.guess` says what the tables are.
"""

import csv
import gzip
import json
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from glob import escape, has_magic
from io import StringIO
from pathlib import Path
from typing import Any

import fsspec
import polars as pl

from recsys_text.environment import unwritable
from recsys_text.errors import ConfigError, ContractError, RecsysTextError, UnavailableError
from recsys_text.sources.boundary import describe_path, foreign, printable
from recsys_text.sources.csv_files import NULLS, SEPARATORS
from recsys_text.sources.files import find_files, is_hidden, read_files
from recsys_text.sources.loose import BOOLEAN, NESTED, TEXT, UNREADABLE, decoded, is_loose
from recsys_text.sources.read import ROW_OFFENDER, ROW_RULE
from recsys_text.sources.sql import columns_of, sample_table, tables_of
from recsys_text.sources.times import Span
from recsys_text.tables import UNREAD_ROWS

#: So many rows of a table are looked at.
ROWS = 5000
#: So much of a CSV file tells its separator; no longer field fits Python's own reader.
_HEAD_BYTES = 1 << 17
_SUFFIXES = re.compile(r"\.(parquet|pq|csv|tsv|jsonl|ndjson)(\.gz)?$", re.IGNORECASE)
_CSV = re.compile(r"\.(csv|tsv)(\.gz)?$", re.IGNORECASE)
_DATABASES = {".db": "sqlite", ".sqlite": "sqlite", ".sqlite3": "sqlite", ".duckdb": "duckdb"}
_MOST_SHOWN = 3
#: What people call the field of an object that says what it is, the most telling name first.
_TELLING = ("name", "title", "label", "value")
#: The times that extraction takes for such; most others have no value in Python.
_TIMES = Span(start=datetime(1678, 1, 1, tzinfo=UTC), end=datetime(2262, 1, 1, tzinfo=UTC), zone=None)
_PER_SECOND = {"ms": 10**3, "us": 10**6, "ns": 10**9}

Read = Callable[[Collection[str]], dict[str, list[Any]]]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The first rows of a foreign table.

    name: as shown to a user. columns: one list of Python values for each. source: the keys by which a config names the
    table; a local `path` or database is absolute there. nulls: the texts that mean to its format that there is no
    value. fields: of each column that is a field of objects, such as `tags.name`, the column that holds these. unread:
    why a column cannot be read as it is. left_out: one line for each column that cannot be read at all.
    """

    name: str
    columns: dict[str, list[Any]]
    source: dict[str, str]
    nulls: tuple[str, ...] = ()
    fields: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """The tables that an address has, and one line for each table or column of it that cannot be read."""

    tables: list[Sample]
    left_out: list[str]


def sample(address: str) -> Sampled:
    """The tables at a file, a glob, a folder, a database's address or an Airflow connection.

    Of several tables, and of the columns of each, those that cannot be read are left out. Raises ConfigError where
    nothing is there, ContractError where nothing can be read, and UnavailableError for what is out of reach.
    """
    shown = describe_path(address)
    _refuse_name(address, shown)
    with foreign(shown, "a table"):
        tables, broken = _found(address, shown)
    if not tables:
        more = "; ..." if len(broken) > _MOST_SHOWN else ""
        raise ContractError(f"no table of {shown} can be read: {'; '.join(broken[:_MOST_SHOWN])}{more}")
    return Sampled(tables=tables, left_out=[*broken, *(line for table in tables for line in table.left_out)])


def _found(address: str, shown: str) -> tuple[list[Sample], list[str]]:
    """The tables at an address, and one line for each that cannot be read."""
    if "://" in address:
        scheme = address.partition("://")[0]
        return ([_file(address)], []) if scheme in fsspec.available_protocols() else _database("uri", address)
    path = Path(address).expanduser().absolute()
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        kind = _DATABASES.get(path.suffix.lower()) or ("sqlite" if _is_sqlite(path) else None)
        return ([_file(str(path))], []) if kind is None else _database("uri", f"{kind}:///{path}")
    if has_magic(address):
        return [_first(map(_file, find_files(str(path))[1]), str(path))], []
    if re.fullmatch(r"[\w.-]+", address) and not _SUFFIXES.search(address):
        try:
            return _database("conn_id", address)
        except ConfigError as error:
            raise ConfigError(f"there is no file or folder {shown}, and {error}") from None
    raise ConfigError(f"no file at {shown}")


def _folder(folder: Path) -> tuple[list[Sample], list[str]]:
    """Each file of a folder as a table; those in one folder with the same columns are one."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and (_SUFFIXES.search(path.name) or path.suffix.lower() in _DATABASES)
        and not is_hidden(str(path.relative_to(folder)))
    ]
    if not files:
        raise ConfigError(f"{describe_path(str(folder))} holds no Parquet, CSV or JSON lines file and no database")
    found: list[Sample] = []
    faults: list[str] = []
    broken: set[str] = set()
    alike: dict[tuple[Any, ...], list[Path]] = defaultdict(list)
    for path in files:
        try:
            if path.suffix.lower() in _DATABASES:
                tables, others = _found(str(path), describe_path(str(path)))
                found += tables
                faults += others
                continue
            _, names = _opened(str(path))
        except RecsysTextError as error:
            faults.append(str(error))
            broken.add(str(path))
            continue
        # The folders of one partitioned table differ in the values of their keys alone.
        parent = re.sub(r"=[^/]+", "=*", escape(str(path.parent)))
        alike[parent, tuple(names)].append(path)
    for (parent, _), paths in alike.items():
        try:
            found.append(_whole(folder, parent, paths, {str(path) for path in files}, broken))
        except (ContractError, UnavailableError) as error:
            faults.append(str(error))
    return found, faults


def _whole(folder: Path, parent: str, paths: Sequence[Path], files: Collection[str], broken: Collection[str]) -> Sample:
    """The files of the same columns as one table.

    Raises ConfigError where no glob tells them from other files, ContractError where one of these is broken.
    """
    if len(paths) == 1:
        return _file(str(paths[0]))
    glob = f"{parent}/{_common(paths)}"
    own = [str(path) for path in paths]
    others = sorted(({*files} - {*own}) & {*find_files(glob)[1]})
    if others and {*others} <= {*broken}:
        raise ContractError(
            f"{describe_path(glob)} is left out: it holds {describe_path(Path(others[0]).name)}, which cannot be read"
        )
    if others:
        raise ConfigError(
            f"{describe_path(str(folder))} holds tables of different columns whose files no glob tells apart "
            f"({describe_path(paths[0].name)} and {describe_path(Path(others[0]).name)}); "
            "name each with a --from of its own"
        )
    return _first(map(_file, own), glob)


def _first(parts: Iterable[Sample], glob: str) -> Sample:
    """The first part of a table that has rows, as the table that the glob names."""
    for part in parts:
        if any(part.columns.values()):
            break
    return replace(part, name=_name(glob), source=part.source | {"path": glob})


def _name(path: str) -> str:
    return Path(describe_path(path)).name


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


def _file(path: str) -> Sample:
    shown = describe_path(path)
    separator, names = _opened(path)
    source = {"kind": "file", "path": path}
    if separator not in (None, ","):
        source["separator"] = separator
    columns, faults = _readable(shown, names, lambda wanted: _rows_of(path, separator, wanted))
    nulls = () if separator is None else NULLS
    return _sampled(_name(path), shown, columns, faults, source, nulls)


def _opened(path: str) -> tuple[str | None, list[str]]:
    """The separator of a file, where it is CSV, and the names of all columns that it has, twins and all."""
    shown = describe_path(path)
    _refuse_name(path, shown)
    separator = _separator(path, shown) if _CSV.search(shown) else None
    names = next(read_files(path, (), time=None, span=_TIMES, separator=separator)).columns
    # The keys of partitions are columns too; the reader gives those that it is asked for.
    names = [*names, *(key for key in re.findall(r"/([^/=]+)=[^/]*(?=/)", path) if key not in names)]
    if not names:
        raise ContractError(f"{shown} is empty: it has no columns")
    return separator, names


def _refuse_name(path: str, shown: str) -> None:
    """Raises ConfigError for a name that no config can hold."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise ConfigError(f"the name of {shown} is not UTF-8, as a config is; rename it") from None


def _separator(path: str, shown: str) -> str:
    """The separator that gives the most rows of a CSV file as many values as its header has, and the most values."""
    filesystem, files = find_files(path)
    with foreign(shown, "csv"):
        with filesystem.open(files[0], "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            head = (gzip.GzipFile(fileobj=raw) if packed else raw).read(_HEAD_BYTES)
        utf16 = head[:2] in (b"\xff\xfe", b"\xfe\xff")
        text = head.decode("utf-16" if utf16 else "utf-8-sig", errors="replace")
        return max(SEPARATORS, key=lambda sign: _fits(text, sign))


def _fits(text: str, separator: str) -> tuple[int, int]:
    """The number of rows with as many values as the header, where it has more than one, and the number of values."""
    widths = [len(row) for row in csv.reader(StringIO(text, newline=""), delimiter=separator) if row]
    width = widths[0] if widths else 0
    return (widths.count(width), width) if width > 1 else (0, width)


def _rows_of(path: str, separator: str | None, wanted: Collection[str]) -> dict[str, list[Any]]:
    """The values of the wanted columns in the first rows of a file; rows that cannot be read are not among them.

    Raises ContractError where no row can be read.
    """
    columns: dict[str, list[Any]] = {name: [] for name in wanted}
    rows = 0
    unread: tuple[str, str] | None = None
    for batch in read_files(path, wanted, time=None, span=_TIMES, separator=separator):
        frame = batch.frame
        if ROW_RULE in frame.columns:
            told = frame.filter(pl.col(ROW_RULE).is_not_null()).select(ROW_RULE, ROW_OFFENDER).rows()
            unread = unread or next(iter(told), None)
            frame = frame.filter(pl.col(ROW_RULE).is_null())
        frame = frame.head(ROWS - rows)
        rows += frame.height
        with foreign(batch.origin, "a table"):
            for name in columns:
                columns[name] += _values(frame[name]) if name in frame.columns else [None] * frame.height
        if rows == ROWS:
            break
    if not rows and unread is not None:
        raise ContractError(
            f"{describe_path(path)}: no row can be read, such as {unread[1]!r}, {UNREAD_ROWS[unread[0]]}"
        )
    return columns


def _sampled(
    name: str,
    shown: str,
    columns: dict[str, list[Any]],
    faults: dict[str, str],
    source: dict[str, str],
    nulls: tuple[str, ...] = (),
) -> Sample:
    """The sample of these columns, of objects the field that is likely meant; `faults` are those of other columns."""
    flat: dict[str, list[Any]] = {}
    fields: dict[str, str] = {}
    unread = dict(faults)
    for column, values in columns.items():
        if not any(isinstance(entry, dict) for value in values for entry in _entries(value)):
            flat[column] = values
            continue
        likely = _likely_field([entry for value in values for entry in _entries(value) if entry is not None])
        path = f"{column}.{likely}"
        if likely is None or path in columns or unwritable(path):
            flat[column] = [None] * len(values)
            unread[column] = f'it holds objects; name the field that is meant, such as "{column}.name"'
        else:
            flat[path] = [_field(value, likely) for value in values]
            fields[path] = column
    return Sample(
        name=name,
        columns=flat,
        source=source,
        nulls=nulls,
        fields=fields,
        unread=unread,
        left_out=tuple(_told(shown, faults)),
    )


def _entries(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _field(value: Any, name: str) -> Any:
    """The field of an object, or of each in a list."""
    if isinstance(value, list):
        return [_field(entry, name) for entry in value]
    return value and value.get(name)


def _likely_field(objects: Sequence[Any]) -> str | None:
    """The field that is meant by what holds objects: the only one of texts, or one with a telling name among these."""
    if not all(isinstance(each, dict) for each in objects):
        return None
    texts: dict[str, bool] = {}
    for each in objects:
        for name, value in each.items():
            if value is not None:
                texts[name] = texts.get(name, True) and isinstance(value, str)
    names = [name for name, only in texts.items() if only and "." not in name]
    telling = [name for wanted in _TELLING for name in names if name.lower() == wanted]
    return next(iter(telling), names[0] if len(names) == 1 else None)


def _readable(shown: str, names: Sequence[str], read: Read) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """The columns that can be read and that a config can name, and what is wrong with each other.

    Raises what reading does where it reads none.
    """
    faults: dict[str, str] = {}
    for name in names:
        if names.count(name) > 1:
            faults[name] = f"{names.count(name)} columns have this name"
        elif reason := unwritable(name):
            faults[name] = reason
    wanted = [name for name in names if name not in faults]
    columns: dict[str, list[Any]] = {}
    try:
        columns = read(wanted)
    except RecsysTextError as error:
        for name in wanted:
            try:
                columns |= read([name])
            except RecsysTextError as fault:
                faults[name] = str(fault)
        if not columns:
            raise error
    if not columns:
        raise ContractError("; ".join(_told(shown, faults)[:_MOST_SHOWN]))
    return columns, faults


def _told(shown: str, faults: dict[str, str]) -> list[str]:
    return [printable(f"{shown}: column '{name}' is left out: {reason}") for name, reason in faults.items()]


def _values(column: pl.Series) -> list[Any]:
    """The values as Python's own: truth values, numbers, texts, times, lists of these, and objects of texts.

    What extraction could not use (a text that is none, a time beyond those that it reads) is None. Raises ContractError
    for a column of a type that it could not use.
    """
    if column.dtype == pl.Binary:
        column = decoded(column)
    if is_loose(column):
        return [entry and _loose(entry["text"], entry["kind"]) for entry in column.to_list()]
    if column.dtype == pl.Date:
        column = column.cast(pl.Datetime("ms"))
    if isinstance(column.dtype, pl.Datetime):
        scale = _PER_SECOND[column.dtype.time_unit]
        low, high = (int(bound.timestamp()) * scale for bound in (_TIMES.start, _TIMES.end))
        inside = column.to_physical().is_between(low, high, closed="left").fill_null(False)
        return column.set(~inside, None).to_list()
    if isinstance(column.dtype, pl.Array):
        column = column.arr.to_list()
    inner = column.dtype.inner if isinstance(column.dtype, pl.List) else column.dtype
    if isinstance(inner, pl.Struct):
        return _objects(column, [each.name for each in inner.fields if each.dtype == pl.String])
    if inner.is_numeric() or inner in (pl.String, pl.Boolean, pl.Categorical, pl.Enum, pl.Null):
        return column.to_list()
    raise ContractError(f"it holds {column.dtype}, which is no text, number or time, nor a list of such")


def _objects(column: pl.Series, texts: Sequence[str]) -> list[Any]:
    """The objects, or lists of these, with their fields of texts alone."""
    if not texts:
        return [{}] * len(column)
    each = pl.element() if isinstance(column.dtype, pl.List) else pl.col(column.name)
    some = pl.when(each.is_not_null()).then(pl.struct(each.struct.field(name) for name in texts))
    if isinstance(column.dtype, pl.List):
        return column.list.eval(some).to_list()
    return column.to_frame().select(some).to_series().to_list()


def _loose(text: str, kind: str) -> Any:
    """The value that a reader wrote out as a text."""
    match kind:
        case _ if kind == TEXT:
            return text
        case _ if kind == UNREADABLE:
            return None
        case _ if kind == BOOLEAN:
            return text == "true"
        case _ if kind == NESTED:
            return json.loads(text)
    return int(text) if re.fullmatch(r"-?\d+", text) else float(text)


def _is_sqlite(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(16) == b"SQLite format 3\x00"


def _database(key: str, address: str) -> tuple[list[Sample], list[str]]:
    """Each table and view of a database, and one line for each that cannot be read.

    The query has no condition on the time: whoever knows the database's own types adds one, for a table that is large.
    """
    found: list[Sample] = []
    broken: list[str] = []
    tables = tables_of(address)
    if not tables:
        raise ConfigError(f"{describe_path(address)} holds no table and no view")
    for table in tables:
        try:
            found.append(_table(key, address, table))
        except RecsysTextError as error:
            broken.append(printable(f"{table} is left out: {error}"))
    return found, broken


def _table(key: str, address: str, table: str) -> Sample:
    if reason := unwritable(table):
        raise ContractError(f"its name cannot stand in a config: {reason}")

    def read(wanted: Collection[str]) -> dict[str, list[Any]]:
        frame = sample_table(address, table, ROWS, wanted)
        with foreign(table, "a table"):
            return {column.name: _values(column) for column in frame}

    shown = printable(table)
    columns, faults = _readable(shown, columns_of(address, table), read)
    source = {"kind": "sql", key: address, "query": f"select * from {table}"}  # noqa: S608 - its own name
    return _sampled(shown, shown, columns, faults, source)
