"""A filter that the database applies loses no row, however times are stored and compared: a grid over SQLite."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from recsys_text.errors import ConfigError
from recsys_text.sections import Source
from recsys_text.sources.reading import read_rows
from recsys_text.sources.sql import TimeColumn, read_query
from recsys_text.sources.times import Span

DAY = datetime(2024, 3, 1, tzinfo=UTC)
#: Every seventh minute of five days around the window, and both sides of its edges.
INSTANTS = [DAY + timedelta(days=-2, minutes=minute) for minute in range(0, 5 * 1440, 7)]
INSTANTS += [DAY, DAY - timedelta(seconds=1), DAY + timedelta(days=1), DAY + timedelta(days=1, seconds=-1)]

STORED = {
    "blank": lambda time: f"{time:%Y-%m-%d %H:%M:%S}",
    "T": lambda time: f"{time:%Y-%m-%dT%H:%M:%S}",
    "Z": lambda time: f"{time:%Y-%m-%dT%H:%M:%SZ}",
    "fraction": lambda time: f"{time:%Y-%m-%d %H:%M:%S}.250",
    "plus": lambda time: time.astimezone(ZoneInfo("Asia/Kolkata")).isoformat(),
    "minus": lambda time: time.astimezone(ZoneInfo("America/Los_Angeles")).isoformat(" "),
    "mixed offsets": lambda time: time.astimezone(
        ZoneInfo("Pacific/Kiritimati" if time.minute % 2 else "Etc/GMT+12")
    ).isoformat(),
    "integers and texts": lambda time: int(time.timestamp()) if time.minute % 2 else time.isoformat(),
    "s": lambda time: int(time.timestamp()),
    "ms": lambda time: int(time.timestamp()) * 1000,
    "us": lambda time: int(time.timestamp()) * 1_000_000,
    "real": lambda time: time.timestamp() + 0.25,
}
COMPARED = [
    "ts >= :start and ts < :end",
    "ts between :start and :end",
    "date(ts) >= :start and date(ts) <= :end",
    "date(ts) >= date(:start) and date(ts) <= date(:end)",
    "datetime(ts) >= :start and datetime(ts) < :end",
    "datetime(ts) >= datetime(:start) and datetime(ts) < datetime(:end)",
    "ts >= datetime(:start) and ts < datetime(:end)",
    "strftime('%s', ts) >= :start and strftime('%s', ts) < :end",
    "strftime('%s', ts) >= strftime('%s', :start) and strftime('%s', ts) < strftime('%s', :end)",
    "ts >= unixepoch(:start) and ts < unixepoch(:end)",
    "ts >= unixepoch(:start) * 1000 and ts < unixepoch(:end) * 1000",
    "ts >= cast(strftime('%s', :start) as integer) and ts < cast(strftime('%s', :end) as integer)",
    "ts >= cast(:start as integer) and ts < cast(:end as integer)",
    "julianday(ts) >= julianday(:start) and julianday(ts) < julianday(:end)",
    "datetime(ts, 'unixepoch') >= :start and datetime(ts, 'unixepoch') < :end",
    "datetime(ts / 1000, 'unixepoch') >= datetime(:start) and datetime(ts / 1000, 'unixepoch') < datetime(:end)",
    "ts >= :start",
    "ts < :end",
]
UNITS = {"s": "s", "ms": "ms", "us": "us", "real": "s", "integers and texts": "s"}


def reader(stored: str, zone: ZoneInfo) -> TimeColumn:
    """Reads numbers in the unit of how they are stored, and texts as ISO 8601 writes them."""
    unit = {"s": 1, "ms": 1000, "us": 1_000_000}[UNITS.get(stored, "s")]

    def instant(text: str | None) -> datetime | None:
        if text is None:
            return None
        if text.replace(".", "").isdigit():
            return datetime.fromtimestamp(float(text) / unit, UTC)
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=zone)).astimezone(UTC)

    return TimeColumn(
        name="at", read=lambda raw, _: pl.Series([instant(text) for text in raw["at"]], dtype=pl.Datetime("us", "UTC"))
    )


def events(path: Path, condition: str, stored: str, span: Span, columns: str = "id, ts as at") -> list[str]:
    source = Source.model_validate(
        {
            "kind": "sql",
            "uri": f"sqlite:///{path}",
            "query": f"select {columns} from c where {condition}",
            "time_unit": UNITS.get(stored),
        }
    )
    time = reader(stored, span.zone or ZoneInfo("UTC"))
    found = []
    for raw, _ in read_query(source, {"id", "at"}, span, time):
        inside = time.read(raw, raw.columns).is_between(span.start, span.end, closed="left")
        found += raw.filter(inside)["id"].to_list()
    return sorted(found)


def database(folder: Path, values: list[object], kind: str = "") -> Path:
    path = folder / "times.db"
    connection = sqlite3.connect(path)
    connection.execute(f"create table c (id text, ts {kind})")
    connection.executemany("insert into c values (?, ?)", [(f"{n:04}", value) for n, value in enumerate(values)])
    connection.commit()
    connection.close()
    return path


@pytest.mark.parametrize("hours", [(0, 24), (5, 6), (23, 24)], ids=str)
@pytest.mark.parametrize("stored", STORED)
def test_every_row_of_the_span_comes_or_the_query_is_refused(
    tmp_path: Path, stored: str, hours: tuple[int, int]
) -> None:
    path = database(tmp_path, [STORED[stored](time) for time in INSTANTS])
    span = Span(start=DAY + timedelta(hours=hours[0]), end=DAY + timedelta(hours=hours[1]), zone=ZoneInfo("UTC"))
    wanted = sorted(f"{n:04}" for n, time in enumerate(INSTANTS) if span.start <= time < span.end)
    came = 0
    refusals: list[str] = []
    # A function of the query's own that takes only texts drops the numbers beside them, whatever is bound.
    plain = [condition for condition in COMPARED if "(" not in condition]
    compared = plain if stored == "integers and texts" else COMPARED
    for condition in compared:
        try:
            assert events(path, condition, stored, span) == wanted, condition
            came += 1
        except ConfigError as error:
            refusals.append(str(error))
    assert came >= 4
    assert all("unixepoch" in line and "\n" not in line for line in refusals)


@pytest.mark.parametrize("kind", ["text", "integer", "datetime", "blob"])
@pytest.mark.parametrize("stored", ["plus", "s", "blank"])
def test_the_affinity_of_the_column_changes_nothing(tmp_path: Path, stored: str, kind: str) -> None:
    path = database(tmp_path, [STORED[stored](time) for time in INSTANTS], kind)
    span = Span(start=DAY, end=DAY + timedelta(days=1), zone=ZoneInfo("UTC"))
    wanted = sorted(f"{n:04}" for n, time in enumerate(INSTANTS) if span.start <= time < span.end)
    for condition in COMPARED[:2]:
        assert events(path, condition, stored, span) == wanted


def test_local_times_of_a_far_zone(tmp_path: Path) -> None:
    zone = ZoneInfo("Pacific/Auckland")
    path = database(tmp_path, [f"{time.astimezone(zone):%Y-%m-%d %H:%M:%S}" for time in INSTANTS])
    span = Span(start=DAY, end=DAY + timedelta(days=1), zone=zone)
    wanted = sorted(f"{n:04}" for n, time in enumerate(INSTANTS) if span.start <= time < span.end)
    assert events(path, "ts >= :start and ts < :end", "blank", span) == wanted


def test_a_group_of_the_span_alone_keeps_its_own_bounds(tmp_path: Path) -> None:
    """Wider bounds would move the last time of a group out of the span, and the group with it."""
    span = Span(start=DAY, end=DAY + timedelta(days=1), zone=ZoneInfo("UTC"))
    for stored in ("blank", "s"):
        folder = tmp_path / stored
        folder.mkdir()
        path = database(folder, [STORED[stored](time) for time in INSTANTS])
        assert events(path, COMPARED[0], stored, span, "'last' as id, max(ts) as at") == ["last"]


def test_a_span_without_rows_is_empty(tmp_path: Path) -> None:
    path = database(tmp_path, [STORED["blank"](time) for time in INSTANTS])
    span = Span(start=DAY + timedelta(days=300), end=DAY + timedelta(days=301), zone=ZoneInfo("UTC"))
    assert events(path, "ts >= :start and ts < :end", "blank", span) == []
    empty = tmp_path / "empty"
    empty.mkdir()
    assert events(database(empty, []), "ts >= unixepoch(:start)", "blank", span) == []


@pytest.mark.parametrize("stored", STORED)
def test_a_snapshot_is_all_that_its_query_means(tmp_path: Path, stored: str) -> None:
    """A condition on a column that the rows need not give compares with values of that column's kind."""
    instants = [time for time in INSTANTS if time != DAY]
    path = database(tmp_path, [STORED[stored](time) for time in instants])
    span = Span(start=DAY - timedelta(days=1), end=DAY, zone=ZoneInfo("UTC"))
    unit = UNITS.get(stored)
    for condition, is_later in [("ts < :end", False), ("ts > :end", True), (":end > ts and ts < :end", False)]:
        wanted = sorted(f"{n:04}" for n, time in enumerate(instants) if (time > DAY) == is_later)
        for time_unit in {unit, None}:
            source = Source.model_validate(
                {
                    "kind": "sql",
                    "uri": f"sqlite:///{path}",
                    "query": f"select id from c where {condition}",
                    "time_unit": time_unit,
                }
            )
            found = sorted(id_ for raw, _ in read_query(source, {"id"}, span) for id_ in raw["id"])
            if stored in ("plus", "minus", "mixed offsets"):
                assert 0 < len(found) < len(INSTANTS)  # texts with offsets sort by their local times
            elif stored == "integers and texts":
                assert set(wanted) <= set(found)
            else:
                assert found == wanted, (condition, time_unit)


