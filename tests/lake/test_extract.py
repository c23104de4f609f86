"""From sources to windows: what a window takes, what it refuses, and sources that fail."""

import gzip
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from recsys_text.errors import ConfigError, ContractError, UnavailableError
from recsys_text.lake import extract, spill
from recsys_text.lake.extract import extract_windows
from recsys_text.lake.result import WriteResult
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import DAY, HOUR, parse_window, windows_between
from recsys_text.sections import Source, Sources
from recsys_text.sources.cast import Span
from recsys_text.sources.files import read_files
from recsys_text.sources.sql import describe_query
from tests.lake.samples import DAY_1, WINDOWS, file_sources, files_of, make_events, window

SECOND = WINDOWS[1]


def extract_events(folder: Path, frame: pl.DataFrame, **settings: object) -> Lake:
    frame.write_parquet(folder / "events.parquet")
    lake = Lake(folder / "lake")
    extract_windows(lake, file_sources(folder, folder / "events.parquet", **settings), WINDOWS)
    return lake


def extract_items(folder: Path, frame: pl.DataFrame, **settings: object) -> dict[str, list[str]]:
    """Window -> the items that it holds."""
    frame.write_parquet(folder / "catalogue.parquet")
    make_events(9).write_parquet(folder / "events.parquet")
    sources = Sources(
        items=Source.model_validate({"kind": "file", "path": str(folder / "catalogue.parquet"), **settings}),
        events=Source(kind="file", path=str(folder / "events.parquet")),
    )
    lake = Lake(folder / "lake")
    extract_windows(lake, sources, WINDOWS)
    return {key: lake.scan("items", [key]).collect()["item_id"].to_list() for key in lake.keys("items")}


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_each_window_takes_the_rows_of_its_time(tmp_path: Path, suffix: str) -> None:
    events = make_events(240, days=8, start=DAY_1 - timedelta(days=2))
    path = tmp_path / f"events.{suffix}"
    text = events.with_columns(pl.col("occurred_at").dt.to_string("iso:strict"))
    {"parquet": events.write_parquet, "csv": text.write_csv, "jsonl": text.write_ndjson}[suffix](path)  # type: ignore[operator]
    lake = Lake(tmp_path / "lake")
    results = extract_windows(lake, file_sources(tmp_path, path), WINDOWS)
    assert results["events"] == {key.key: WriteResult(rows=30, rejected={}, duplicates=0) for key in WINDOWS}
    found = lake.scan("events").collect()
    assert found["occurred_at"].to_list() == events["occurred_at"].to_list()[60:150]
    assert found["window"].to_list() == found["occurred_at"].dt.strftime("%Y-%m-%d").to_list()
    assert not list((tmp_path / "lake/.scratch").iterdir())


def test_a_database_fills_the_same_windows_as_a_file(tmp_path: Path) -> None:
    events = make_events(90).with_columns(pl.col("occurred_at").dt.strftime("%Y-%m-%d %H:%M:%S"))
    connection = sqlite3.connect(tmp_path / "shop.db")
    connection.execute("create table clicks (who text, sku text, kind text, ts text)")
    connection.executemany("insert into clicks values (?, ?, ?, ?)", events.rows())
    connection.commit()
    connection.close()
    sources = file_sources(tmp_path, "unused")
    query = "select who as user_id, sku, kind as event_type, ts from clicks where ts >= :start and ts < :end"
    columns = {"item_id": "sku", "occurred_at": "ts"}
    events_source = Source(
        kind="sql", uri=f"sqlite:///{tmp_path}/shop.db", query=query, columns=columns, time_zone="UTC"
    )
    lake = Lake(tmp_path / "sql")
    extract_windows(lake, sources.model_copy(update={"events": events_source}), WINDOWS)
    by_file = extract_events(tmp_path, make_events(90))
    assert lake.digest("events", lake.keys("events")) == by_file.digest("events", by_file.keys("events"))
    assert lake.manifest("events", SECOND.key)["source"] == describe_query(events_source)


