"""Writing windows: contracts, duplicates, determinism, faults of the disk; and reading them back."""

import errno
import logging
import os
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_text.errors import ConfigError, ContractError, UnavailableError
from recsys_text.lake import spill, store
from recsys_text.lake.store import Lake, WriteResult
from recsys_text.lake.windows import Window
from recsys_text.tables import EVENT_TYPES, Items, Quality
from tests.lake.samples import DAY_1, files_of, make_events, window

FIRST = window("2024-03-01")
PLAIN = {"source": "a test", "max_rejected": 0.0, "min_rows": 0}


def typed(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(
        pl.col("event_type").cast(pl.Enum(EVENT_TYPES)),
        value=pl.lit(None, dtype=pl.Float64),
        text=pl.lit(None, dtype=pl.String),
    )


def day_of_events(count: int = 50) -> pl.DataFrame:
    return typed(make_events(count, days=1))


def items(*rows: dict[str, object]) -> pl.DataFrame:
    plain = {"title": "a title", "tags": [], "updated_at": DAY_1}
    return pl.DataFrame([plain | row for row in rows], schema=pl.Schema(Items))


def write(
    lake: Lake, *frames: pl.DataFrame, table: str = "events", at: Window = FIRST, **settings: object
) -> WriteResult:
    return lake.write(table, at, frames, **{**PLAIN, **settings})  # type: ignore[arg-type]


def test_a_window_comes_back_sorted_with_its_key(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    events = day_of_events()
    result = write(lake, events.sample(fraction=1, shuffle=True, seed=1))
    assert result == WriteResult(rows=50, rejected={}, duplicates=0)
    assert lake.scan("events").collect().equals(events.with_columns(window=pl.lit("2024-03-01")))
    assert lake.keys("events") == ["2024-03-01"]


def test_any_parquet_reader_reads_the_parts(tmp_path: Path) -> None:
    write(Lake(tmp_path), day_of_events())
    found = pl.read_parquet(f"{tmp_path}/events/window=*/part-*.parquet", hive_partitioning=False)
    assert found.height == 50


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 60))
def test_the_same_rows_give_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, random: "object", size: int
) -> None:
    events = pl.concat([day_of_events(40), day_of_events(10).with_columns(text=pl.lit("again"), user_id=pl.lit(""))])
    events = pl.concat([events, events.head(5).with_columns(text=pl.lit("a repeat"))])
    order = list(range(events.height))
    random.shuffle(order)  # type: ignore[attr-defined]
    lakes = [Lake(tmp_path_factory.mktemp("lake")) for _ in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "MAX_ROWS", 20)
        write(lakes[0], events, max_rejected=1.0)
        write(lakes[1], *events[order].iter_slices(size), max_rejected=1.0)
        former = files_of(lakes[1].root)
        write(lakes[1], events, max_rejected=1.0)
    assert files_of(lakes[0].root) == former == files_of(lakes[1].root)
    assert len(lakes[0].manifest("events", "2024-03-01")["parts"]) >= 2


def test_a_long_window_is_cut_by_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "MAX_ROWS", 10)
    lake = Lake(tmp_path)
    events = day_of_events()
    write(lake, events.sample(fraction=1, shuffle=True, seed=1))
    parts = lake.manifest("events", "2024-03-01")["parts"]
    assert len(parts) >= 5
    assert all(part["rows"] <= 10 for part in parts)
    assert lake.scan("events").drop("window").collect().equals(events)


