"""Lake: what is in it, and taking windows out of it. Knows no sources and no model."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from recsys_text.config import Settings
from recsys_text.errors import ConfigError
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import Window, end_of
from recsys_text.steps.inputs import the_lake, windows_of
from recsys_text.tables import TABLES

#: What extraction brings, and so can bring again; quality is measured once.
EXTRACTED = ("items", "events", "impressions")


@dataclass(frozen=True, kw_only=True)
class ListedWindow:
    """A window of a table: its rows, the rejected ones, and the items of the snapshot before that it lacks."""

    window: str
    rows: int
    rejected: int
    left: int = 0


@dataclass(frozen=True, kw_only=True)
class ListedTable:
    """A table of the lake: its windows, oldest first, and the bytes of its files, shared ones once."""

    table: str
    windows: list[ListedWindow]
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Expired:
    """The windows that were taken out, or would be, by table; the older windows of items that are kept, and why.

    before: windows that end later are kept. freed: bytes.
    """

    before: datetime
    dropped: dict[str, list[str]]
    needed: list[str]
    freed: int = 0


def listed(settings: Settings) -> list[ListedTable]:
    """Every table that has windows. Raises ContractError for a window that is damaged."""
    lake = the_lake(settings)
    return [
        ListedTable(table=table, windows=_windows(lake, table), bytes=lake.size(table))
        for table in TABLES
        if lake.keys(table)
    ]


def _windows(lake: Lake, table: str) -> list[ListedWindow]:
    found: list[ListedWindow] = []
    before: tuple[list[str], set[str]] | None = None
    for key in lake.keys(table):
        manifest, left = lake.manifest(table, key), 0
        parts = [part["sha256"] for part in manifest["parts"]]
        if table == "items" and (before is None or parts != before[0]) and (ids := lake.snapshot_ids(key)) is not None:
            there = set(ids)
            left = 0 if before is None else len(before[1] - there)
            before = parts, there
        rejected = sum(manifest["rejected"].values())
        found.append(ListedWindow(window=key, rows=manifest["rows"], rejected=rejected, left=left))
    return found


def drop(settings: Settings, windows: Sequence[Window], table: str | None = None) -> dict[str, list[str]]:
    """Takes windows out of a table, or of all that are extracted; the keys that were there, by table.

    Raises ConfigError for a table that there is not, UnavailableError for a lake that cannot be written.
    """
    if table is not None and table not in TABLES:
        raise ConfigError(f"the lake has no table '{table}'; its tables are {', '.join(TABLES)}")
    lake, keys = the_lake(settings), [window.key for window in windows]
    return {name: lake.drop(name, keys) for name in (EXTRACTED if table is None else (table,))}


def expire(settings: Settings, older_than: timedelta, *, dry_run: bool = False) -> Expired:
    """Takes out windows that end longer than `older_than` before the end of the newest window of events.

    Old windows of items stay where the others need them: the last one before the windows that stay, as it says what was
    known at their start, those of changes that alone have an item, and those with items of the events that stay.
    Raises ContractError where the lake has no window.
    """
    lake, newest = the_lake(settings), windows_of(settings)[-1]
    before, length = newest.end - older_than, settings.windows.span
    old = {table: [key for key in lake.keys(table) if end_of(key, length) <= before] for table in EXTRACTED}
    needed = _needed_items(lake, old["items"], lake.keys("events")[len(old["events"]) :])
    dropped = old | {"items": [key for key in old["items"] if key not in needed]}
    size = sum(lake.size(table) for table in EXTRACTED)
    if not dry_run:
        dropped = {table: lake.drop(table, keys) for table, keys in dropped.items()}
    freed = 0 if dry_run else size - sum(lake.size(table) for table in EXTRACTED)
    return Expired(before=before, dropped=dropped, needed=sorted(needed), freed=freed)


def _needed_items(lake: Lake, old: Sequence[str], events: Sequence[str]) -> Collection[str]:
    """The old windows of items that those which stay cannot do without."""
    ids = lake.item_ids([key for key in lake.keys("items") if key not in set(old)])
    named = set(lake.read("events", events, columns=["item_id"])["item_id"].unique())
    needed: set[str] = set()
    for key in reversed(old):
        there = lake.item_ids([key])
        changes = lake.snapshot_ids(key) is None
        if there and (key == old[-1] or (there - ids if changes else (there & named) - ids)):
            needed.add(key)
            ids |= there
    return needed
