"""Brings the rows of some windows from the sources into the lake. Knows no formats, queries or paths."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from recsys_text.errors import ContractError
from recsys_text.lake.clicks import found_clicks, with_clicked
from recsys_text.lake.result import WriteResult
from recsys_text.lake.spill import Spill, split_by_time
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import Window, open_key, parse_window
from recsys_text.sections import Source, Sources
from recsys_text.sources.cast import Span, source_names, to_contract, zone_of
from recsys_text.sources.files import describe_path, read_files
from recsys_text.sources.sql import describe_query, read_query
from recsys_text.tables import RULE, EventType

_TIME = {"items": "updated_at", "events": "occurred_at", "impressions": "shown_at"}
#: What a source of impressions holds was shown to somebody; samples are made, never extracted.
_CONSTANTS = {"impressions": {"origin": "logged"}}
_TIMELESS = "timeless"
_SNAPSHOT = "snapshot"


def extract_windows(
    lake: Lake, sources: Sources, windows: Sequence[Window], *, until: datetime | None = None
) -> dict[str, dict[str, WriteResult]]:
    """Writes each window of every table with a source, which is read once. Table -> window key -> what became of it.

    A window takes the rows whose time lies in it; the others are left out. Items without a column
    `updated_at` are a snapshot: a window takes those published before its end or at no known time, as
    updated when they were published, else at the window's start. A row whose time cannot be read may
    belong to any window, so each keeps it among its rejected rows.
    Where impressions have `clicks_within`, they are labelled by the events of the lake, which come first.
    `until` is given for one window that has not ended: it takes what is strictly before, and may have fewer rows than
    `min_rows`. Raises ConfigError, ContractError or UnavailableError; a window that fails stays as it was.
    """
    ordered = sorted(set(windows))
    positive = sources.events.positive
    return {
        table: _extract(lake, table, _with_constants(table, source), ordered, until, positive)
        for table, source in sources
        if source is not None
    }


def _with_constants(table: str, source: Source) -> Source:
    return source.model_copy(update={"values": source.values | _CONSTANTS.get(table, {})})


def _extract(
    lake: Lake,
    table: str,
    source: Source,
    windows: list[Window],
    until: datetime | None,
    positive: Sequence[EventType],
) -> dict[str, WriteResult]:
    description = describe_path(source.path or "") if source.kind == "file" else describe_query(source)
    results: dict[str, WriteResult] = {}
    with lake.scratch() as scratch:
        spill = Spill(scratch / "windows")
        for frame in _read(table, source, windows, until or windows[-1].end):
            _place(spill, table, frame, windows, until or windows[-1].end)
        spill.flush()
        # The newest first where clicks are found: one behind a window's end may be of what was shown there.
        for window in windows if source.clicks_within is None else reversed(windows):
            _check_timeless(spill, table, source, window)
            results[window.key] = lake.write(
                table,
                window,
                _clicked_frames(lake, spill, window, source.clicks_within, until, positive),
                source=description,
                max_rejected=source.max_rejected,
                min_rows=source.min_rows if until is None else 0,
                until=until,
            )
            spill.discard(window.key)
    return {window.key: results[window.key] for window in windows}


def _read(table: str, source: Source, windows: list[Window], end: datetime) -> Iterator[pl.DataFrame]:
    """Batches in the contract's types; those of a snapshot of items have no `updated_at`."""
    names = source_names(table, source)
    time = names.get(_TIME[table])
    span = Span(start=windows[0].start, end=end, zone=zone_of(table, source))
    wanted = set(names.values())
    if source.kind == "file":
        assert source.path is not None
        # A log that the service writes has no file before its first ranking.
        may_lack = source.clicks_within is not None
        batches = read_files(source.path, wanted, time=time, span=span, may_lack=may_lack)
    else:
        batches = read_query(source, wanted, span)
    dated = table != "items" or "updated_at" in source.columns or "updated_at" in source.values
    for raw in batches:
        dated = dated or time in raw.columns
        frame = to_contract(raw, table, source)
        yield frame if dated else frame.drop("updated_at")


