"""`init --from` on tables as people have them: the config that it writes extracts and checks without an edit."""

import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest

from recsys_text.config import load
from recsys_text.steps.inputs import the_lake
from tests.conftest import write_small_project
from tests.pipeline.conftest import run_cli


@pytest.fixture
def tables(tmp_path: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Items and clicks with names of their own, and times in seconds."""
    folder = tmp_path / "made"
    folder.mkdir()
    write_small_project(folder)
    items = pl.read_parquet(folder / "items.parquet").select(
        pl.col("item_id").alias("sku"), pl.col("title").alias("name"), pl.col("tags").list.join("|")
    )
    clicks = pl.read_parquet(folder / "events.parquet").select(
        pl.col("user_id").alias("customer"),
        pl.col("item_id").alias("product"),
        pl.Series("action", ["view", "add_to_cart"]).sample(440, with_replacement=True, seed=1),
        pl.col("occurred_at").dt.epoch("s").alias("ts"),
    )
    return items, clicks


def as_csv(folder: Path, items: pl.DataFrame, clicks: pl.DataFrame) -> str:
    items.write_csv(folder / "products.csv", separator=";")
    clicks.write_csv(folder / "clicks.csv", separator=";")
    return str(folder)


def as_json_lines(folder: Path, items: pl.DataFrame, clicks: pl.DataFrame) -> str:
    items.write_ndjson(folder / "products.jsonl")
    clicks.write_ndjson(folder / "clicks.jsonl")
    return str(folder)


def as_parquet(folder: Path, items: pl.DataFrame, clicks: pl.DataFrame) -> str:
    items.write_parquet(folder / "products.parquet")
    for part in range(2):
        clicks[part::2].write_parquet(folder / f"clicks_{part}.parquet")
    return str(folder)


def as_sqlite(folder: Path, items: pl.DataFrame, clicks: pl.DataFrame) -> str:
    with sqlite3.connect(folder / "shop.db") as connection:
        for name, frame in (("products", items), ("clicks", clicks)):
            connection.execute(f"create table {name} ({', '.join(frame.columns)})")
            marks = ", ".join("?" * frame.width)
            connection.executemany(f"insert into {name} values ({marks})", frame.rows())
        connection.execute("create table settings (name, value)")
    connection.close()
    return str(folder / "shop.db")


def as_duckdb(folder: Path, items: pl.DataFrame, clicks: pl.DataFrame) -> str:
    with duckdb.connect(str(folder / "shop.duckdb")) as connection:
        for name, frame in (("products", items), ("clicks", clicks)):
            connection.register("frame", frame.to_arrow())
            connection.execute(f"create table {name} as select * from frame")
    return str(folder / "shop.duckdb")


@pytest.mark.parametrize("write", [as_csv, as_json_lines, as_parquet, as_sqlite, as_duckdb])
def test_the_config_that_it_writes_works_as_it_is(
    tmp_path: Path,
    tables: tuple[pl.DataFrame, pl.DataFrame],
    capsys: pytest.CaptureFixture[str],
    write: Callable[[Path, pl.DataFrame, pl.DataFrame], str],
) -> None:
    folder = tmp_path / "shop"
    folder.mkdir()
    origin = write(folder, *tables)
    assert run_cli("init", str(folder), "--from", origin) == 0
    told = capsys.readouterr().out
    config = str(folder / "recsys.toml")
    span = re.search(r"extract --config \S+ (--from \S+ --to \S+)", told)
    assert span is not None
    assert run_cli("extract", "-c", config, *span[1].split()) == 0
    settings = load(Path(config))
    lake = the_lake(settings)
    events = lake.read("events")
    assert len(events) == 440
    assert set(events["event_type"].cast(pl.String)) == {"view", "click"}
    assert len(lake.items(lake.keys("items"))) == 48
    assert run_cli("check", "-c", config) == 0


def test_what_it_cannot_find_it_says_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    assert run_cli("init", str(tmp_path / "new"), "--from", str(tmp_path / "a.csv")) == 2
    assert "a.csv (x, y) has no column that looks like a title" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
