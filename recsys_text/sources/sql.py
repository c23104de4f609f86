"""Reads a query's rows from SQLite or PostgreSQL through ADBC, in batches. Knows no contract and no lake.

`:start` and `:end` in a query are the bounds of the window, as bound parameters of the database's own
kind; text is never pasted into the query.
"""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import adbc_driver_manager
import polars as pl
import pyarrow as pa

from recsys_text.errors import ConfigError, UnavailableError
from recsys_text.sections import Source
from recsys_text.sources.arrow import plain_frame
from recsys_text.sources.boundary import describe_path
from recsys_text.sources.times import Span

_FETCH_ROWS = 100_000
#: How long another process may write to SQLite before reading fails.
_BUSY_MS = 10_000
# Everything in which a colon is only text (strings, names, comments, casts), then the placeholders.
_SQL_TOKENS = re.compile(
    r"""[eE]'(?:[^'\\]|\\.|'')*' | '(?:[^']|'')*' | "(?:[^"]|"")*" | `[^`]*`
    | --[^\n]* | /\*.*?\*/ | \$(?P<tag>\w*)\$.*?\$(?P=tag)\$ | ::
    | (?<![\w:]):(?P<name>start|end)\b""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a database is: `kind` sqlite with a path, or postgresql with a libpq URI (which holds secrets)."""

    kind: str
    target: str


def read_query(source: Source, wanted: Collection[str], span: Span) -> Iterator[pl.DataFrame]:
    """Batches of the `wanted` columns that the query gives; the first may be empty.

    Raises ConfigError for an address or a query that the database does not know, UnavailableError
    when it is out of reach or breaks off.
    """
    assert source.query is not None
    address = resolve(source)
    read = _sqlite if address.kind == "sqlite" else _postgresql
    try:
        yield from read(address.target, source.query.strip().rstrip(";"), wanted, span)
    except adbc_driver_manager.ProgrammingError as error:
        if "database is locked" in str(error):
            raise UnavailableError(f"somebody writes to the database: {_line(error, address)}; try again") from None
        raise ConfigError(f"the database refuses the query: {_line(error, address)}") from None
    except (adbc_driver_manager.Error, OSError, pa.ArrowException) as error:
        raise UnavailableError(f"reading from {address.kind} broke off: {_line(error, address)}") from None


def describe_query(source: Source) -> str:
    """The source in words without what may be secret: a password in its address, a `${NAME}` in its query."""
    assert source.query is not None
    where = source.conn_id or describe_path(source.uri or "")
    return f"sql at {where}, query {hashlib.sha256(source.query.encode()).hexdigest()[:12]}"


def bind(query: str, placeholder: str) -> tuple[str, list[str]]:
    """The query with numbered placeholders (`placeholder` is their sign: `$` or `?`), and the names in their order."""
    names: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        name = match["name"]
        if name is None:
            return match[0]
        if name not in names:
            names.append(name)
        return f"{placeholder}{names.index(name) + 1}"

    return _SQL_TOKENS.sub(numbered, query), names


def resolve(source: Source) -> Address:
    """The database of a source's uri or Airflow connection. Raises ConfigError for one that is not known."""
    if source.uri is not None:
        return _address_of_uri(source.uri)
    assert source.conn_id is not None
    try:
        from airflow.sdk import BaseHook  # noqa: PLC0415 - only where an Airflow connection is named
        from airflow.sdk.exceptions import AirflowException  # noqa: PLC0415
    except ImportError:
        return _address_of_variable(source.conn_id)
    try:
        found = BaseHook.get_connection(source.conn_id)
    except AirflowException:
        raise ConfigError(_unknown_connection(source.conn_id)) from None
    return _address_of_parts(source.conn_id, found.to_dict())


def _unknown_connection(conn_id: str) -> str:
    return f"no Airflow connection '{conn_id}'; add it in Airflow, or set AIRFLOW_CONN_{conn_id.upper()}"


def _address_of_variable(conn_id: str) -> Address:
    """Reads AIRFLOW_CONN_<ID> as Airflow would: a URI, or JSON."""
    text = os.environ.get(f"AIRFLOW_CONN_{conn_id.upper()}")
    if text is None:
        raise ConfigError(_unknown_connection(conn_id))
    if text.lstrip().startswith("{"):
        try:
            return _address_of_parts(conn_id, json.loads(text))
        except ValueError:
            raise ConfigError(f"AIRFLOW_CONN_{conn_id.upper()} is neither a URI nor JSON") from None
    parts = urlsplit(text)
    fields = {
        "conn_type": parts.scheme,
        "host": unquote(parts.hostname or ""),
        "schema": unquote(parts.path[1:]),
        "login": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "port": parts.port,
        "extra": dict(parse_qsl(parts.query)),
    }
    if parts.scheme == "sqlite":
        # A path's letters matter, and `hostname` lowers them.
        fields["host"] = unquote(parts.netloc)
    return _address_of_parts(conn_id, fields)


def _address_of_parts(conn_id: str, fields: dict[str, Any]) -> Address:
    kind = fields.get("conn_type") or ""
    extra = fields.get("extra") or {}
    extra = json.loads(extra) if isinstance(extra, str) else extra
    host, schema = fields.get("host") or "", fields.get("schema") or ""
    if kind == "sqlite":
        return _sqlite_file(host or f"/{schema}")
    if kind not in ("postgres", "postgresql"):
        raise ConfigError(f"connection '{conn_id}' is of type '{kind}'; only postgres and sqlite are read")
    secret = f":{quote(fields['password'], safe='')}" if fields.get("password") else ""
    login = f"{quote(fields['login'], safe='')}{secret}@" if fields.get("login") else ""
    port = f":{fields['port']}" if fields.get("port") else ""
    plain = {name: value for name, value in extra.items() if isinstance(value, str) and name.islower()}
    options = f"?{urlencode(plain, quote_via=quote)}" if plain else ""
    return Address(
        kind="postgresql", target=f"postgresql://{login}{quote(host, safe='')}{port}/{quote(schema, safe='')}{options}"
    )


def _address_of_uri(uri: str) -> Address:
    scheme, _, rest = uri.partition("://")
    if scheme == "sqlite" and rest.startswith("/"):
        return _sqlite_file(unquote(rest[1:]))
    if scheme in ("postgres", "postgresql"):
        return Address(kind="postgresql", target=f"postgresql://{rest}")
    named = f"that starts with '{scheme}'" if rest else "without '://'"
    raise ConfigError(f"a uri {named} is not read; write postgresql://... or sqlite:////path/to.db")


def _sqlite_file(path: str) -> Address:
    if not Path(path).is_file():
        raise ConfigError(f"no SQLite database at {path}")
    return Address(kind="sqlite", target=path)


def _sqlite(path: str, query: str, wanted: Collection[str], span: Span) -> Iterator[pl.DataFrame]:
    from adbc_driver_sqlite import dbapi  # noqa: PLC0415 - a driver is loaded where it is used

    low, high = span.wall_clock()
    # SQLite compares times as text. These bounds sort before and after every usual way to write a time in
    # the window (with a blank or a T, with or without seconds, a date alone): within a day they may let
    # rows too many through, which are left out later, but none too few.
    bounds = {"start": _text_bound(low, " %H:%M"), "end": _text_bound(high, "T%H:%M:%S")}
    text, names = bind(query, "?")
    values = [bounds[name] for name in names] or None
    with dbapi.connect(f"file:{quote(path)}?mode=ro") as connection, connection.cursor() as cursor:
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        cursor.execute(f"SELECT * FROM ({text}\n) LIMIT 0", values)  # noqa: S608 - the user's own query
        columns = [name for name in cursor.fetch_record_batch().schema.names if name in wanted]
        yield pl.DataFrame(schema=dict.fromkeys(columns, pl.String))
        # The driver guesses a column's type from its first rows and fails on a later one of another type
        # (or on a text after nulls). Text that is never null leaves nothing to guess.
        marked = ", ".join(f"coalesce('=' || {_quoted(name)}, '') AS {_quoted(name)}" for name in columns)
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(_FETCH_ROWS)})
        cursor.execute(f"SELECT {marked} FROM ({text}\n)", values)  # noqa: S608
        value = pl.all().cast(pl.String)
        for batch in cursor.fetch_record_batch():
            frame = plain_frame(pa.Table.from_batches([batch]))
            yield frame.select(pl.when(value != "").then(value.str.slice(1)))