def _place(spill: Spill, table: str, frame: pl.DataFrame, windows: list[Window], end: datetime) -> None:
    time = _TIME[table]
    if time not in frame.columns:
        spill.add(_SNAPSHOT, frame)
        return
    starts = [int(window.start.timestamp()) * 1_000_000 for window in windows]
    for number, part in split_by_time(frame, time, starts).items():
        if number >= 0:
            inside = part.filter(pl.col(time) < min(windows[number].end, end))
            if inside.height:
                spill.add(windows[number].key, inside)
    timeless = frame.filter(pl.col(time).is_null())
    if timeless.height:
        spill.add(_TIMELESS, timeless)


def _frames(spill: Spill, window: Window, end: datetime) -> Iterator[pl.DataFrame]:
    yield from spill.frames(window.key)
    yield from spill.frames(_TIMELESS)
    updated = pl.coalesce("published_at", pl.lit(window.start)).dt.cast_time_unit("us").alias("updated_at")
    for frame in spill.frames(_SNAPSHOT):
        present = frame.filter((pl.col("published_at") < end).fill_null(True))
        rest = [name for name in frame.columns if name != RULE]
        yield present.with_columns(updated).select(*rest, "updated_at", RULE)


def _clicked_frames(
    lake: Lake,
    spill: Spill,
    window: Window,
    within: timedelta | None,
    until: datetime | None,
    positive: Sequence[EventType],
) -> Iterator[pl.DataFrame]:
    """The window's frames; with `clicked` from the events in the lake where the source says so.

    Clicks after the window's end, and what was shown there before them, are known once their own window is in the lake,
    so that the last impressions of a window are right when it is extracted again as a late one. What is known of a
    window that has not ended is told to nobody but itself: a window must not depend on who looked before it ended.
    """
    frames = _frames(spill, window, until or window.end)
    if within is None:
        return frames
    own = [] if until is None else [open_key(window, until)]
    length = window.end - window.start

    def between(table: str, start: datetime) -> list[str]:
        windows = [parse_window(key, length) for key in lake.keys(table)]
        return [each.key for each in windows if each.end > start and each.start <= window.end + within]

    later = lake.read("impressions", between("impressions", window.end))
    events = lake.read("events", [*between("events", window.start), *own])
    return with_clicked(
        frames, found_clicks(spill.frames(window.key), events, within, later=[later], positive=positive)
    )


def _check_timeless(spill: Spill, table: str, source: Source, window: Window) -> None:
    """Rows without a time go to every window; so many that a window must fail are not even read."""
    timeless, rows = spill.rows.get(_TIMELESS, 0), spill.rows.get(window.key, 0)
    if timeless > source.max_rejected * (timeless + rows):
        example = next(spill.frames(_TIMELESS)).row(0, named=True)
        text = "null" if example["offender"] is None else repr(example["offender"])
        raise ContractError(
            f"{table} {window}: {timeless} rows of the source have no readable {_TIME[table]}, such as {text}, more "
            f"than max_rejected = {source.max_rejected:g} of the window's {timeless + rows}"
        )


def event_times(source: Source) -> tuple[datetime, datetime] | None:
    """The first and the last time of a source of events, which is read once; None where it has none.

    Raises as `extract_windows` does.
    """
    low: list[datetime] = []
    high: list[datetime] = []
    always = Window(start=datetime(1970, 1, 1, tzinfo=UTC), end=datetime(2200, 1, 1, tzinfo=UTC))
    for frame in _read("events", source, [always], always.end):
        first, last = frame["occurred_at"].min(), frame["occurred_at"].max()
        if isinstance(first, datetime) and isinstance(last, datetime):
            low.append(first)
            high.append(last)
    return (min(low), max(high)) if low else None
