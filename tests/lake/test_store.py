"""Writing windows: contracts, duplicates, determinism, faults of the disk."""

import errno
import os
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_text.errors import ContractError, UnavailableError
from recsys_text.event_types import EVENT_TYPES
from recsys_text.lake import spill
from recsys_text.lake.result import WriteResult
from recsys_text.lake.store import Lake
from tests.lake.samples import day_of_events, files_of, write


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
    assert write(lake, events, again, other) == WriteResult(rows=52, rejected={}, duplicates=7, conflicts=7)


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


def test_an_empty_window_is_refused_where_rows_are_wanted(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with pytest.raises(ContractError, match="0 rows, fewer than min_rows = 1; nothing is written"):
        write(lake, min_rows=1)
    write(lake, day_of_events())
    former = files_of(tmp_path)
    with pytest.raises(ContractError, match="0 rows, fewer than min_rows = 1; the former window is kept"):
        write(lake, min_rows=1)
    assert files_of(tmp_path) == former
    assert write(lake).rows == 0
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


def test_scratch_that_its_owner_removes_meanwhile_is_let_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter([folder / "gone"]))
    with Lake(tmp_path).scratch() as own:
        assert own.is_dir()


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
    monkeypatch.setattr(spill, "_FLUSH_BYTES", 100)
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