@pytest.mark.parametrize("year", [2001, 2023, 2024])
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("feed", ["snapshot", "changes"])
def test_items_of_a_snapshot_come_however_long_ago_they_changed(
    tmp_path: Path, stored: str, year: int, feed: str
) -> None:
    times = [datetime(year, 1 + n, 1, 12, 30 + n, tzinfo=UTC) for n in range(2)] + [DAY + timedelta(hours=1)]
    path = database(tmp_path, [STORED[stored](time) for time in times])
    source = Source.model_validate(
        {
            "kind": "sql",
            "uri": f"sqlite:///{path}",
            "query": "select id as item_id, id as title, ts as updated_at from c where ts < :end",
            "time_unit": UNITS.get(stored, "s"),
            "time_zone": "UTC",
            "feed": feed,
        }
    )
    span = Span(start=DAY, end=DAY + timedelta(days=1), zone=ZoneInfo("UTC"))
    found = {item for frame in read_rows("items", source, span) for item in frame["item_id"]}
    assert found == {"0000", "0001", "0002"} if feed == "snapshot" else found >= {"0002"}


UNREADABLE = {
    "day first": lambda time: f"{time:%d/%m/%Y %H:%M}",
    "month first": lambda time: f"{time:%m/%d/%y}",
    "mail": lambda time: f"{time:%a, %d %b %Y %H:%M:%S} GMT",
    "words": lambda time: f"day {time.day}",
    "blob": lambda time: f"{time:%d/%m/%Y}".encode("utf-16"),
}


