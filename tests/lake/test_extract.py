"""From sources to windows: what a window takes, what it refuses, and sources that fail."""

import gzip
import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys_text.errors import ConfigError, ContractError, UnavailableError
from recsys_text.lake import spill
from recsys_text.lake.extract import extract_windows
from recsys_text.lake.result import WriteResult
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import DAY, HOUR, parse_window, windows_between
from recsys_text.sections import Source, Sources
from recsys_text.sources import reading
from recsys_text.sources.files import Batch, read_files
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
    monkeypatch.setattr(spill, "_FLUSH_BYTES", 500)
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
        extract_events(tmp_path, events, max_rejected=0)


def test_rows_without_a_readable_time_are_of_the_source_and_kept_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = make_events(90).with_columns(pl.col("occurred_at").dt.to_string("iso:strict"))
    broken = rows.with_columns(
        occurred_at=pl.when(pl.int_range(90) == 5).then(pl.lit("yesterday")).when(pl.int_range(90) == 6).then(None)
        .otherwise("occurred_at")
    )  # fmt: skip
    with caplog.at_level(logging.WARNING, "recsys_text"):
        lake = extract_events(tmp_path, broken, max_rejected=0.03)
    (said,) = [record.getMessage() for record in caplog.records]
    assert "events: 2 of 90 rows of the source have no readable occurred_at, such as " in said
    for one in WINDOWS:
        manifest = lake.manifest("events", one.key)
        assert manifest["rejected"] == {}
        assert manifest["timeless"] == {"occurred_at|dtype": 1, "occurred_at|nullability": 1}
    (kept,) = (lake.root / "events/shared/rejected").glob("*.parquet")
    assert set(pl.read_parquet(kept)["offender"]) == {"yesterday", None}
    assert lake.scan("events").collect().height == 88
    with pytest.raises(ContractError, match=r"2 of 90 rows of the source have no readable occurred_at, .* = 0.02"):
        extract_events(tmp_path, broken, max_rejected=0.02)


@pytest.mark.parametrize("text", ["never", "2024-03-02 08:30:00", None])
@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_one_row_without_a_time_refuses_nothing_and_two_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str, text: str | None
) -> None:
    times = pl.col("occurred_at").dt.to_string("iso:strict")
    path = tmp_path / f"events.{suffix}"

    def extract(bad: int, **settings: object) -> int:
        rows = make_events(5).with_columns(times)
        rows = rows.with_columns(occurred_at=pl.when(pl.int_range(5) < bad).then(pl.lit(text)).otherwise("occurred_at"))
        {"parquet": rows.write_parquet, "csv": rows.write_csv, "jsonl": rows.write_ndjson}[suffix](path)  # type: ignore[operator]
        written = extract_windows(Lake(tmp_path / "lake"), file_sources(tmp_path, path, **settings), WINDOWS)["events"]
        return sum(result.rows for result in written.values())

    with caplog.at_level(logging.WARNING, "recsys_text"):
        assert extract(1) == 4
    assert "events: 1 of 5 rows of the source have no readable occurred_at, such as " in caplog.text
    for bad, settings in ((2, {}), (1, {"max_rejected": 0})):
        with pytest.raises(ContractError, match=rf"{bad} of 5 rows .* more than max_rejected = "):
            extract(bad, **settings)


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_a_bad_time_elsewhere_does_not_fail_a_small_window(tmp_path: Path, suffix: str) -> None:
    """Of a Parquet file only the rows of the window are read, and yet all of the file count."""
    rows = pl.concat([make_events(300, start=DAY_1 - timedelta(days=30)), make_events(3)])
    broken = rows.with_columns(occurred_at=pl.when(pl.int_range(303) > 9).then("occurred_at"))
    path = tmp_path / f"events.{suffix}"
    text = broken.with_columns(pl.col("occurred_at").dt.to_string("iso:strict"))
    {"parquet": broken.write_parquet, "csv": text.write_csv}[suffix](path)  # type: ignore[operator]
    lake = Lake(tmp_path / "lake")
    results = extract_windows(lake, file_sources(tmp_path, path), [SECOND])
    assert results["events"][SECOND.key] == WriteResult(rows=1, rejected={}, duplicates=0)


