"""Reading windows back: items, digests, manifests, damage."""

import threading
from collections.abc import Sequence
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import polars as pl
import pytest

from recsys_text.errors import ConfigError, ContractError
from recsys_text.lake.result import WriteResult
from recsys_text.lake.store import Lake
from recsys_text.tables import Quality
from tests.lake.samples import DAY_1, day_of_events, items, make_events, typed, window, write


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


def test_a_part_that_is_as_long_but_not_as_it_was_is_named(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for number, key in enumerate(("2024-03-01", "2024-03-02")):
        write(lake, typed(make_events(50, days=1, start=DAY_1 + timedelta(days=number))), at=window(key))
        write(lake, items({"item_id": f"a{number}"}), table="items", at=window(key))
    for table in ("events", "items"):
        (part,) = (tmp_path / table / "window=2024-03-02").glob("part-*.parquet")
        part.write_bytes(bytes(part.stat().st_size))
    with pytest.raises(ContractError, match="is damaged; extract window 2024-03-02 of events again"):
        lake.read("events")
    with pytest.raises(ContractError, match="is damaged; extract window 2024-03-02 of items again"):
        lake.items(lake.keys("items"))
    assert lake.read("events", ["2024-03-01"]).height == 50


def test_no_window_is_replaced_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake = Lake(tmp_path)
    write(lake, day_of_events(30))
    writer = threading.Thread(target=write, args=(Lake(tmp_path), day_of_events(40)))
    scan = Lake.scan

    def slow(self: Lake, table: str, keys: Sequence[str] | None = None) -> pl.LazyFrame:
        rows = scan(self, table, keys)
        writer.start()
        writer.join(0.5)  # without the lock the parts of `rows` are gone by then
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "scan", slow)
        assert lake.read("events").height == 30
    writer.join()
    assert lake.read("events").height == 40


def test_a_lake_that_was_copied_without_its_lock_is_read(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    write(lake, day_of_events(30))
    (tmp_path / ".lock").unlink()
    assert lake.read("events").height == 30
    assert not (tmp_path / ".lock").exists()


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
    assert result == WriteResult(rows=2, rejected={"has_text": 1}, duplicates=1, conflicts=1)
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


def test_snapshots_that_say_nothing_new_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The text goes back to what it was on the fourth day, which counts, and then stays."""
    lake, read = Lake(tmp_path), []
    for day, title in enumerate(("one", "one", "two", "one", "one"), 1):
        write(lake, items({"item_id": "a", "title": title}), table="items", at=window(f"2024-03-0{day}"))
    keys, scan = lake.keys("items"), Lake.scan

    def watched(self: Lake, table: str, keys: Sequence[str] | None = None) -> pl.LazyFrame:
        read.append(keys)
        return scan(self, table, keys)

    monkeypatch.setattr(Lake, "scan", watched)
    found = lake.items(keys)
    assert found.select("title", "known_at").rows() == [("one", DAY_1)]
    assert read == [["2024-03-01"], ["2024-03-03"], ["2024-03-04"]]


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
        "conflicts": 0,
        "source": "events.parquet",
        "schema_version": 2,
        "code_version": version("recsys-text"),
    }
    assert part["rows"] == 50
    assert part["bytes"] == (tmp_path / "events/window=2024-03-01" / part["name"]).stat().st_size
    assert part["name"] == f"part-0-{part['sha256'][:12]}.parquet"


def test_only_the_columns_that_are_asked_for_are_read(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    write(lake, day_of_events())
    whole = lake.read("events")
    for columns in (["item_id"], ["window", "occurred_at", "user_id"]):
        assert lake.read("events", columns=columns).equals(whole.select(columns))
    some = lake.read("events", where=pl.col("event_type") == "click", columns=["user_id"])
    assert some.equals(whole.filter(pl.col("event_type") == "click").select("user_id"))