def test_duplicates_are_dropped_and_counted(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    events = day_of_events()
    other = events.head(2).with_columns(event_type=pl.lit("share").cast(pl.Enum(EVENT_TYPES)))
    again = events.head(7).with_columns(text=pl.lit("a repeat"))
    assert write(lake, events, again, other) == WriteResult(rows=52, rejected={}, duplicates=7)


def test_rejected_rows_are_kept_with_their_rule(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    good = day_of_events(20)
    bad = day_of_events(3).with_columns(user_id=pl.Series(["", "x" * 300, None]))
    result = write(lake, good, bad, max_rejected=0.2)
    rules = {"user_id|max_length": 1, "user_id|min_length": 1, "user_id|nullability": 1}
    assert result == WriteResult(rows=20, rejected=rules, duplicates=0)
    kept = pl.read_parquet(f"{tmp_path}/events/window=2024-03-01/rejected/*.parquet")
    assert dict(kept.group_by("rule").len().iter_rows()) == rules
    assert kept["item_id"].to_list() == ["i2", "i0", "i1"]
    assert lake.manifest("events", "2024-03-01")["rejected"] == rules
    assert lake.scan("events").collect().height == 20
    write(lake, good)
    assert not (tmp_path / "events/window=2024-03-01/rejected").exists()


def test_too_many_rejected_rows_keep_the_former_window(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    write(lake, day_of_events())
    former = files_of(tmp_path)
    bad = day_of_events(50).with_columns(user_id=pl.when(pl.int_range(50) < 3).then(pl.lit("")).otherwise("user_id"))
    with pytest.raises(
        ContractError,
        match=r"events 2024-03-01: 3 of 50 rows .* max_rejected = 0\.05; 3 break user_id\|min_length, .*'i0'",
    ):
        write(lake, bad, max_rejected=0.05)
    assert files_of(tmp_path) == former
    assert write(lake, bad, max_rejected=0.06).rows == 47


def test_an_empty_window_warns_and_is_refused_where_rows_are_wanted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lake = Lake(tmp_path)
    write(lake, day_of_events())
    former = files_of(tmp_path)
    with pytest.raises(ContractError, match="0 rows, fewer than min_rows = 1"):
        write(lake, min_rows=1)
    assert files_of(tmp_path) == former
    assert caplog.records == []
    with caplog.at_level(logging.WARNING, "recsys_text"):
        assert write(lake).rows == 0
    assert [record.getMessage() for record in caplog.records] == ["events 2024-03-01: the window is empty"]
    assert lake.keys("events") == ["2024-03-01"]
    assert lake.scan("events").collect().schema == {**lake.scan("events", []).collect_schema()}
    assert lake.scan("events").collect().height == 0


def test_wrong_columns_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"events: .*missing columns.*'text'"):
        write(Lake(tmp_path), day_of_events().drop("text"))
    with pytest.raises(ContractError, match=r"events: .*invalid dtype"):
        write(Lake(tmp_path), day_of_events().with_columns(value=pl.lit("much")))


def test_a_replaced_window_leaves_nothing_behind(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    write(lake, day_of_events(30))
    write(lake, day_of_events(40))
    other = Lake(tmp_path / "other")
    write(other, day_of_events(40))
    folder = "events/window=2024-03-01"
    assert files_of(tmp_path / folder) == files_of(tmp_path / "other" / folder)


def test_scratch_of_killed_writers_is_cleared_and_that_of_living_ones_kept(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    (tmp_path / ".scratch/killed/slices-0").mkdir(parents=True)
    with lake.scratch() as living:
        (living / "part").touch()
        write(lake, day_of_events())
        assert (living / "part").exists()
    assert list((tmp_path / ".scratch").iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_fault_of_the_disk_keeps_the_former_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    lake = Lake(tmp_path)
    write(lake, day_of_events(30))
    former = lake.scan("events").collect()
    manifest = lake.manifest("events", "2024-03-01")

    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(UnavailableError, match=os.strerror(code)):
            write(lake, day_of_events(40))
    assert lake.manifest("events", "2024-03-01") == manifest
    assert lake.scan("events").collect().equals(former)
    assert list((tmp_path / ".scratch").iterdir()) == []
    assert write(lake, day_of_events(40)).rows == 40


def test_a_full_disk_while_spilling_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(spill, "MAX_ROWS", 10)
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UnavailableError, match="No space left on device"):
        write(Lake(tmp_path), day_of_events())


def test_a_lake_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match=r"the lake at .*file/lake cannot be written: Not a directory"):
        write(Lake(tmp_path / "file/lake"), day_of_events())


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes into read-only folders")
def test_a_read_only_lake_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UnavailableError, match="Permission denied"):
        write(Lake(tmp_path / "lake"), day_of_events())


def test_damage_is_found_before_it_is_read(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    write(lake, day_of_events())
    (part,) = (tmp_path / "events/window=2024-03-01").glob("part-*.parquet")
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(ContractError, match="missing or damaged; extract window 2024-03-01 of events again"):
        lake.scan("events")
    part.unlink()
    with pytest.raises(ContractError, match="missing or damaged"):
        lake.scan("events")
    (part.parent / "_manifest.json").write_text("{")
    with pytest.raises(ContractError, match="is damaged; extract window"):
        lake.manifest("events", "2024-03-01")


def test_a_window_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no window 2024-03-05 of items"):
        Lake(tmp_path).scan("items", ["2024-03-05"])
    assert Lake(tmp_path).keys("items") == []


def test_the_newest_version_of_an_item_in_a_window_is_kept(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    later = DAY_1 + timedelta(hours=1)
    result = write(
        lake,
        items(
            {"item_id": "b", "title": "old"}, {"item_id": "b", "title": "new", "updated_at": later}, {"item_id": "a"}
        ),
        items({"item_id": "b", "title": "..", "updated_at": later + timedelta(hours=1)}),
        table="items",
        max_rejected=0.5,
    )
    assert result == WriteResult(rows=2, rejected={"has_text": 1}, duplicates=1)
    assert lake.scan("items").collect()["title"].to_list() == ["a title", "new"]


def test_items_gives_the_newest_version_and_when_it_was_known(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    published = DAY_1 - timedelta(days=9)
    second, third = window("2024-03-02"), window("2024-03-03")
    write(lake, items({"item_id": "a", "title": "one"}, {"item_id": "p", "published_at": published}), table="items")
    newer = {"item_id": "a", "title": "two", "updated_at": second.start}
    write(lake, items(newer, {"item_id": "b", "updated_at": second.start}), table="items", at=second)
    write(lake, items({"item_id": "a", "title": "a stale copy"}), table="items", at=third)
    found = lake.items(lake.keys("items"))
    assert found.select("item_id", "title", "known_at").rows() == [
        ("a", "two", DAY_1),
        ("b", "a title", second.start),
        ("p", "a title", published),
    ]
    assert lake.items(["2024-03-02"])["known_at"].to_list() == [second.start] * 2
    assert lake.items([]).is_empty()
    assert lake.items([]).schema == found.schema


def test_of_two_copies_as_old_as_each_other_the_later_window_wins(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    write(lake, items({"item_id": "a", "title": "one"}), table="items")
    write(lake, items({"item_id": "a", "title": "two"}), table="items", at=window("2024-03-02"))
    assert lake.items(lake.keys("items"))["title"].to_list() == ["two"]


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    write(lake, day_of_events(30))
    write(lake, typed(make_events(5, days=1, start=DAY_1 + timedelta(days=1))), at=window("2024-03-02"))
    keys = lake.keys("events")
    digest = lake.digest("events", keys)
    assert digest == lake.digest("events", keys[::-1]) != lake.digest("events", keys[:1])
    write(lake, day_of_events(30))
    assert lake.digest("events", keys) == digest
    write(lake, day_of_events(31))
    assert lake.digest("events", keys) != digest


def test_quality_is_a_table_like_the_others(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    row = {
        "window": "2024-03-01",
        "version": "1",
        "metric": "auc",
        "slice": "all",
        "value": 0.5,
        "low": None,
        "high": 0.6,
    }
    frame = pl.DataFrame([row, row | {"slice": "new user"}], schema=pl.Schema(Quality))
    assert write(lake, frame, frame, table="quality").duplicates == 2
    assert lake.scan("quality").collect().equals(frame)


def test_the_manifest_tells_what_a_window_is(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    write(lake, day_of_events(), source="events.parquet")
    manifest = lake.manifest("events", "2024-03-01")
    (part,) = manifest.pop("parts")
    assert manifest == {
        "table": "events",
        "window": "2024-03-01",
        "rows": 50,
        "rejected": {},
        "rejected_parts": [],
        "duplicates": 0,
        "source": "events.parquet",
        "schema_version": 1,
        "code_version": store.version("recsys-text"),
    }
    assert part["rows"] == 50
    assert part["bytes"] == (tmp_path / "events/window=2024-03-01" / part["name"]).stat().st_size
    assert part["name"] == f"part-0-{part['sha256'][:12]}.parquet"