@pytest.mark.parametrize(
    ("condition", "together"),
    [
        ("occurred_at >= :start and occurred_at < :end", True),
        ("date(occurred_at) >= date(:start) and date(occurred_at) < date(:end)", True),
        ("occurred_at < :end", True),
        ("date(occurred_at) = date(:start)", False),
        ("substr(occurred_at, 1, 10) = substr(:start, 1, 10)", False),
        ("occurred_at >= :start and occurred_at < :end order by occurred_at limit 30", False),
        ("occurred_at >= :start and occurred_at < :end order by occurred_at limit 40", False),
        ("occurred_at >= :start and occurred_at < :end order by occurred_at limit 70", False),
        ("occurred_at >= :start and occurred_at < :end group by item_id having max(occurred_at)", False),
    ],
)
def test_a_window_has_the_same_rows_alone_and_among_others(
    tmp_path: Path, condition: str, together: bool, caplog: pytest.LogCaptureFixture
) -> None:
    rows = make_events(90).with_columns(pl.col("occurred_at").dt.strftime("%Y-%m-%d %H:%M:%S"))
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("create table clicks (user_id text, item_id text, event_type text, occurred_at text)")
        connection.executemany("insert into clicks values (?, ?, ?, ?)", rows.rows())
        connection.commit()
    query = f"select * from clicks where {condition}"
    found = Source(kind="sql", uri=f"sqlite:///{tmp_path}/shop.db", query=query, time_zone="UTC")
    sources = file_sources(tmp_path, "unused").model_copy(update={"events": found})
    for one in WINDOWS:
        extract_windows(Lake(tmp_path / "alone"), sources, [one])
    caplog.clear()
    extract_windows(Lake(tmp_path / "together"), sources, WINDOWS)
    told = [record.getMessage() for record in caplog.records if "each is read on its own" in record.getMessage()]
    assert len(told) == (0 if together else 1)
    alone, whole = (Lake(tmp_path / name).scan("events").collect() for name in ("alone", "together"))
    assert whole.equals(alone)
    assert whole.height > 30


def test_a_bad_time_of_a_table_is_kept_and_does_not_fail_a_small_window(tmp_path: Path) -> None:
    rows = pl.concat([make_events(300, start=DAY_1 - timedelta(days=30)), make_events(3)])
    times = pl.col("occurred_at").dt.strftime("%Y-%m-%d %H:%M:%S")
    broken = rows.with_columns(occurred_at=pl.when(pl.int_range(303) > 9).then(times).otherwise(pl.lit("yesterday")))
    with closing(sqlite3.connect(tmp_path / "shop.db")) as connection:
        connection.execute("create table clicks (user_id text, item_id text, event_type text, occurred_at text)")
        connection.executemany("insert into clicks values (?, ?, ?, ?)", broken.rows())
        connection.commit()
    query = "select * from clicks where occurred_at >= :start and occurred_at < :end"
    found = Source(kind="sql", uri=f"sqlite:///{tmp_path}/shop.db", query=query, time_zone="UTC", max_rejected=0.05)
    sources = file_sources(tmp_path, "unused").model_copy(update={"events": found})
    lake = Lake(tmp_path / "lake")
    results = extract_windows(lake, sources, [SECOND])
    assert results["events"][SECOND.key] == WriteResult(rows=1, rejected={}, duplicates=0)
    assert lake.manifest("events", SECOND.key)["timeless"] == {"occurred_at|dtype": 10}


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