def test_windows_come_out_the_same_together_and_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "MAX_ROWS", 25)
    monkeypatch.setattr(spill, "_FLUSH_ROWS", 10)
    events = make_events(200).with_columns(
        occurred_at=pl.when(pl.int_range(200) % 50 == 7).then(None).otherwise("occurred_at"),
        event_type=pl.when(pl.int_range(200) % 60 == 9).then(pl.lit("klick")).otherwise("event_type"),
    )
    lake = extract_events(tmp_path, events, max_rejected=0.2)
    together = files_of(lake.root)
    sources = file_sources(tmp_path, tmp_path / "events.parquet", max_rejected=0.2)
    for one in reversed(WINDOWS):
        extract_windows(Lake(tmp_path / "alone"), sources, [one])
    assert files_of(tmp_path / "alone") == together
    extract_windows(lake, sources, WINDOWS)
    assert files_of(lake.root) == together


def test_windows_with_a_gap_and_hours(tmp_path: Path) -> None:
    make_events(72).write_parquet(tmp_path / "events.parquet")
    lake = Lake(tmp_path / "lake")
    windows = [parse_window(key, HOUR) for key in ("2024-03-02T05", "2024-03-01T00")]
    results = extract_windows(lake, file_sources(tmp_path, tmp_path / "events.parquet"), windows)
    assert {key: result.rows for key, result in results["events"].items()} == {"2024-03-01T00": 1, "2024-03-02T05": 1}


def test_unknown_event_types_are_rejected_rows(tmp_path: Path) -> None:
    events = make_events(90).with_columns(
        event_type=pl.when(pl.int_range(90) == 40).then(pl.lit("klick")).otherwise("event_type")
    )
    lake = extract_events(tmp_path, events)
    assert lake.manifest("events", SECOND.key)["rejected"] == {"event_type|dtype": 1}
    kept = pl.read_parquet(lake.root / f"events/window={SECOND.key}/rejected/*.parquet")
    assert kept.select("rule", "offender", "event_type").row(0) == ("event_type|dtype", "klick", None)
    with pytest.raises(ContractError, match=r"event_type\|dtype, such as event_type = 'klick'"):
        extract_events(tmp_path, events, max_rejected=0.01)


def test_a_row_without_a_readable_time_is_kept_by_every_window(tmp_path: Path) -> None:
    rows = make_events(90).with_columns(pl.col("occurred_at").dt.to_string("iso:strict"))
    broken = rows.with_columns(
        occurred_at=pl.when(pl.int_range(90) == 5).then(pl.lit("yesterday")).when(pl.int_range(90) == 6).then(None)
        .otherwise("occurred_at")
    )  # fmt: skip
    lake = extract_events(tmp_path, broken, max_rejected=0.1)
    for one in WINDOWS:
        rejected = {"occurred_at|dtype": 1, "occurred_at|nullability": 1}
        assert lake.manifest("events", one.key)["rejected"] == rejected
    assert lake.scan("events").collect().height == 88
    with pytest.raises(ContractError, match=r"2 rows of the source have no readable occurred_at, .*'yesterday'|null"):
        extract_events(tmp_path, broken, max_rejected=0.05)


def test_a_snapshot_of_items_fills_every_window_with_what_was_published(tmp_path: Path) -> None:
    frame = pl.DataFrame(
        {
            "item_id": ["old", "undated", "second", "future"],
            "title": ["t"] * 4,
            "published_at": [DAY_1 - timedelta(days=5), None, SECOND.start, DAY_1 + timedelta(days=30)],
        }
    )
    first, later = ["old", "undated"], ["old", "second", "undated"]
    assert extract_items(tmp_path, frame) == dict(zip([one.key for one in WINDOWS], [first, later, later], strict=True))
    second = Lake(tmp_path / "lake").scan("items", [SECOND.key]).collect()
    assert second["updated_at"].to_list() == [DAY_1 - timedelta(days=5), SECOND.start, SECOND.start]


