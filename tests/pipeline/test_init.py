"""`init --from` on tables as people have them: the config that it writes extracts and checks without an edit."""

import json
import os
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from datetime import time as clock
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from recsys_text.config import load
from recsys_text.draft import draft
from recsys_text.sections import Source
from recsys_text.sources import read_rows
from recsys_text.sources.guess import guess
from recsys_text.sources.sample import sample
from recsys_text.steps.inputs import the_lake
from tests.conftest import write_small_project
from tests.pipeline.conftest import run_cli
from tests.sources.test_fuzz import SPAN


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


def test_what_is_left_out_is_said_and_the_rest_is_drafted(
    tmp_path: Path, tables: tuple[pl.DataFrame, pl.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    origin = as_sqlite(tmp_path, *tables)
    with sqlite3.connect(origin) as connection:
        connection.execute("create view totals as select gone from settings")
    connection.close()
    assert run_cli("init", str(tmp_path / "shop"), "--from", origin) == 0
    told = capsys.readouterr()
    assert re.search(r"^totals is left out: .*no such column: gone", told.err, re.MULTILINE)
    settings = load(tmp_path / "shop" / "recsys.toml")
    assert settings.sources.items.query == "select * from products"


@pytest.mark.parametrize("name", ["[/b] [red]", 'a "b" \\c\nd #e [1] 100%'])
def test_folders_and_columns_of_any_name_are_written_and_shown(
    tmp_path: Path, tables: tuple[pl.DataFrame, pl.DataFrame], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    items, clicks = tables
    folder = tmp_path / name.replace("/", "_")
    folder.mkdir()
    as_csv(folder, items.rename({"name": f"{name} title"}), clicks)
    assert run_cli("init", str(folder), "--from", str(folder)) == 0
    assert "extract --config" in capsys.readouterr().out
    source = load(folder / "recsys.toml").sources.items
    assert source.columns["title"] == f"{name} title"
    assert source.path == str(folder / "products.csv")


@pytest.mark.parametrize("write", [as_csv, as_sqlite])
def test_an_address_that_a_config_would_expand_is_refused(
    tmp_path: Path,
    tables: tuple[pl.DataFrame, pl.DataFrame],
    capsys: pytest.CaptureFixture[str],
    write: Callable[[Path, pl.DataFrame, pl.DataFrame], str],
) -> None:
    folder = tmp_path / "of ${HOME}"
    folder.mkdir()
    origin = write(folder, *tables)
    assert run_cli("init", str(tmp_path / "new"), "--from", origin) == 2
    told = capsys.readouterr().err
    assert "a config takes ${HOME} in it for an environment variable; rename it" in told
    assert len(told.splitlines()) == 1
    assert not (tmp_path / "new").exists()
    # Below the folder itself, the path does not have its name; and a glob can say it otherwise.
    assert run_cli("init", str(folder), "--from", origin) == 0
    if write is as_csv:
        globs = [f"{tmp_path}/of ?{{HOME}}/{name}.csv" for name in ("products", "clicks")]
        assert run_cli("init", str(tmp_path / "new"), "--from", globs[0], "--from", globs[1]) == 0
        assert load(tmp_path / "new" / "recsys.toml").sources.items.path == globs[0].replace(
            str(tmp_path), f"{tmp_path}/new/.."
        )


@pytest.mark.parametrize("argument", ["folder", "origin"])
def test_names_that_are_not_utf_8_are_one_line(
    tmp_path: Path, tables: tuple[pl.DataFrame, pl.DataFrame], capsys: pytest.CaptureFixture[str], argument: str
) -> None:
    plain, odd = tmp_path / "plain", Path(os.fsdecode(os.fsencode(str(tmp_path)) + b"/caf\xe9"))
    plain.mkdir()
    origin = as_csv(plain, *tables)
    if argument == "folder":
        assert run_cli("init", str(odd), "--from", origin) == 0
        assert "caf\\udce9" in capsys.readouterr().out
    else:
        plain.rename(odd)
        assert run_cli("init", str(tmp_path / "new"), "--from", f"{odd}/products.csv") == 2
        told = capsys.readouterr().err
        assert re.fullmatch(r"error: the name of .*caf\\udce9/products.csv is not UTF-8, .*; rename it\n", told)


def test_the_tables_that_it_took_and_those_that_it_did_not_are_told(
    tables: tuple[pl.DataFrame, pl.DataFrame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "export"
    folder.mkdir()
    as_parquet(folder, *tables)
    pl.DataFrame({"key": ["a"], "value": [1]}).write_csv(folder / "settings.csv")
    assert run_cli("init", str(tmp_path), "--from", str(folder)) == 0
    told = capsys.readouterr().out
    assert "\nitems: products.parquet\nevents: clicks_*.parquet\nnot used: settings.csv\n" in told


def read_as_drafted(folder: Path) -> tuple[Source, pl.DataFrame]:
    """The source of the items, and their rows, that extraction reads by the config for the tables in the folder."""
    tables = guess(sample(str(folder)).tables)
    (folder / "recsys.toml").write_text(draft(tables, folder), encoding="utf-8")
    sources = load(folder / "recsys.toml").sources
    for table, source in (("items", sources.items), ("events", sources.events)):
        rows = pl.concat(read_rows(table, source, SPAN))
        assert rows["rule"].null_count() >= (1 - source.max_rejected) * len(rows), rows
        if table == "items":
            items = rows
    return sources.items, items


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    if path.suffix == ".csv":
        pl.DataFrame(rows).write_csv(path)
    elif path.suffix == ".parquet":
        pl.DataFrame(rows).write_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_events(folder: Path) -> None:
    event = {"user_id": "u", "item_id": "1", "event_type": "click", "occurred_at": "2026-10-01T08:00:00Z"}
    write_table(folder / "clicks.csv", [event] * 3)


TITLES = ["Blue chair", "Red table", "Green lamp", "Tall desk"]
READABLE = "2026-09-12T08:15:00Z"


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("column", ["published_at", "expires_at", "updated_at"])
@pytest.mark.parametrize("value", ["12.09.2026", "09/12/2026 08:15 AM", "2026-13-45", "last week", 20260912, 12])
def test_a_time_that_cannot_be_read_is_left_out_with_its_reason(
    tmp_path: Path, suffix: str, column: str, value: object
) -> None:
    write_events(tmp_path)
    rows = [{"item_id": f"i{place}", "title": title, column: value} for place, title in enumerate(TITLES)]
    write_table(tmp_path / f"items.{suffix}", rows)
    source, items = read_as_drafted(tmp_path)
    assert source.columns[column] == ""
    assert items[column].null_count() == len(TITLES)
    assert f"'{value}' is no time that can be read" in (tmp_path / "recsys.toml").read_text()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("column", ["published_at", "expires_at", "created_at"])
@pytest.mark.parametrize(
    "mark", ["-", "0000-00-00", "0000-00-00 00:00:00", "0001-01-01", "n/a", "TBD", " ", "null", "0"]
)
def test_marks_of_an_unknown_time_among_times_are_nulls(tmp_path: Path, suffix: str, column: str, mark: str) -> None:
    write_events(tmp_path)
    times = [READABLE, mark, READABLE, mark]
    rows = [
        {"item_id": f"i{place}", "title": title, column: time}
        for place, (title, time) in enumerate(zip(TITLES, times, strict=True))
    ]
    write_table(tmp_path / f"items.{suffix}", rows)
    _, items = read_as_drafted(tmp_path)
    read = items["published_at" if column == "created_at" else column]
    assert read.is_null().to_list() == [False, True, False, True]


def test_other_nulls_of_a_csv_file_stay_such_beside_the_marks(tmp_path: Path) -> None:
    write_events(tmp_path)
    rows = [
        {"item_id": f"i{place}", "title": title, "category": "NULL", "published_at": time}
        for place, (title, time) in enumerate(zip(TITLES, [READABLE, "-"] * 2, strict=True))
    ]
    write_table(tmp_path / "items.csv", rows)
    _, items = read_as_drafted(tmp_path)
    assert items["category"].null_count() == len(TITLES)


def test_a_mark_that_is_a_title_too_leaves_the_time_out(tmp_path: Path) -> None:
    write_events(tmp_path)
    rows = [
        {"item_id": f"i{place}", "title": title, "published_at": time}
        for place, (title, time) in enumerate(zip(["-", *TITLES[1:]], [READABLE, "-"] * 2, strict=True))
    ]
    write_table(tmp_path / "items.csv", rows)
    source, _ = read_as_drafted(tmp_path)
    assert (source.columns["published_at"], source.nulls) == ("", None)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("tags", 7),
        ("tags", [["a"]]),
        ("published_at", timedelta(days=1)),
        ("updated_at", clock(8)),
        ("category", ["a", "b"]),
        ("description", ["a"]),
        ("tags", [1.5]),
    ],
)
def test_what_is_of_another_kind_than_the_contract_asks_is_left_out(tmp_path: Path, column: str, value: object) -> None:
    write_events(tmp_path)
    rows = [{"item_id": f"i{place}", "title": title, column: value} for place, title in enumerate(TITLES)]
    write_table(tmp_path / "items.parquet", rows)
    source, _ = read_as_drafted(tmp_path)
    assert source.columns[column] == ""


def test_times_in_another_unit_than_the_others_are_left_out(tmp_path: Path) -> None:
    write_events(tmp_path)
    rows = [
        {"item_id": f"i{place}", "title": title, "published_at": 1_789_200_000, "updated_at": 1_789_200_000_000}
        for place, title in enumerate(TITLES)
    ]
    write_table(tmp_path / "items.csv", rows)
    source, items = read_as_drafted(tmp_path)
    assert (source.time_unit, source.columns) == ("s", {"updated_at": ""})
    assert items["published_at"].null_count() == 0


@pytest.mark.parametrize(("value", "left_out"), [("five", True), ("4.5", False), ("n/a", False), (True, False)])
def test_a_value_that_is_no_number_is_left_out(tmp_path: Path, value: object, left_out: bool) -> None:
    write_table(tmp_path / "items.csv", [{"item_id": "1", "title": "Blue chair"}])
    event = {"user_id": "u", "item_id": "1", "event_type": "click", "occurred_at": "2026-10-01T08:00:00Z"}
    write_table(tmp_path / "clicks.jsonl", [event | {"value": value}, event | {"value": value}])
    read_as_drafted(tmp_path)
    assert ('value = ""' in (tmp_path / "recsys.toml").read_text()) is left_out


OBJECTS: list[tuple[str, Any, str | None, Any]] = [
    ("tags", [{"name": "x"}, {"name": "y"}], "tags.name", ["x", "y"]),
    ("tags", [{"id": "7", "label": "x"}], "tags.label", ["x"]),
    ("tags", [{"id": 7, "text": "x"}], "tags.text", ["x"]),
    ("tags", {"name": "x"}, "tags.name", ["x"]),
    ("tags", [{"id": 7}], "", []),
    ("tags", [{"de": "x", "en": "y"}], "", []),
    ("category", {"id": 7, "name": "x"}, "category.name", "x"),
    ("category", {"Title": "x", "slug": "y"}, "category.Title", "x"),
    ("category", {"id": 7}, "", None),
    ("category", [{"name": "x"}], "", None),
    ("category", {"a.b": "x"}, "", None),
    ("description", {"text": "x"}, "description.text", "x"),
    ("description", {"html": "x", "plain": "y"}, "", None),
    ("published_at", {"$date": READABLE}, "published_at.$date", datetime(2026, 9, 12, 8, 15, tzinfo=UTC)),
    ("published_at", {"text": "12.09.2026"}, "", None),
    ("title", {"en": "x"}, "title.en", "x"),
]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "duckdb"])
@pytest.mark.parametrize(("column", "value", "taken", "read"), OBJECTS)
def test_of_objects_the_likely_field_is_read_and_without_one_the_column_is_not(
    tmp_path: Path, suffix: str, column: str, value: Any, taken: str, read: Any
) -> None:
    write_events(tmp_path)
    rows = [{"item_id": f"i{place}", "title": title} | {column: value} for place, title in enumerate(TITLES)]
    if suffix == "duckdb":
        with duckdb.connect(str(tmp_path / "shop.duckdb")) as connection:
            connection.register("frame", pl.DataFrame(rows).to_arrow())
            connection.execute("create table items as select * from frame")
    else:
        write_table(tmp_path / f"items.{suffix}", rows)
    source, items = read_as_drafted(tmp_path)
    assert source.columns == {column: taken}
    assert items[column].to_list() == [read] * len(TITLES)


@pytest.mark.parametrize("other", ["x", 7, None, {}, {"name": None}, {"other": 1}])
def test_objects_beside_other_values_are_read_where_extraction_can(tmp_path: Path, other: object) -> None:
    write_events(tmp_path)
    rows = [
        {"item_id": f"i{place}", "title": title, "category": {"name": "x"} if place % 2 else other}
        for place, title in enumerate(TITLES)
    ]
    write_table(tmp_path / "items.jsonl", rows)
    source, items = read_as_drafted(tmp_path)
    mixed = isinstance(other, str | int)
    assert source.columns == {"category": "" if mixed else "category.name"}
    assert items["category"].to_list() == ([None] * 4 if mixed else [None, "x"] * 2)


def test_a_column_that_is_there_twice_is_left_out(tmp_path: Path) -> None:
    write_events(tmp_path)
    (tmp_path / "items.csv").write_text("item_id,title,tags,tags\n1,Blue chair,a,b\n")
    source, _ = read_as_drafted(tmp_path)
    assert source.columns == {"tags": ""}
    (tmp_path / "items.csv").write_text("item_id,title,genres,category,category\n1,Blue chair,a,b,b\n")
    source, _ = read_as_drafted(tmp_path)
    assert source.columns == {"tags": "genres", "category": ""}


def test_another_column_is_read_in_place_of_one_that_cannot_be(tmp_path: Path) -> None:
    write_events(tmp_path)
    (tmp_path / "items.csv").write_text("item_id,title,genres,tags,tags\n1,Blue chair,a,b,b\n")
    source, items = read_as_drafted(tmp_path)
    assert source.columns == {"tags": "genres"}
    assert items["tags"].to_list() == [["a"]]


@pytest.mark.parametrize("row", ["1,Blue chair,", "1", "1,Blue chair,x,y"])
def test_rows_of_another_width_than_the_header_are_told_as_extraction_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], row: str
) -> None:
    write_events(tmp_path)
    (tmp_path / "items.csv").write_text(f"item_id,title\n{row}\n{row}\n")
    assert run_cli("init", str(tmp_path), "--from", str(tmp_path)) == 2
    told = capsys.readouterr().err
    left_out, error = told.splitlines()
    assert f"no row can be read, such as '{row}', which has not as many values as the file has columns" in left_out
    assert "items.csv" not in error


def test_a_file_with_nothing_but_its_header_has_no_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_events(tmp_path)
    (tmp_path / "items.csv").write_text("item_id,title\n")
    assert run_cli("init", str(tmp_path), "--from", str(tmp_path)) == 2
    assert "items.csv (item_id, title) has no rows" in capsys.readouterr().err
