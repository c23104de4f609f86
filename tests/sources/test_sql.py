"""Reading queries from SQLite and from a real PostgreSQL (`make services`); addresses, binding and faults."""

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import adbc_driver_postgresql.dbapi
import polars as pl
import pytest

from recsys_text.errors import ConfigError, UnavailableError
from recsys_text.sections import Source
from recsys_text.sources.sql import describe_query, postgresql, read_query, sqlite
from recsys_text.sources.sql.addresses import Address, resolve
from recsys_text.sources.sql.query import Bounds, one_query
from recsys_text.sources.times import Span

SPAN = Span(start=datetime(2024, 3, 1, tzinfo=UTC), end=datetime(2024, 3, 2, tzinfo=UTC), zone=None)
# Each worker of a parallel run has a schema of its own.
SCHEMA = f"lake_test_{os.getpid()}"

URI_FILE = Path(__file__).parents[2] / "var/services/postgres.uri"


def query(text: str, **where: str) -> Source:
    return Source.model_validate({"kind": "sql", "query": text, **where})


def read(source: Source, *wanted: str, span: Span = SPAN) -> pl.DataFrame:
    return pl.concat([frame for frame, _ in read_query(source, wanted, span)])


@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("ts >= :start and ts < :end", "ts >= $1 and ts < $2"),
        ("ts < :end and ts >= :start and :end > ts", "ts < $1 and ts >= $2 and $1 > ts"),
        ("select ':start', \":end\", `:end`, e'it\\':start'", "select ':start', \":end\", `:end`, e'it\\':start'"),
        ("select 'it''s :start' -- :end\n, :end /* :start\n */", "select 'it''s :start' -- :end\n, $1 /* :start\n */"),
        ("select $a$ :start $a$, $$ :end $$, :end", "select $a$ :start $a$, $$ :end $$, $1"),
        ("ts::date >= :start::date", "ts::date >= $1::date"),
        ("x::start, a[lo:end], :started, :end_", "x::start, a[lo:end], :started, :end_"),
        ("(:start)", "($1)"),
    ],
)
def test_placeholders_are_bound_and_nothing_else(text: str, bound: str) -> None:
    assert one_query(text).numbered("$") == bound


def test_names_come_in_the_order_of_their_numbers() -> None:
    found = one_query("a < :end and b >= :start and c < :end")
    assert found.numbered("?") == "a < ?1 and b >= ?2 and c < ?1"
    assert found.values(Bounds(start=1, end=2)) == [2, 1]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("select 1;", "select 1"),
        ("select ';' -- a; b\n ; ; -- done;\n /* ; */ ", "select ';' -- a; b"),
        ("select 1 -- all;", "select 1 -- all;"),
        ("with a as (select 1) select * from a;\n", "with a as (select 1) select * from a"),
    ],
)
def test_a_semicolon_ends_the_query_where_it_is_one(text: str, kept: str) -> None:
    assert one_query(text).text == kept


def test_two_statements_are_refused() -> None:
    with pytest.raises(ConfigError, match="more than one statement"):
        one_query("select 1; select 2")


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "a #1.db"
    connection = sqlite3.connect(path)
    connection.execute("create table clicks (user_id, note text, ts text)")
    connection.commit()
    connection.close()
    return path


def fill(database: Path, rows: Sequence[tuple[object, ...]]) -> None:
    connection = sqlite3.connect(database)
    connection.executemany("insert into clicks values (?, ?, ?)", rows)
    connection.commit()
    connection.close()


def test_sqlite_gives_text_whatever_the_column_mixes(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "FETCH_ROWS", 2)
    fill(database, [(1, None, "a"), (2, None, "b"), (None, None, "c"), ("x", "", "d"), (2.5, "=说", "e")])
    found = read(query("select *, 1 as extra from clicks -- all;", uri=f"sqlite:///{database}"), "user_id", "note")
    assert found.rows() == [("1", None), ("2", None), (None, None), ("x", ""), ("2.5", "=说")]


@pytest.mark.parametrize(
    "shape", ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S.000", "%Y-%m-%dT%H:%M"]
)
@pytest.mark.parametrize("hours", [(0, 1), (5, 6), (23, 24)])
def test_sqlite_bounds_miss_no_row_however_its_time_is_written(
    database: Path, shape: str, hours: tuple[int, int]
) -> None:
    minutes = [datetime(2024, 3, 1, hour, minute) for hour in range(24) for minute in (0, 30, 59)]
    fill(database, [(f"{time:%H:%M}", None, time.strftime(shape)) for time in minutes])
    start = SPAN.start.replace(hour=hours[0])
    span = Span(start=start, end=datetime.fromtimestamp(start.timestamp() + 3600, UTC), zone=None)
    source = query("select user_id from clicks where ts >= :start and ts < :end", uri=f"sqlite:///{database}")
    found = set(read(source, "user_id", span=span)["user_id"])
    assert {f"{hours[0]:02}:00", f"{hours[0]:02}:30", f"{hours[0]:02}:59"} <= found


