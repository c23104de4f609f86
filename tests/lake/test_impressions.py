"""The optional third source: impressions, from each kind of file to windows of the lake."""

import json
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from recsys_text.errors import ConfigError, ContractError
from recsys_text.lake.extract import extract_windows
from recsys_text.lake.store import Lake
from recsys_text.sections import Source
from tests.lake.samples import DAY_1, WINDOWS, file_sources, files_of, make_events


def shown(count: int = 30) -> pl.DataFrame:
    """Impressions spread over three days; the first of three candidates is clicked in every other one."""
    return pl.DataFrame(
        {
            "impression_id": [f"s{number:03d}" for number in range(count)],
            "user_id": [f"u{number % 7}" for number in range(count)],
            "shown_at": [DAY_1 + timedelta(days=3) / count * number for number in range(count)],
            "candidates": [[f"i{number % 5}", "i007", "i8"] for number in range(count)],
            "clicked": [[number % 2 == 0, False, False] for number in range(count)],
        },
        schema_overrides={"shown_at": pl.Datetime("us", "UTC")},
    )


def extract(folder: Path, path: Path, **settings: object) -> Lake:
    make_events(9).write_parquet(folder / "events.parquet")
    source = Source.model_validate({"kind": "file", "path": str(path), **settings})
    sources = file_sources(folder, folder / "events.parquet").model_copy(update={"impressions": source})
    lake = Lake(folder / "lake")
    extract_windows(lake, sources, WINDOWS)
    return lake


def csv(frame: pl.DataFrame, path: Path) -> None:
    lists = (
        pl.col("candidates").list.join("|"),
        pl.col("clicked").cast(pl.List(pl.Int8)).cast(pl.List(pl.String)).list.join("|"),
    )
    frame.with_columns(*lists, pl.col("shown_at").dt.to_string("iso:strict")).write_csv(path)


def json_lines(frame: pl.DataFrame, path: Path) -> None:
    path.write_text("\n".join(json.dumps(row, default=str) for row in frame.iter_rows(named=True)))


WRITERS: dict[str, Callable[[pl.DataFrame, Path], None]] = {
    "parquet": lambda frame, path: frame.write_parquet(path),
    "csv": csv,
    "jsonl": json_lines,
}


@pytest.mark.parametrize("suffix", WRITERS)
def test_each_window_takes_what_was_shown_in_it(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"shown.{suffix}"
    WRITERS[suffix](shown(), path)
    lake = extract(tmp_path, path)
    found = lake.scan("impressions").collect()
    assert found.group_by("window", maintain_order=True).len()["len"].to_list() == [10, 10, 10]
    columns = ["impression_id", "user_id", "shown_at", "candidates", "clicked"]
    assert found.sort("impression_id").select(columns).equals(shown().select(columns))
    assert found["origin"].cast(pl.String).unique().to_list() == ["logged"]


def test_sql_gives_the_same_windows_as_a_file(tmp_path: Path) -> None:
    shown().write_parquet(tmp_path / "shown.parquet")
    by_file = extract(tmp_path, tmp_path / "shown.parquet")
    digest = by_file.digest("impressions", by_file.keys("impressions"))
    with sqlite3.connect(tmp_path / "shop.db") as database:
        database.execute("create table shown (impression_id, who, shown_at, candidates, clicked)")
        rows = [
            (name, who, str(time), json.dumps(items), ",".join("01"[flag] for flag in flags))
            for name, who, time, items, flags in shown().iter_rows()
        ]
        database.executemany("insert into shown values (?, ?, ?, ?, ?)", rows)
    database.close()
    query = "select * from shown where shown_at >= :start and shown_at < :end"
    source = Source(kind="sql", uri=f"sqlite:///{tmp_path}/shop.db", query=query, columns={"user_id": "who"})
    sources = file_sources(tmp_path, tmp_path / "events.parquet").model_copy(update={"impressions": source})
    lake = Lake(tmp_path / "sql")
    extract_windows(lake, sources, WINDOWS)
    assert lake.digest("impressions", lake.keys("impressions")) == digest


def test_without_the_source_the_lake_has_no_such_table(tmp_path: Path) -> None:
    shown().write_parquet(tmp_path / "shown.parquet")
    with_table = files_of(extract(tmp_path, tmp_path / "shown.parquet").root)
    lake = Lake(tmp_path / "two")
    extract_windows(lake, file_sources(tmp_path, tmp_path / "events.parquet"), WINDOWS)
    assert lake.keys("impressions") == []
    assert files_of(lake.root) == {name: data for name, data in with_table.items() if "impressions" not in name}


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("clicked", pl.lit([True, False], dtype=pl.List(pl.Boolean)), "one_label_per_candidate"),
        ("clicked", pl.lit(["1", "0", "perhaps"], dtype=pl.List(pl.String)), "clicked|inner_nullability"),
        ("clicked", pl.lit(None, dtype=pl.List(pl.Boolean)), "clicked|nullability"),
        ("candidates", pl.lit(None, dtype=pl.List(pl.String)), "candidates|nullability"),
        ("candidates", pl.lit(["a", None, "b"], dtype=pl.List(pl.String)), "candidates|inner_nullability"),
    ],
)
def test_rows_that_break_the_contract_are_kept_beside_their_window(
    tmp_path: Path, column: str, value: pl.Expr, rule: str
) -> None:
    frame = shown()
    if frame.select(value).to_series().dtype == pl.List(pl.String):
        frame = frame.with_columns(pl.col(column).cast(pl.List(pl.String)))
    first = pl.int_range(pl.len()) == 0
    frame.with_columns(pl.when(first).then(value).otherwise(column).alias(column)).write_parquet(tmp_path / "s.parquet")
    lake = extract(tmp_path, tmp_path / "s.parquet", max_rejected=0.2)
    assert lake.manifest("impressions", WINDOWS[0].key)["rejected"] == {rule: 1}
    assert lake.manifest("impressions", WINDOWS[0].key)["rows"] == 9


def test_an_impression_that_comes_twice_is_kept_once(tmp_path: Path) -> None:
    pl.concat([shown(), shown()]).write_parquet(tmp_path / "s.parquet")
    lake = extract(tmp_path, tmp_path / "s.parquet")
    assert lake.manifest("impressions", WINDOWS[1].key)["duplicates"] == 10
    assert lake.scan("impressions").collect().height == 30


def test_bad_sources_are_one_clear_line(tmp_path: Path) -> None:
    shown().drop("clicked").write_parquet(tmp_path / "s.parquet")
    with pytest.raises(ContractError, match=r"impressions has no column 'clicked' .*sources\.impressions\.columns"):
        extract(tmp_path, tmp_path / "s.parquet")
    with pytest.raises(ConfigError, match=r"sources\.impressions: 'origin' stands in both"):
        extract(tmp_path, tmp_path / "s.parquet", columns={"origin": "kind"})