def test_a_catalogue_with_updated_at_is_a_snapshot(tmp_path: Path) -> None:
    """Whole in every window, however long ago its rows changed, or where nobody says."""
    times = [DAY_1 - timedelta(days=900), SECOND.start, None, DAY_1 + timedelta(days=99)]
    frame = pl.DataFrame({"item_id": ["a", "b", "c", "d"], "title": ["t"] * 4, "updated_at": times})
    assert extract_items(tmp_path, frame) == {one.key: ["a", "b", "c", "d"] for one in WINDOWS}
    items = Lake(tmp_path / "lake").items(["2024-03-01", "2024-03-02"])
    assert items["updated_at"].to_list() == [*times[:2], DAY_1, times[3]]
    assert items["known_at"].to_list() == [DAY_1] * 4


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_column_that_only_a_later_file_has_is_null_before(tmp_path: Path, suffix: str) -> None:
    first = pl.DataFrame({"item_id": ["1", "2"], "title": ["Blue chair", "Red table"]})
    second = pl.DataFrame({"item_id": ["3"], "title": ["Lamp"], "updated_at": ["2024-02-01T05:00:00Z"]})
    for number, frame in enumerate((first, second)):
        write = {"parquet": frame.write_parquet, "csv": frame.write_csv, "jsonl": frame.write_ndjson}[suffix]
        write(tmp_path / f"part{number}.{suffix}")  # type: ignore[operator]
    make_events(9).write_parquet(tmp_path / "events.parquet")
    sources = file_sources(tmp_path, tmp_path / "events.parquet")
    items = sources.items.model_copy(update={"path": str(tmp_path / f"part*.{suffix}")})
    extract_windows(Lake(tmp_path / "lake"), sources.model_copy(update={"items": items}), WINDOWS)
    assert Lake(tmp_path / "lake").items(["2024-03-02"])["item_id"].to_list() == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("changes", "kept"),
    [
        ([None, None, None], "Zebra"),
        ([DAY_1, None, None], "Zebra first"),
        ([DAY_1, SECOND.start, DAY_1], "Apple"),
        ([DAY_1, DAY_1, DAY_1], "Zebra"),
    ],
)
@pytest.mark.parametrize("feed", ["snapshot", "changes"])
def test_of_rows_that_differ_the_newest_or_else_the_last_is_kept(
    tmp_path: Path, changes: list[datetime | None], kept: str, feed: str
) -> None:
    frame = pl.DataFrame(
        {"item_id": ["a"] * 3 + ["b"] * 2, "title": ["Zebra first", "Apple", "Zebra", "same", "same"]}
    ).with_columns(updated_at=pl.Series([*changes, DAY_1, DAY_1], dtype=pl.Datetime("us", "UTC")))
    frame.write_parquet(tmp_path / "catalogue.parquet")
    make_events(9).write_parquet(tmp_path / "events.parquet")
    sources = file_sources(tmp_path, tmp_path / "events.parquet")
    about = {"path": str(tmp_path / "catalogue.parquet"), "feed": feed, "max_rejected": 1.0}
    sources = sources.model_copy(update={"items": sources.items.model_copy(update=about)})
    result = extract_windows(Lake(tmp_path / "lake"), sources, WINDOWS)["items"]["2024-03-02"]
    items = Lake(tmp_path / "lake").items(["2024-03-01", "2024-03-02"])
    if feed == "snapshot":
        assert (result.rows, result.duplicates, result.conflicts) == (2, 3, 1)
    if feed == "snapshot" or None not in changes:  # a change without its time is rejected
        assert items["title"].to_list() == [kept, "same"]


def test_one_snapshot_is_stored_once(tmp_path: Path) -> None:
    published = [DAY_1 + timedelta(hours=hours) if hours % 3 else None for hours in range(-99, 99)]
    frame = pl.DataFrame({"item_id": [f"i{n}" for n in range(198)], "title": ["t"] * 198, "published_at": published})
    extract_items(tmp_path, frame)
    shared = list((tmp_path / "lake/items").rglob("*.parquet"))
    assert [path.parent.name for path in shared] == ["shared"]
    lake = Lake(tmp_path / "lake")
    for one in WINDOWS:
        expected = frame.filter((pl.col("published_at") < one.end).fill_null(True))["item_id"].sort().to_list()
        assert lake.scan("items", [one.key]).collect()["item_id"].to_list() == expected
        assert lake.manifest("items", one.key)["rows"] == len(expected)
    # Another snapshot takes its place; nothing of the former stays.
    extract_items(tmp_path, frame.head(100))
    assert len(list((tmp_path / "lake/items").rglob("*.parquet"))) == 1
    assert lake.items(lake.keys("items")).height == 100


