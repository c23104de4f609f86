"""What an item's absence from snapshots says, against a reading of its definition, one window at a time."""

import logging
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_text.lake.extract import extract_windows
from recsys_text.lake.store import About, Lake
from recsys_text.lake.windows import DAY, windows_between
from recsys_text.tables import Items
from tests.lake.samples import DAY_1, WINDOWS, file_sources, items, make_events, write

ABOUT = About(source="a test", max_rejected=0.0, min_rows=0, allow_empty=True)
Span = dict[str, datetime | None]
ITEMS = "abc"
#: A window is a snapshot of some items, a change of some, or is not there.
windows_of_items = st.lists(
    st.tuples(st.sampled_from(("snapshot", "snapshot", "changes")), st.sets(st.sampled_from(ITEMS))) | st.none(),
    min_size=1,
    max_size=9,
)


def spans(told: list[tuple[str, set[str], datetime]], item: str, grace: int) -> list[Span]:
    found: list[Span] = []
    seen, missed, gone = False, 0, False
    for kind, there, start in told:
        if item in there:
            if gone:
                found[-1]["end"] = start
            seen, missed, gone = True, 0, False
        elif kind == "snapshot" and seen:
            missed += 1
            if missed > grace and not gone:
                found.append({"start": start, "end": None})
                gone = True
    return found


@settings(deadline=None, max_examples=40)
@given(given_windows=windows_of_items, grace=st.integers(0, 2))
def test_an_item_is_absent_from_the_first_snapshot_that_lacks_it_until_it_comes_back(
    tmp_path_factory: pytest.TempPathFactory, given_windows: list[tuple[str, set[str]] | None], grace: int
) -> None:
    lake = Lake(tmp_path_factory.mktemp("lake"))
    days = windows_between(DAY_1, DAY_1 + len(given_windows) * DAY, DAY)
    told = []
    for window, about in zip(days, given_windows, strict=True):
        if about is None:
            continue
        kind, there = about
        rows = items(*({"item_id": item, "updated_at": window.start} for item in sorted(there)))
        if kind == "changes":
            write(lake, rows, table="items", at=window)
        else:
            lake.write_snapshot([window], [rows], ABOUT)
        if there:
            told.append((kind, there, window.start))
    for last in range(len(told) + 1):
        # Of what was known by then: no later window has a say.
        keys = [key for key in lake.keys("items") if last < len(told) and key <= f"{told[last][2]:%F}"]
        found = lake.items(keys, grace=grace)
        known = told[: last + 1] if keys else []
        assert found["item_id"].to_list() == sorted(set().union(*(there for _, there, _ in known)))
        for item, absent in found.select("item_id", "absent").iter_rows():
            assert (absent or []) == spans(known, item, grace)


def test_one_snapshot_for_many_windows_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, read, scan = Lake(tmp_path), [], pl.scan_parquet
    days = windows_between(DAY_1, DAY_1 + 100 * DAY, DAY)
    lake.write_snapshot(days, [items({"item_id": "a"}, {"item_id": "b"})], ABOUT)
    lake.write_snapshot(days[-1:], [items({"item_id": "a"})], ABOUT)

    def watched(path: Path, **options: bool) -> pl.LazyFrame:
        read.append(path)
        return scan(path, **options)

    monkeypatch.setattr(pl, "scan_parquet", watched)
    found = lake.items(lake.keys("items"))
    assert len(read) == 2
    assert found["absent"].to_list() == [None, [{"start": days[-1].start, "end": None}]]
    assert found.schema == {**pl.Schema(Items), **{n: found.schema[n] for n in ("known_at", "absent")}}
    assert lake.items([]).schema == found.schema


def extract(folder: Path, ids: list[str], day: int) -> dict[str, int]:
    """Window -> how many items have left with it."""
    make_events(9).write_parquet(folder / "events.parquet")
    sources = file_sources(folder, folder / "events.parquet")
    pl.DataFrame({"item_id": ids, "title": ["t"] * len(ids)}).write_parquet(folder / "items.parquet")
    results = extract_windows(Lake(folder / "lake"), sources, [WINDOWS[day]])["items"]
    return {key: result.left for key, result in results.items()}


def test_an_extraction_tells_what_has_left(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "recsys_text"):
        assert extract(tmp_path, ["a", "b", "c", "d", "e"], 0) == {"2024-03-01": 0}
        assert extract(tmp_path, ["a", "b", "c", "new"], 1) == {"2024-03-02": 2}
        assert caplog.records == []
        assert extract(tmp_path, ["a", "others"], 2) == {"2024-03-03": 3}
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith("items: 3 of 4 items that 2024-03-02 had are not in ")
    lake = Lake(tmp_path / "lake")
    gone = lake.items(lake.keys("items")).filter(pl.col("absent").is_not_null())
    assert gone["item_id"].to_list() == ["b", "c", "d", "e", "new"]


def test_changes_never_mark_absence(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    for window, item in zip(WINDOWS, "abc", strict=True):
        write(lake, items({"item_id": item, "updated_at": window.start + timedelta(hours=1)}), table="items", at=window)
    assert lake.items(lake.keys("items"))["absent"].null_count() == 3
