"""One table in six formats: each gives the same rows of the contract."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from adbc_driver_postgresql import dbapi
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_text.sections import Source
from recsys_text.sources import read_rows
from recsys_text.sources.times import Span

SPAN = Span(start=datetime(2000, 1, 1, tzinfo=UTC), end=datetime(2100, 1, 1, tzinfo=UTC), zone=None)
POSTGRES = Path(__file__).parents[2] / "var/services/postgres.uri"
Row = dict[str, Any]

# PostgreSQL knows no NUL, and a CSV file writes what means "no value" as it writes text.
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=["Cs"]), max_size=12).filter(
    lambda text: (
        text.strip() == text and text not in ("NULL", "null", "\\N", "NaN", "nan", "None", "<NA>", "N/A", "#N/A")
    )
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "user_id": st.none() | st.integers(0, 2**53 - 1),
            "item_id": st.integers(0, 2**53 - 1),
            "event_type": st.sampled_from(["click", "view", "purchase"]),
            "occurred_at": st.datetimes(datetime(2001, 1, 1), datetime(2099, 1, 1)).map(
                lambda time: time.replace(tzinfo=UTC, microsecond=time.microsecond // 1000 * 1000)
            ),
            "value": st.none() | st.integers(-(2**20), 2**20).map(lambda n: n / 8),
            "text": st.none() | TEXT,
        }
    ),
    min_size=1,
    max_size=6,
)


def expected(rows: list[Row]) -> list[tuple[Any, ...]]:
    """The rows of the contract: ids as text, an empty text as none."""
    return [
        (
            None if row["user_id"] is None else str(row["user_id"]),
            str(row["item_id"]),
            row["event_type"],
            row["occurred_at"],
            row["value"],
            row["text"] or None,
        )
        for row in rows
    ]


def read(source: Source) -> list[tuple[Any, ...]]:
    frame = pl.concat(read_rows("events", source, SPAN))
    assert frame["rule"].null_count() == frame.height
    return frame.drop("rule", "offender").with_columns(pl.col("event_type").cast(pl.String)).rows()


def columns(rows: list[Row], types: dict[str, pa.DataType]) -> pa.Table:
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()})


PLAIN = {
    "user_id": pa.int64(),
    "item_id": pa.int64(),
    "event_type": pa.string(),
    "occurred_at": pa.timestamp("us", "UTC"),
    "value": pa.float64(),
    "text": pa.string(),
}


def as_csv(rows: list[Row], folder: Path) -> Source:
    # Whole ids that met a null come as floats from other tools, and empty texts in quotes.
    frame = pl.from_arrow(columns(rows, PLAIN))
    assert isinstance(frame, pl.DataFrame)
    times = frame.with_columns(pl.col("occurred_at").dt.to_string("%Y-%m-%d %H:%M:%S%.6f UTC"))
    times.write_csv(folder / "rows.csv", quote_style="non_numeric")
    return Source(kind="file", path=str(folder / "rows.csv"))


def as_json_lines(rows: list[Row], folder: Path) -> Source:
    told = [
        row
        | {
            "occurred_at": row["occurred_at"].isoformat(),
            "item_id": float(row["item_id"]) if number % 2 else row["item_id"],
            "user_id": float("nan") if row["user_id"] is None else row["user_id"],
        }
        for number, row in enumerate(rows)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    return Source(kind="file", path=str(folder / "rows.jsonl"))


def as_parquet(rows: list[Row], folder: Path) -> Source:
    pq.write_table(columns(rows, PLAIN), folder / "rows.parquet")
    return Source(kind="file", path=str(folder / "rows.parquet"))


def as_other_parquet(rows: list[Row], folder: Path) -> Source:
    """The types that other tools write: decimals, floats, views, dictionaries, an offset, seconds since 1970."""
    table = pa.table(
        {
            "user_id": pa.array([row["user_id"] for row in rows], pa.float64()),
            "item_id": pa.array([Decimal(row["item_id"]) for row in rows], pa.decimal128(38, 9)),
            "event_type": pa.array([row["event_type"] for row in rows]).dictionary_encode(),
            "occurred_at": pa.array([row["occurred_at"] for row in rows], pa.timestamp("ms", "+05:30")),
            "value": pa.array([row["value"] for row in rows], pa.float32()),
            "text": pa.array([row["text"] for row in rows], pa.string_view()),
        }
    )
    pq.write_table(table, folder / "other.parquet")
    return Source(kind="file", path=str(folder / "other.parquet"))


def as_sqlite(rows: list[Row], folder: Path) -> Source:
    path = folder / "rows.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("drop table if exists log")
        connection.execute("create table log (user_id, item_id, event_type text, occurred_at, value real, text text)")
        told = [
            (
                row["user_id"],
                float(row["item_id"]) if number % 2 else row["item_id"],
                row["event_type"],
                int(row["occurred_at"].timestamp() * 1000 + 0.5),
                row["value"],
                row["text"],
            )
            for number, row in enumerate(rows)
        ]
        connection.executemany("insert into log values (?, ?, ?, ?, ?, ?)", told)
        connection.commit()
    return Source(kind="sql", uri=f"sqlite:///{path}", query="select * from log", time_unit="ms")


@pytest.fixture(scope="module")
def postgres() -> Iterator[tuple[str, Any]]:
    uri = os.environ.get("RECSYS_TEXT_POSTGRES_URI") or (POSTGRES.read_text() if POSTGRES.exists() else None)
    if uri is None:
        pytest.skip("no PostgreSQL runs; `make services` starts one")
    with dbapi.connect(uri, autocommit=True) as connection, connection.cursor() as cursor:
        cursor.execute("drop table if exists same_rows")
        cursor.execute(
            "create table same_rows (place int, user_id numeric(30, 3), item_id bigint, event_type char(12), "
            "occurred_at timestamptz, value float8, text text)"
        )
        yield uri, cursor
        cursor.execute("drop table same_rows")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("write", [as_csv, as_json_lines, as_parquet, as_other_parquet, as_sqlite])
@given(rows=ROWS)
def test_each_format_gives_the_same_rows(tmp_path: Path, write: Any, rows: list[Row]) -> None:
    assert read(write(rows, tmp_path)) == expected(rows)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_postgresql_gives_the_same_rows(postgres: tuple[str, Any], rows: list[Row]) -> None:
    uri, cursor = postgres
    cursor.execute("delete from same_rows")
    told = [{"place": place} | row for place, row in enumerate(rows)]
    names = ["place", *PLAIN]
    types = {"place": pa.int32()} | PLAIN
    values = pa.table({name: pa.array([row[name] for row in told], types[name]) for name in names})
    marks = "$1, $2, $3, $4, $5, $6, $7"
    for batch in values.to_batches():
        cursor.executemany(f"insert into same_rows values ({marks})", batch)
    query = "select user_id, item_id, event_type, occurred_at, value, text from same_rows order by place"
    source = Source(kind="sql", uri=uri, query=query)
    assert read(source) == expected(rows)