def test_sqlite_leaves_other_days_out(database: Path) -> None:
    fill(database, [(day, None, f"2024-03-0{day} 12:00:00") for day in (1, 2, 3)] + [(9, None, "2024-03-02")])
    source = query("select user_id from clicks where ts >= :start and ts < :end;", uri=f"sqlite:///{database}")
    assert read(source, "user_id")["user_id"].to_list() == ["1"]
    zone = Span(start=SPAN.start, end=SPAN.end, zone=ZoneInfo("Pacific/Kiritimati"))  # UTC+14
    assert read(source, "user_id", span=zone)["user_id"].to_list() == ["2", "9"]


def test_sqlite_is_opened_to_read_only(database: Path) -> None:
    with pytest.raises((ConfigError, UnavailableError)):
        read(query("delete from clicks returning user_id", uri=f"sqlite:///{database}"), "user_id")


def test_sqlite_waits_for_who_writes_and_then_says_so(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = query("select user_id from clicks", uri=f"sqlite:///{database}")
    fill(database, [("u", None, "a")])
    # In a process of its own: a process never waits for its own locks.
    code = "import sqlite3, sys; connection = sqlite3.connect(sys.argv[1], isolation_level=None); "
    code += "connection.execute('begin exclusive'); print('writing', flush=True); input()"
    writer = subprocess.Popen(
        [sys.executable, "-c", code, database], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "writing\n"
    monkeypatch.setattr(sqlite, "_BUSY_MS", 50)
    with pytest.raises(UnavailableError, match=r"somebody writes to the database /.*: .* try again"):
        read(source, "user_id")
    monkeypatch.setattr(sqlite, "_BUSY_MS", 60_000)
    later = threading.Timer(0.3, writer.communicate, ["\n"])
    later.start()
    assert read(source, "user_id")["user_id"].to_list() == ["u"]
    later.join()
    assert writer.wait() == 0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("select nope from clicks", "no such column"),
        ("select * from nope", "no such table"),
        ("selec", "refuses the query"),
    ],
)
def test_a_wrong_query_is_a_mistake_in_the_config(database: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        read(query(text, uri=f"sqlite:///{database}"), "user_id")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"uri": "sqlite:////nowhere/a%20b.db"}, "no SQLite database at /nowhere/a%20b.db"),
        ({"uri": "postgresql:user:secret@host/db"}, "a uri without '://' is not read"),
        ({"conn_id": "unheard_of"}, "AIRFLOW_CONN_UNHEARD_OF"),
    ],
)
def test_an_unknown_address_is_a_mistake_in_the_config(where: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        resolve(query("select 1", **where))
    assert "secret" not in str(caught.value)


CONNECTIONS = {
    "postgres://us%40er:p%2Fw@db.example:5433/shop?sslmode=require": "postgresql://us%40er:p%2Fw@db.example:5433/shop?sslmode=require",
    json.dumps(
        {
            "conn_type": "postgres",
            "host": "db",
            "login": "u",
            "password": "p:w",
            "schema": "shop",
            "extra": {"sslmode": "require"},
        }
    ): "postgresql://u:p%3Aw@db/shop?sslmode=require",
    "postgresql://db/shop": "postgresql://db/shop",
}


@pytest.mark.parametrize("airflow", [True, False], ids=["airflow", "no airflow"])
@pytest.mark.parametrize(("value", "target"), CONNECTIONS.items(), ids=["uri", "json", "short"])
def test_a_connection_by_its_id(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, airflow: bool, value: str, target: str
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", value)
    if not airflow:
        monkeypatch.setitem(sys.modules, "airflow.sdk", None)
    assert resolve(query("select 1", conn_id="warehouse")).target == target


@pytest.mark.parametrize("airflow", [True, False], ids=["airflow", "no airflow"])
def test_a_sqlite_connection_by_its_id(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, database: Path, airflow: bool
) -> None:
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW_CONN_FILES", json.dumps({"conn_type": "sqlite", "host": str(database)}))
    if not airflow:
        monkeypatch.setitem(sys.modules, "airflow.sdk", None)
    fill(database, [(1, None, "a")])
    assert read(query("select user_id from clicks", conn_id="files"), "user_id").rows() == [("1",)]


def test_the_source_is_told_without_its_secrets() -> None:
    told = describe_query(query("select 'geheim'", uri="postgresql://u:geheim@host:5432/db?sslpassword=geheim"))
    assert re.fullmatch("sql at postgresql://host:5432/db, query [0-9a-f]{12}", told)
    by_id = describe_query(query("select 'geheim'", conn_id="warehouse"))
    assert by_id == told.replace("postgresql://host:5432/db", "warehouse")
    assert describe_query(query("select 'x'", conn_id="warehouse")) != by_id


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    uri = os.environ.get("RECSYS_TEXT_POSTGRES_URI") or (URI_FILE.read_text() if URI_FILE.exists() else None)
    if uri is None:
        pytest.skip("no PostgreSQL runs; `make services` starts one")
    with adbc_driver_postgresql.dbapi.connect(uri) as connection, connection.cursor() as cursor:
        cursor.execute(f"drop schema if exists {SCHEMA} cascade")
        cursor.execute(f"create schema {SCHEMA}")
        cursor.execute(f"create type {SCHEMA}.kind as enum ('click', 'view')")
        cursor.execute(
            f"create table {SCHEMA}.clicks (id bigint, who uuid, kind {SCHEMA}.kind, tags text[], note text,"
            " price numeric, at timestamptz, local_at timestamp)"
        )
        cursor.execute(
            f"insert into {SCHEMA}.clicks select n, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'click', array['x', 'y'],"
            " case when n > 60 then 'late' end, 1.25, timestamptz '2024-02-29 00:00Z' + n * interval '1 hour',"
            " timestamp '2024-02-29 00:00' + n * interval '1 hour' from generate_series(0, 71) n"
        )
        connection.commit()
        yield uri
        cursor.execute(f"drop schema {SCHEMA} cascade")
        connection.commit()


def test_postgres_binds_the_window_and_streams(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "FETCH_ROWS", 7)
    text = (
        f"select id, at from {SCHEMA}.clicks"
        " where at >= :start and at < :end::timestamptz and ':start' <> '' order by id;"
    )
    batches = [frame for frame, _ in read_query(query(text, uri=postgres), {"id", "at"}, SPAN)]
    assert [batch.height for batch in batches] == [7, 7, 7, 3, 0]
    found = pl.concat(batches)
    assert found["id"].to_list() == list(range(24, 48))
    assert found["at"][0] == SPAN.start


def test_postgres_compares_naive_times_in_their_zone(postgres: str) -> None:
    text = f"select id from {SCHEMA}.clicks where local_at >= :start and local_at < :end order by id"
    span = Span(start=SPAN.start, end=SPAN.end, zone=ZoneInfo("Asia/Shanghai"))
    assert read(query(text, uri=postgres), "id", span=span)["id"].to_list() == list(range(32, 56))
    assert read(query(text, uri=postgres), "id")["id"].to_list() == list(range(24, 48))


def test_postgres_types_that_arrow_does_not_know(postgres: str) -> None:
    found = read(
        query(f"select * from {SCHEMA}.clicks where id = 1", uri=postgres), "who", "kind", "tags", "price", "note"
    )
    assert found.row(0, named=True) == {
        "who": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "kind": "click",
        "tags": ["x", "y"],
        "price": "1.25",
        "note": None,
    }


def test_postgres_refuses_a_wrong_query(postgres: str) -> None:
    with pytest.raises(ConfigError, match="nope"):
        read(query(f"select nope from {SCHEMA}.clicks", uri=postgres), "id")


def test_postgres_that_dies_midway_is_unavailable(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "FETCH_ROWS", 10)
    batches = read_query(
        query(
            f"select id, case when id = 40 then pg_terminate_backend(pg_backend_pid()) end from {SCHEMA}.clicks",
            uri=postgres,
        ),
        {"id"},
        SPAN,
    )
    assert next(batches)[0].height == 10
    with pytest.raises(UnavailableError, match="broke off"):
        list(batches)


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("postgresql://user:geheim@host:5/db?sslmode=require", "postgresql://host:5/db"),
        ("postgresql://user:ge/heim@host/db", "postgresql://host/db"),
        ("postgresql://user:ge?heim@host/db", "postgresql://..."),
        ("mysql+pymysql://host/db?password=ge@heim", "mysql://..."),
        ("postgresql:///db", "postgresql:///db"),
    ],
)
def test_an_address_is_shown_without_its_secrets(target: str, shown: str) -> None:
    kind: Any = "sqlalchemy" if "+" in target else "postgresql"
    assert Address(kind=kind, target=target).shown() == shown


def test_postgres_out_of_reach_keeps_the_password_to_itself() -> None:
    with pytest.raises(UnavailableError, match=r"postgresql://127\.0\.0\.1:1/db broke off") as caught:
        read(query("select 1 as id", uri="postgresql://user:geheim@127.0.0.1:1/db?connect_timeout=2"), "id")
    assert "geheim" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        read(query("select 1 as id", uri="postgresql://user:geheim@127.0.0.1:notaport/db"), "id")
    assert "geheim" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        read(query("select 1 as id", uri="postgresql://127.0.0.1:1/db?password=geheim&connect_timeout=x"), "id")
    assert "geheim" not in str(caught.value)
