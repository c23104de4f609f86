"""The same table gives the same rows from every kind of database: a grid over backends, conditions and faults."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import polars as pl
import pytest
import sqlalchemy
from airflow.providers.common.sql.hooks.sql import DbApiHook
from airflow.sdk import BaseHook

from recsys_text.errors import ConfigError, ContractError, UnavailableError
from recsys_text.sections import Source
from recsys_text.sources.cast import Span, to_contract
from recsys_text.sources.reading import read_rows
from recsys_text.sources.sql import TimeColumn, read_query, sample_table, tables_of
from recsys_text.sources.sql.addresses import resolve

SERVICES = Path(__file__).parents[2] / "var/services"
DAY = datetime(2024, 3, 1, tzinfo=UTC)
# Each worker of a parallel run has a table of its own.
TABLE = f"clicks_{os.getpid()}"
ROWS = [
    (n, f"u{n % 5}", "50%" if n % 2 else "it's :start", DAY - timedelta(hours=24) + timedelta(hours=n))
    for n in range(72)
]
BACKENDS = ["sqlite", "postgresql", "duckdb", "mariadb", "hook-sqlite", "hook-mariadb"]


def service(name: str) -> str:
    variable, file = os.environ.get(f"RECSYS_TEXT_{name.upper()}_URI"), SERVICES / f"{name}.uri"
    uri = variable or (file.read_text() if file.exists() else None)
    if uri is None:
        pytest.skip(f"no {name} runs; `make services` starts one")
    return uri


class HookOf(DbApiHook):
    """A hook as a provider has one: a connection by its id, with its driver's own placeholders."""

    def __init__(self, connect: Any, placeholder: str) -> None:
        self.get_conn = connect
        self._sign = placeholder

    @property
    def placeholder(self) -> str:
        return self._sign


def create(execute: Any, stamp: str) -> None:
    execute(f"drop table if exists {TABLE}")
    execute(f"create table {TABLE} (id int, who varchar(20), note varchar(20), seen {stamp})")
    rows = [(number, who, note.replace("'", "''"), f"{at:%Y-%m-%d %H:%M:%S}") for number, who, note, at in ROWS]
    execute(f"insert into {TABLE} values " + ", ".join("({}, '{}', '{}', '{}')".format(*row) for row in rows))