@pytest.mark.parametrize("condition", ["ts >= :start and ts < :end", "ts between :start and :end", "ts < :end"])
@pytest.mark.parametrize("stored", UNREADABLE)
def test_times_that_nobody_can_read_are_rows_to_reject(tmp_path: Path, stored: str, condition: str) -> None:
    path = database(tmp_path, [UNREADABLE[stored](DAY + timedelta(hours=n)) for n in range(-9, 9)])
    query = f"select id as user_id, id as item_id, 'click' as event_type, ts as occurred_at from c where {condition}"
    source = Source.model_validate(
        {"kind": "sql", "uri": f"sqlite:///{path}", "query": query, "time_zone": "UTC", "time_unit": "s"}
    )
    span = Span(start=DAY, end=DAY + timedelta(days=1), zone=ZoneInfo("UTC"))
    read = pl.concat(list(read_rows("events", source, span)))
    assert read["rule"].to_list() == ["occurred_at|dtype"] * 18


@pytest.mark.parametrize("condition", ["ts >= :start and ts < :end", "ts between :start and :end", "ts < :end"])
@pytest.mark.parametrize("unreadable", UNREADABLE)
@pytest.mark.parametrize("stored", ["blank", "T", "s"])
def test_times_that_nobody_can_read_come_beside_those_of_the_span(
    tmp_path: Path, stored: str, unreadable: str, condition: str
) -> None:
    instants = [DAY + timedelta(hours=hour) for hour in (-30, 1, 2, 3, 30)]
    path = database(
        tmp_path,
        [*map(STORED[stored], instants), *(UNREADABLE[unreadable](DAY + timedelta(hours=n)) for n in range(2))],
    )
    query = f"select id as user_id, id as item_id, 'click' as event_type, ts as occurred_at from c where {condition}"
    source = Source.model_validate(
        {"kind": "sql", "uri": f"sqlite:///{path}", "query": query, "time_zone": "UTC", "time_unit": "s"}
    )
    span = Span(start=DAY, end=DAY + timedelta(days=1), zone=ZoneInfo("UTC"))
    read = pl.concat(list(read_rows("events", source, span)))
    inside = read.filter(pl.col("occurred_at").is_between(span.start, span.end, closed="left"))
    assert inside["user_id"].sort().to_list() == ["0001", "0002", "0003"]
    rejected = read.filter(pl.col("rule") == "occurred_at|dtype")
    assert rejected["user_id"].sort().to_list() == ["0005", "0006"]


def test_a_group_counts_the_rows_of_its_span_beside_times_that_nobody_can_read(tmp_path: Path) -> None:
    """Wider bounds would count all rows of the group, those of other days too."""
    values = [STORED["blank"](DAY + timedelta(hours=hour)) for hour in (-30, 1, 2, 30)]
    path = database(tmp_path, [*values, "yesterday"])
    columns = "count(*) || '' as id, max(case when ts < '3' then ts end) as at"
    span = Span(start=DAY, end=DAY + timedelta(days=1), zone=ZoneInfo("UTC"))
    assert events(path, COMPARED[0], "blank", span, columns) == ["2"]