def test_a_snapshot_with_too_few_items_is_refused(tmp_path: Path) -> None:
    few, many = (pl.DataFrame({"item_id": [*ids], "title": [*ids]}) for ids in ("a", "ab"))
    with pytest.raises(ContractError, match="items: 1 rows, fewer than min_rows = 2; nothing is written"):
        extract_items(tmp_path, few, min_rows=2)
    former = extract_items(tmp_path, many, min_rows=2)
    with pytest.raises(ContractError, match="items: 1 rows, fewer than min_rows = 2; the former window is kept"):
        extract_items(tmp_path, few, min_rows=2)
    assert former == {one.key: ["a", "b"] for one in WINDOWS}


def test_what_is_published_later_does_not_change_a_window(tmp_path: Path) -> None:
    frame = pl.DataFrame({"item_id": ["a", "b"], "title": ["t"] * 2, "published_at": [DAY_1, WINDOWS[2].start]})
    extract_items(tmp_path, frame)
    lake = Lake(tmp_path / "lake")
    digests = [lake.digest("items", [one.key]) for one in WINDOWS]
    later = frame.with_columns(title=pl.when(pl.col("item_id") == "b").then(pl.lit("new")).otherwise("title"))
    later.write_parquet(tmp_path / "catalogue.parquet")
    sources = file_sources(tmp_path, tmp_path / "events.parquet")
    items = sources.items.model_copy(update={"path": str(tmp_path / "catalogue.parquet")})
    results = extract_windows(lake, sources.model_copy(update={"items": items}), WINDOWS)["items"]
    assert [result.changed for result in results.values()] == [False, False, True]
    assert [lake.digest("items", [one.key]) == digest for one, digest in zip(WINDOWS, digests, strict=True)] == [
        True,
        True,
        False,
    ]


def test_an_empty_read_does_not_replace_what_was_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lake = extract_events(tmp_path, make_events(90))
    former = files_of(lake.root)
    with pytest.raises(
        ContractError, match=r"events: .* has no rows for 2024-03-02, 2024-03-03, where .* has 60"
    ) as no:
        extract_events(tmp_path, make_events(90).head(30))
    assert "--allow-empty" in str(no.value)
    assert "\n" not in str(no.value)
    assert files_of(lake.root) == former
    with pytest.raises(ContractError, match=r"items: .*no rows for 2024-03-01, 2024-03-02, 2024-03-03, where"):
        extract_items(tmp_path, pl.DataFrame(schema={"item_id": pl.String, "title": pl.String}))
    sources = file_sources(tmp_path, tmp_path / "events.parquet")
    make_events(90).head(30).write_parquet(tmp_path / "events.parquet")
    with caplog.at_level(logging.WARNING, "recsys_text"):
        results = extract_windows(lake, sources, WINDOWS, allow_empty=True)["events"]
    assert [result.rows for result in results.values()] == [30, 0, 0]
    assert [each.getMessage() for each in caplog.records] == [
        "2 of 3 windows of events are empty: 2024-03-02, 2024-03-03"
    ]
    extract_windows(lake, sources, WINDOWS)  # what is empty may stay so


def test_where_no_row_lies_the_times_of_the_source_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "recsys_text"):
        events = make_events(9, start=DAY_1 + timedelta(days=365)).with_columns(pl.col("occurred_at").dt.to_string())
        events.write_csv(tmp_path / "events.csv")
        extract_windows(Lake(tmp_path / "lake"), file_sources(tmp_path, tmp_path / "events.csv"), WINDOWS)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(
        "events: no row lies in 2024-03-01, 2024-03-02, 2024-03-03; the source's times go from 2025-"
    )