def _postgresql(uri: str, query: str, wanted: Collection[str], span: Span) -> Iterator[pl.DataFrame]:
    try:
        from adbc_driver_postgresql import dbapi  # noqa: PLC0415 - an extra
    except ImportError:
        raise ConfigError("PostgreSQL needs its driver: pip install 'recsys-text[postgres]'") from None
    text, names = bind(query, "$")
    bounds = {"start": span.start, "end": span.end}
    values = [pa.array([bounds[name]], pa.timestamp("us", "UTC")) for name in names]
    parameters = pa.record_batch(values, names=names) if names else None
    with closing(dbapi.connect(uri)) as connection, connection.cursor() as cursor:
        # The server compares naive times with the bounds in the session's zone: that of the source.
        cursor.execute("SELECT set_config('TimeZone', $1, false)", (span.zone.key if span.zone else "UTC",))
        cursor.execute("SET cursor_tuple_fraction = 1")
        # A query with parameters would come as one result in memory; a cursor gives it piece by piece.
        cursor.execute(f"DECLARE extraction NO SCROLL CURSOR FOR {text}", parameters)
        cursor.adbc_statement.set_options(**{"adbc.postgresql.use_copy": "false"})
        while True:
            cursor.execute(f"FETCH {_FETCH_ROWS} FROM extraction")
            table = cursor.fetch_arrow_table()
            yield plain_frame(table.select([name for name in table.schema.names if name in wanted]))
            if table.num_rows == 0:
                return


def _text_bound(time: datetime, clock: str) -> str:
    return time.strftime("%Y-%m-%d" if time.hour == time.minute == 0 else f"%Y-%m-%d{clock}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _line(error: BaseException, address: Address) -> str:
    """The database's words in one line, without the address."""
    words = " ".join(str(error).split()).replace(address.target, "...")
    if address.kind == "sqlite":
        return words
    parts = urlsplit(address.target)
    options = [value for name, value in parse_qsl(parts.query) if "password" in name]
    for secret in filter(None, [parts.password, *options]):
        words = words.replace(unquote(secret), "...").replace(secret, "...")
    return words