@pytest.fixture(params=BACKENDS)
def where(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    name = request.param.removeprefix("hook-")
    if name == "sqlite":
        with closing(sqlite3.connect(tmp_path / "a ?#1%20[x].db")) as connection:
            create(connection.execute, "text")
            connection.commit()
        given = {"uri": f"sqlite:///{tmp_path}/a ?#1%20[x].db"}
    elif name == "duckdb":
        with closing(duckdb.connect(str(tmp_path / "a ?#1%20[x].duckdb"))) as connection:
            create(connection.execute, "timestamp")
        given = {"uri": f"duckdb:///{tmp_path}/a ?#1%20[x].duckdb"}
    else:
        uri = service("postgres" if name == "postgresql" else name)
        given = {"uri": uri}
        if name == "postgresql":
            import adbc_driver_postgresql.dbapi  # noqa: PLC0415

            with adbc_driver_postgresql.dbapi.connect(uri, autocommit=True) as pg, pg.cursor() as cursor:
                create(cursor.execute, "timestamp")
        else:
            with closing(sqlalchemy.create_engine(uri).raw_connection()) as connection:
                create(connection.cursor().execute, "datetime")
                connection.commit()
    if request.param.startswith("hook-"):
        path, uri = tmp_path / "a ?#1%20[x].db", given["uri"]
        url = sqlalchemy.make_url(uri) if name == "mariadb" else None
        hook = (
            HookOf(lambda: sqlite3.connect(path), "?")
            if url is None
            else HookOf(sqlalchemy.create_engine(url).raw_connection, "%s")
        )
        monkeypatch.setattr(BaseHook, "get_hook", classmethod(lambda cls, conn_id: hook))
        monkeypatch.setenv("AIRFLOW_CONN_SHOP", "presto://login:geheim@host/db")
        monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
        given = {"conn_id": "shop"}
    yield given
    if name == "postgresql":
        import adbc_driver_postgresql.dbapi  # noqa: PLC0415

        with adbc_driver_postgresql.dbapi.connect(service("postgres"), autocommit=True) as pg, pg.cursor() as cursor:
            cursor.execute(f"drop table {TABLE}")
    if name == "mariadb":
        with sqlalchemy.create_engine(service("mariadb")).begin() as connection:
            connection.exec_driver_sql(f"drop table {TABLE}")


def found(where: dict[str, str], query: str, zone: str = "UTC") -> list[tuple[Any, ...]]:
    """The contract's rows of one day, as extraction would place them."""
    source = Source.model_validate(
        {"kind": "sql", "query": query, "time_zone": zone, "values": {"event_type": "click"}, **where}
    )
    span = Span(start=DAY, end=DAY + timedelta(days=1), zone=ZoneInfo(zone))
    time = TimeColumn(name="occurred_at", read=lambda raw, _: to_contract(raw, "events", source)["occurred_at"])
    rows: list[tuple[Any, ...]] = []
    for raw, _ in read_query(source, {"user_id", "item_id", "occurred_at", "text"}, span, time):
        frame = to_contract(raw, "events", source)
        inside = pl.col("occurred_at").is_between(span.start, span.end, closed="left")
        rows += frame.filter(inside).select("user_id", "item_id", "occurred_at", "text").rows()
    return sorted(rows)


SELECT = f"select id as item_id, who as user_id, note as text, seen as occurred_at from {TABLE}"


@pytest.mark.parametrize(
    "condition",
    [
        "where seen >= :start and seen < :end",
        "where seen between :start and :end;",
        "where :end > seen and seen >= :start and note <> ':end' -- it's ? :x %s\n",
        "where seen >= :start and seen < :end and (note like '5%' or note like '%:start') ; /* done; */",
        "",
        "where note like '%' -- 100%",
    ],
)
def test_every_backend_gives_the_rows_of_the_day(where: dict[str, str], condition: str) -> None:
    wanted = [(who, str(number), at, note) for number, who, note, at in ROWS if DAY <= at < DAY + timedelta(days=1)]
    assert found(where, f"{SELECT} {condition}") == sorted(wanted)


def test_a_common_table_expression_is_a_query(where: dict[str, str]) -> None:
    text = f"with early as ({SELECT} where seen >= :start) select * from early where occurred_at < :end;"
    assert len(found(where, text)) == 24


def test_naive_times_are_compared_in_their_zone(where: dict[str, str]) -> None:
    rows = found(where, f"{SELECT} where seen >= :start and seen < :end", "Asia/Shanghai")
    assert sorted(int(row[1]) for row in rows) == list(range(32, 56))


@pytest.mark.parametrize("text", ["select nope from {}", "selec", "select * from nope", "select 1; select 2"])
def test_a_wrong_query_is_one_line(where: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        found(where, text.format(TABLE))
    assert "\n" not in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_tables_are_listed_and_looked_at(where: dict[str, str]) -> None:
    if "uri" not in where:
        pytest.skip("a hook of the tests has no inspector")
    assert TABLE in tables_of(where["uri"])
    frame = sample_table(where["uri"], TABLE, 10)
    assert frame.columns == ["id", "who", "note", "seen"]
    assert frame.height == 10


@pytest.mark.parametrize(
    ("columns", "twin"),
    [
        ("id as item_id, note as title, who as title", "title"),
        ("note as title, id as item_id, who as title, note as title", "title"),
        ("note as title, t.*, id as item_id, id as item_id", "item_id"),
    ],
)
def test_two_wanted_columns_of_one_name_are_refused(where: dict[str, str], columns: str, twin: str) -> None:
    source = Source.model_validate({"kind": "sql", "query": f"select {columns} from {TABLE} as t", **where})
    with pytest.raises(
        (ContractError, ConfigError), match=rf"(column '{twin}'|Duplicate column name '{twin}')"
    ) as caught:
        list(read_rows("items", source, Span(start=DAY, end=DAY, zone=None)))
    assert "\n" not in str(caught.value)


def test_columns_of_one_name_that_nobody_wants_do_not_matter(where: dict[str, str]) -> None:
    query = f"select note, id as item_id, who as note, note as title, id as note from {TABLE}"
    source = Source.model_validate({"kind": "sql", "query": query, **where})
    read = pl.concat(list(read_rows("items", source, Span(start=DAY, end=DAY, zone=None))))
    assert sorted(map(int, read["item_id"])) == list(range(72))
    assert set(read["title"]) == {"50%", "it's :start"}


@pytest.mark.parametrize("condition", ["", "where seen >= :start and seen < :end"])
@pytest.mark.parametrize(("table", "lacking"), [("items", "item_id"), ("events", "user_id")])
def test_a_missing_column_is_told_with_all_that_there_are(
    where: dict[str, str], table: str, lacking: str, condition: str
) -> None:
    query = f"select id as number, note as title, seen as occurred_at, who as someone from {TABLE} {condition}"
    source = Source.model_validate({"kind": "sql", "query": query, "time_zone": "UTC", **where})
    with pytest.raises(ContractError, match=r"\(it has number, title, occurred_at, someone\)") as caught:
        list(read_rows(table, source, Span(start=DAY, end=DAY + timedelta(days=1), zone=ZoneInfo("UTC"))))
    assert f"no column '{lacking}'" in str(caught.value)
    assert str(caught.value).startswith("sql at ")


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16le", "UTF-16be"])
def test_sqlite_gives_its_texts_in_any_encoding_and_marks_what_is_none(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "shop.db"
    broken = "cast(x'636166e9' as text)" if encoding == "UTF-8" else "x'636166e9'"
    values = {
        "'Dům 😀'": "Dům 😀",
        "'7'": "7",
        "7.0": "7",
        "1.5": "1.5",
        "'x7B'": "x7B",
        "'=a'": "=a",
        "'a' || char(10) || 'b'": "a\nb",
        "x'c5af'": "ů",
        "x'ff00ff'": None,
        broken: None,
        "null": None,
    }
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"pragma encoding = '{encoding}'")
        connection.execute("create table p (item_id, title, picture)")
        for number, value in enumerate(values):
            connection.execute(f"insert into p values ('č{number}', {value}, x'89504e470d0aff')")
        connection.commit()
    source = Source.model_validate({"kind": "sql", "uri": f"sqlite:///{path}", "query": "select * from p"})
    read = pl.concat(list(read_rows("items", source, Span(start=DAY, end=DAY, zone=None))))
    found = dict(zip(read["item_id"], zip(read["title"], read["rule"], strict=True), strict=True))
    for number, (value, title) in enumerate(values.items()):
        unreadable = value != "null" and title is None
        assert found[f"č{number}"] == (title, "title|dtype" if unreadable else None), value
    assert any("xe9" in shown for shown in read["offender"].drop_nulls())
    looked = sample_table(f"sqlite:///{path}", "p", 10)
    assert looked["picture"].null_count() == looked.height
    assert looked["title"].to_list()[:5] == ["Dům 😀", "7", "7", "1.5", "x7B"]


@pytest.fixture
def mariadb() -> Iterator[tuple[str, Any]]:
    uri = service("mariadb")
    with sqlalchemy.create_engine(uri).begin() as connection:
        yield uri, connection.exec_driver_sql
    with sqlalchemy.create_engine(uri).begin() as connection:
        connection.exec_driver_sql(f"drop table if exists {TABLE}")


STORED = {
    "bigint s": ("bigint", "s", lambda time: str(int(time.timestamp()))),
    "bigint ms": ("bigint", "ms", lambda time: str(int(time.timestamp()) * 1000)),
    "double": ("double", "s", lambda time: str(time.timestamp())),
    "varchar": ("varchar(40)", None, lambda time: f"'{time:%Y-%m-%d %H:%M:%S}'"),
    "varchar T": ("varchar(40)", None, lambda time: f"'{time:%Y-%m-%dT%H:%M:%S}'"),
    "varchar offset": ("varchar(40)", None, lambda time: f"'{time.astimezone(ZoneInfo('Asia/Tokyo')).isoformat()}'"),
    "datetime": ("datetime", None, lambda time: f"'{time:%Y-%m-%d %H:%M:%S}'"),
    "timestamp": ("timestamp", None, lambda time: f"'{time:%Y-%m-%d %H:%M:%S}'"),
}


@pytest.mark.parametrize(
    "condition", ["seen >= :start and seen < :end", "seen between :start and :end", "seen >= :start"]
)
@pytest.mark.parametrize("stored", STORED)
def test_mariadb_compares_what_it_stores(mariadb: tuple[str, Any], stored: str, condition: str) -> None:
    uri, execute = mariadb
    kind, unit, written = STORED[stored]
    execute("set time_zone = '+00:00'")
    execute(f"drop table if exists {TABLE}")
    execute(f"create table {TABLE} (id int, seen {kind})")
    rows = ", ".join(f"({number}, {written(at)})" for number, _, _, at in ROWS)
    execute(f"insert into {TABLE} values {rows}")
    execute("commit")
    source = Source.model_validate(
        {"kind": "sql", "uri": uri, "query": f"select id, seen from {TABLE} where {condition}", "time_unit": unit}
    )

    def instant(value: Any) -> datetime:
        if isinstance(value, (int, float)):
            return datetime.fromtimestamp(value / {"ms": 1000}.get(unit or "s", 1), UTC)
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
        return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)

    time = TimeColumn(
        name="seen", read=lambda raw, _: pl.Series([instant(at) for at in raw["seen"]], dtype=pl.Datetime("us", "UTC"))
    )
    span = Span(start=DAY, end=DAY + timedelta(days=1), zone=None)
    inside = [
        number
        for raw, _ in read_query(source, {"id", "seen"}, span, time)
        for number, at in zip(raw["id"], time.read(raw, raw.columns), strict=True)
        if DAY <= at < DAY + timedelta(days=1)
    ]
    assert sorted(inside) == list(range(24, 48))


@pytest.mark.parametrize("shape", ["%d/%m/%Y %H:%M", "%a, %d %b %Y %H:%M:%S GMT"])
def test_mariadb_gives_times_that_nobody_can_read_to_be_rejected(mariadb: tuple[str, Any], shape: str) -> None:
    uri, execute = mariadb
    execute(f"drop table if exists {TABLE}")
    execute(f"create table {TABLE} (id int, seen varchar(40))")
    execute(f"insert into {TABLE} values " + ", ".join(f"({number}, '{at:{shape}}')" for number, _, _, at in ROWS))
    execute("commit")
    columns = "id as user_id, id as item_id, 'click' as event_type, seen as occurred_at"
    query = f"select {columns} from {TABLE} where seen >= :start and seen < :end"
    source = Source.model_validate({"kind": "sql", "uri": uri, "query": query, "time_zone": "UTC"})
    span = Span(start=DAY, end=DAY + timedelta(days=1), zone=ZoneInfo("UTC"))
    read = pl.concat(list(read_rows("events", source, span)))
    assert read["rule"].to_list() == ["occurred_at|dtype"] * len(ROWS)


def test_postgres_values_are_read_as_their_users_mean() -> None:
    uri = service("postgres")
    text = (
        "select 'ab '::char(5) as padded, 12.50::money as price, 1.000::numeric as whole, 'NaN'::numeric as nan,"
        " array['x', 'y']::char(3)[] as codes, array[1, 2] as numbers, '[\"a\", 1]'::jsonb as tags,"
        " '\"plain\"'::json as word, '7'::jsonb as digit, interval '1 day' as span, '10.0.0.1'::inet as address,"
        " 'infinity'::timestamptz as never, '-infinity'::date as before, 'infinity'::timestamp as naive,"
        " 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid as uid, point(1, 2) as place, time '10:00' as clock"
    )
    source = Source.model_validate({"kind": "sql", "uri": uri, "query": text})
    span = Span(start=DAY, end=DAY + timedelta(days=1), zone=None)
    columns = {word.split()[-1].strip(",") for word in text.split(" as ")[1:] for word in [word.split(",")[0]]}
    row = next(frame.row(0, named=True) for frame, _ in read_query(source, columns, span) if frame.height)
    assert row == {
        "padded": "ab",
        "price": "12.5",
        "whole": "1",
        "nan": "NaN",
        "codes": ["x", "y"],
        "numbers": ["1", "2"],
        "tags": {"text": '["a", 1]', "kind": "nested"},
        "word": {"text": "plain", "kind": "text"},
        "digit": {"text": "7", "kind": "number"},
        "span": "1 day",
        "address": "10.0.0.1/32",
        "never": None,
        "before": None,
        "naive": None,
        "uid": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "place": "(1,2)",
        "clock": "10:00:00",
    }


JSON = {
    '"Title"': (None, "Title"),
    "true": ("item_id|dtype", None),
    "1e20": ("item_id|dtype", None),
    "7": (None, "7"),
    "7.0": (None, "7"),
    '{"name": "x"}': ("item_id|dtype", None),
    "[1]": ("item_id|dtype", None),
    "null": (None, None),
}


@pytest.mark.parametrize("backend", ["duckdb", "postgresql"])
def test_a_column_of_json_is_read_as_json_lines_are(tmp_path: Path, backend: str) -> None:
    rows = [f"select '{value}' as item_id, 'Title' as title" for value in JSON]
    source = json_source(tmp_path, backend, "item_id", " union all ".join(rows))
    read = pl.concat(list(read_rows("items", source, Span(start=DAY, end=DAY, zone=None))))
    assert list(zip(read["rule"], read["item_id"], strict=True)) == list(JSON.values())
    lines = tmp_path / "items.jsonl"
    lines.write_text("".join(f'{{"item_id": {value}, "title": "Title"}}\n' for value in JSON))
    file = Source.model_validate({"kind": "file", "path": str(lines)})
    same = pl.concat(list(read_rows("items", file, Span(start=DAY, end=DAY, zone=None))))
    assert read.select("rule", "item_id", "title").rows() == same.select("rule", "item_id", "title").rows()


def json_source(folder: Path, backend: str, column: str, rows: str, **more: Any) -> Source:
    (folder / "a.duckdb").unlink(missing_ok=True)
    duckdb.connect(str(folder / "a.duckdb")).close()
    uri = f"duckdb:///{folder}/a.duckdb" if backend == "duckdb" else service("postgres")
    query = f"select * replace ({column}::json as {column}) from ({rows}) as source"
    if backend == "postgresql":
        query = f"select {column}::json, title from ({rows}) as source"
    return Source.model_validate({"kind": "sql", "uri": uri, "query": query, **more})


NESTED = {
    "[{'name': 'red'}, {'name': 'blue'}]": ("tags.name", ["red", "blue"]),
    "[{'name': 'red'}] ": ("tags", "not lists of text; name the field"),
    "[['a', 'b'], ['c']]": ("tags", "not lists of text"),
    "[['a']]::varchar[1][1]": ("tags", "not lists of text"),
    "[map {'a': 'b'}]": ("tags", "not lists of text"),
    "{'name': ['a', 'b']}": ("tags.name", ["a", "b"]),
    "{'name': ['a', 'b']} ": ("tags", "not lists or text"),
    "['a', 'b']": ("tags", ["a", "b"]),
    "['a', 'b']::varchar[2]": ("tags", ["a", "b"]),
    "[1, 2]::hugeint[]": ("tags", ["1", "2"]),
    "[date '2024-01-01']": ("tags", ["2024-01-01"]),
    "['\"red\"', '\"blue\"']::json[]": ("tags", ["red", "blue"]),
    "['\"red\"', '7']::json[2]": ("tags", ["red", "7"]),
    "'[\"red\"]'::json": ("tags", ["red"]),
    '\'[{"name": "red"}]\'::json': ("tags.name", ["red"]),
    "union_value(a := ['red'])": ("tags", "name the member"),
    "[union_value(a := 'red')]": ("tags", "name the member"),
    "{'name': union_value(a := 'red')}": ("tags.name", "name the member"),
}


@pytest.mark.parametrize("value", NESTED)
def test_duckdb_lists_are_read_as_in_a_parquet_file(tmp_path: Path, value: str) -> None:
    name, wanted = NESTED[value]
    path = tmp_path / "a.duckdb"
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute(f"create table p as select 'i1' as item_id, 'Title' as title, {value} as tags")
    source = Source.model_validate(
        {"kind": "sql", "uri": f"duckdb:///{path}", "query": "select * from p", "columns": {"tags": name}}
    )
    span = Span(start=DAY, end=DAY, zone=None)
    if isinstance(wanted, str):
        with pytest.raises(ContractError, match=wanted) as caught:
            list(read_rows("items", source, span))
        assert "\n" not in str(caught.value)
    else:
        assert pl.concat(list(read_rows("items", source, span)))["tags"].to_list() == [wanted]


def test_a_union_as_a_title_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.duckdb"
    with closing(duckdb.connect(str(path))) as connection:
        connection.execute("create table p as select 'i1' as item_id, union_value(a := 'x') as title")
    source = Source.model_validate({"kind": "sql", "uri": f"duckdb:///{path}", "query": "select * from p"})
    with pytest.raises(ContractError, match=r"column 'title' of the query holds UNION\(a VARCHAR\)"):
        list(read_rows("items", source, Span(start=DAY, end=DAY, zone=None)))


@pytest.mark.parametrize("kind", ["text", "bigint"])
def test_postgres_and_duckdb_refuse_to_compare_other_types(tmp_path: Path, kind: str) -> None:
    with closing(duckdb.connect(str(tmp_path / "a.duckdb"))) as connection:
        connection.execute(f"create table t (seen {kind})")
    for uri, text in [
        (f"duckdb:///{tmp_path}/a.duckdb", "select seen from t where seen >= :start"),
        (service("postgres"), f"select seen from (select null::{kind} as seen) as t where seen >= :start"),
    ]:
        source = Source.model_validate({"kind": "sql", "uri": uri, "query": text})
        with pytest.raises(ConfigError, match="CAST"):
            list(read_query(source, {"seen"}, Span(start=DAY, end=DAY, zone=None)))


@pytest.mark.parametrize(
    ("uri", "error", "words"),
    [
        ("mysql+pymysql://u:geheim@127.0.0.1:1/db", UnavailableError, "connect"),
        ("mariadb://u:geheim@127.0.0.1:1/db?charset=utf8mb4", UnavailableError, "connect"),
        ("mysql://u:ge@heim@127.0.0.1:1/db", ConfigError, "write %40"),
        ("mysql://u:geheim@127.0.0.1:port/db", ConfigError, "port"),
        ("oracle://u:geheim@host/db", ConfigError, "pip install 'oracledb'"),
        ("snowflake://u:geheim@host/db", ConfigError, "pip install 'snowflake-sqlalchemy'"),
        ("unheard://u:geheim@host/db?token=geheim", ConfigError, "no driver for unheard"),
        ("duckdb:////nowhere/a.duckdb", ConfigError, "no DuckDB database at /nowhere/a.duckdb"),
        ("duckdb://a.duckdb", ConfigError, "three slashes"),
    ],
)
def test_an_address_that_fails_is_one_line_without_secrets(uri: str, error: type[Exception], words: str) -> None:
    source = Source.model_validate({"kind": "sql", "uri": uri, "query": "select 1 as id"})
    with pytest.raises(error, match=words) as caught:
        list(read_query(source, {"id"}, Span(start=DAY, end=DAY, zone=None)))
    assert "geheim" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_password_is_a_mistake_in_the_config() -> None:
    for name in ("postgres", "mariadb"):
        url = sqlalchemy.make_url(service(name)).set(password="ge%@:/heim")
        source = Source.model_validate(
            {"kind": "sql", "uri": url.render_as_string(hide_password=False), "query": "select 1 as id"}
        )
        with pytest.raises(ConfigError, match=r"denied|authentication failed") as caught:
            list(read_query(source, {"id"}, Span(start=DAY, end=DAY, zone=None)))
        assert "heim" not in str(caught.value)


@pytest.mark.parametrize("airflow", [True, False], ids=["airflow", "no airflow"])
@pytest.mark.parametrize("shape", ["sqlite:///{}", "sqlite:////{}", '{{"conn_type": "sqlite", "host": "/{}"}}'])
def test_an_airflow_connection_to_sqlite_names_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str, airflow: bool
) -> None:
    if not airflow:
        monkeypatch.setitem(__import__("sys").modules, "airflow.sdk", None)
    monkeypatch.setenv("AIRFLOW_HOME", str(tmp_path))
    path = tmp_path / "Shop.db"
    monkeypatch.setenv("AIRFLOW_CONN_FILES", shape.format(str(path).removeprefix("/")))
    source = Source.model_validate({"kind": "sql", "conn_id": "files", "query": "select 1"})
    with pytest.raises(ConfigError, match=f"no SQLite database at {path}"):
        resolve(source)
    sqlite3.connect(path).close()
    path.touch()
    assert Path(resolve(source).target) == path