@pytest.mark.parametrize("name", ["updated_at", "changed"])
def test_items_that_tell_their_changes_come_in_the_window_of_the_change(tmp_path: Path, name: str) -> None:
    changes = [DAY_1, SECOND.start, SECOND.end - timedelta(microseconds=1), DAY_1 - timedelta(days=1)]
    frame = pl.DataFrame({"item_id": ["a", "b", "a", "c"], "title": ["t"] * 4, name: changes})
    mapping = {} if name == "updated_at" else {"columns": {"updated_at": name}}
    expected = {"2024-03-01": ["a"], "2024-03-02": ["a", "b"], "2024-03-03": []}
    assert extract_items(tmp_path, frame, **mapping) == expected


def test_an_item_without_text_is_rejected(tmp_path: Path) -> None:
    frame = pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["t", " ", None]})
    assert extract_items(tmp_path, frame, max_rejected=0.7)["2024-03-01"] == ["a"]
    rejected = {"has_text": 1, "title|nullability": 1}
    assert Lake(tmp_path / "lake").manifest("items", "2024-03-01")["rejected"] == rejected
    with pytest.raises(ContractError, match=r"items 2024-03-01: 2 of 3 rows"):
        extract_items(tmp_path, frame)


def test_a_source_that_dies_midway_keeps_the_former_windows(tmp_path: Path) -> None:
    lake = extract_events(tmp_path, make_events(90))
    former = files_of(lake.root)
    whole = gzip.compress(make_events(5000).with_columns(pl.col("occurred_at").dt.to_string()).write_csv().encode())
    (tmp_path / "events.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UnavailableError, match=r"reading .*events\.csv\.gz broke off"):
        extract_windows(lake, file_sources(tmp_path, tmp_path / "events.csv.gz"), WINDOWS)
    assert files_of(lake.root) == former


@pytest.mark.parametrize(
    ("frame", "settings", "error", "words"),
    [
        (make_events(9).drop("item_id"), {}, ContractError, "no column 'item_id'"),
        (make_events(9), {"columns": {"item_id": "sku"}}, ContractError, "no column 'sku'"),
        (make_events(9).with_columns(user_id=pl.lit([1])), {}, ContractError, r"holds List\(Int"),
        (
            make_events(9).with_columns(pl.col("occurred_at").dt.replace_time_zone(None)),
            {},
            ContractError,
            "naive times",
        ),
        (make_events(9).with_columns(pl.col("occurred_at").dt.epoch("s")), {}, ContractError, "write time_unit"),
        (make_events(9, days=1), {"min_rows": 1}, ContractError, "events 2024-03-02: 0 rows, fewer than min_rows = 1"),
        (make_events(9), {"columns": {"sku": "a"}}, ConfigError, "no column 'sku' in events"),
    ],
)
def test_bad_input_is_one_clear_line(
    tmp_path: Path, frame: pl.DataFrame, settings: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        extract_events(tmp_path, frame, **settings)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file at .*/none\.parquet"):
        extract_windows(Lake(tmp_path / "lake"), file_sources(tmp_path, tmp_path / "none.parquet"), WINDOWS)


def test_many_windows_take_one_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_events(600, days=60).write_parquet(tmp_path / "events.parquet")
    reads: list[str] = []

    def counted(path: str, wanted: set[str], *, time: str | None, span: Span, may_lack: bool) -> Iterator[pl.DataFrame]:
        reads.append(Path(path).name)
        return read_files(path, wanted, time=time, span=span, may_lack=may_lack)

    monkeypatch.setattr(extract, "read_files", counted)
    windows = windows_between(DAY_1, DAY_1 + timedelta(days=60), DAY)
    results = extract_windows(Lake(tmp_path / "lake"), file_sources(tmp_path, tmp_path / "events.parquet"), windows)
    assert {result.rows for result in results["events"].values()} == {10}
    assert sorted(reads) == ["events.parquet", "items.parquet"]
    assert window("2024-04-29").key in results["events"]