def test_an_expiry_in_a_far_year_means_never(tmp_path: Path) -> None:
    far = pl.Series(["9999-12-31T23:59:59", "9999-12-31T23:59:59"]).str.to_datetime(time_zone="America/New_York")
    frame = pl.DataFrame({"item_id": ["a", "b"], "title": ["t", None], "expires_at": far})
    assert extract_items(tmp_path, frame, max_rejected=0.5)["2024-03-01"] == ["a"]
    assert Lake(tmp_path / "lake").items(["2024-03-01"])["expires_at"].to_list() == [None]
    with pytest.raises(ContractError, match="1 break title"):
        extract_items(tmp_path, frame, max_rejected=0)


@pytest.mark.parametrize("name", ["updated_at", "changed"])
def test_items_that_tell_their_changes_come_in_the_window_of_the_change(tmp_path: Path, name: str) -> None:
    changes = [DAY_1, SECOND.start, SECOND.end - timedelta(microseconds=1), DAY_1 - timedelta(days=1)]
    frame = pl.DataFrame({"item_id": ["a", "b", "a", "c"], "title": ["t"] * 4, name: changes})
    mapping = {} if name == "updated_at" else {"columns": {"updated_at": name}}
    expected = {"2024-03-01": ["a"], "2024-03-02": ["a", "b"], "2024-03-03": []}
    assert extract_items(tmp_path, frame, feed="changes", **mapping) == expected


def test_an_item_without_text_is_rejected(tmp_path: Path) -> None:
    frame = pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["t", " ", None]})
    assert extract_items(tmp_path, frame, max_rejected=0.7)["2024-03-01"] == ["a"]
    rejected = {"has_text": 1, "title|nullability": 1}
    assert Lake(tmp_path / "lake").manifest("items", "2024-03-01")["rejected"] == rejected
    with pytest.raises(ContractError, match=r"items: 2 of 3 rows"):
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
            "naive time",
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


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("catalogue.csv", "item_id,title\n1,St\u00fchle\n2,T\u00fcr\n"),
        ("catalogue.csv", 'item_id,title,tags\n1,"a",St\u00fchle\n2,b,T\u00fcr\n'),
        ("catalogue.jsonl", '{"item_id": 1, "title": "St\u00fchle"}\n{"item_id": 2, "title": "T\u00fcr"}\n'),
        ("catalogue.jsonl", '{"item_id": 0, "title": "a"}\n' + '{"item_id": 1, "title": "St\u00fchle"}\n' * 2),
    ],
)
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "mac-roman"])
def test_a_file_that_is_not_utf_8_is_told_so(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    (tmp_path / name).write_bytes(text.encode(encoding))
    make_events(9).write_parquet(tmp_path / "events.parquet")
    sources = file_sources(tmp_path, tmp_path / "events.parquet")
    items = Source(kind="file", path=str(tmp_path / name))
    with pytest.raises(ContractError, match=r"not UTF-8; save (it|the file) as UTF-8") as caught:
        extract_windows(Lake(tmp_path / "lake"), sources.model_copy(update={"items": items}), WINDOWS)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no file at .*/none\.parquet"):
        extract_windows(Lake(tmp_path / "lake"), file_sources(tmp_path, tmp_path / "none.parquet"), WINDOWS)


def test_many_windows_take_one_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_events(600, days=60).write_parquet(tmp_path / "events.parquet")
    reads: list[str] = []

    def counted(path: str, *arguments: Any, **settings: Any) -> Iterator[Batch]:
        reads.append(Path(path).name)
        return read_files(path, *arguments, **settings)

    monkeypatch.setattr(reading, "read_files", counted)
    windows = windows_between(DAY_1, DAY_1 + timedelta(days=60), DAY)
    results = extract_windows(Lake(tmp_path / "lake"), file_sources(tmp_path, tmp_path / "events.parquet"), windows)
    assert {result.rows for result in results["events"].values()} == {10}
    assert sorted(reads) == ["events.parquet", "items.parquet"]
    assert window("2024-04-29").key in results["events"]
