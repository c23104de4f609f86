"""Brings the rows of some windows from the sources into the lake. Knows no formats, queries or paths."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from logging import getLogger

import polars as pl

from recsys_text.errors import ContractError
from recsys_text.event_types import EventType
from recsys_text.lake.clicks import found_clicks, with_clicked
from recsys_text.lake.enforce import judge, settle
from recsys_text.lake.result import RefusedEmpty, WriteResult, no_candidates, shortened, too_many
from recsys_text.lake.spill import MAX_ROWS, Spill, microseconds, split_by_time
from recsys_text.lake.store import About, Lake
from recsys_text.lake.windows import Window, open_key, parse_window
from recsys_text.sections import Source, Sources
from recsys_text.sources import depends_on_span, describe, read_rows
from recsys_text.sources.reading import TIME
from recsys_text.sources.times import Span, why_unread, zone_of
from recsys_text.tables import OFFENDER, RULE, UNREAD_ROWS

logger = getLogger("recsys_text")

#: What a source of impressions holds was shown to somebody; samples are made, never extracted.
_CONSTANTS = {"impressions": {"origin": "logged"}}
_TIMELESS = "timeless"
#: All times that a row can have.
#: No log is older; times before it were counted in another unit.
_FIRST_YEAR = 1972
_EVER = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
#: Windows that are put in their places together; a killed extraction has lost no more.
_TOGETHER = 64
#: The share of the items of a snapshot that may be absent from the next one before somebody should look.
_MANY_LEFT = 0.5


def extract_windows(
    lake: Lake,
    sources: Sources,
    windows: Sequence[Window],
    *,
    until: datetime | None = None,
    allow_empty: bool = False,
) -> dict[str, dict[str, WriteResult]]:
    """Writes each window of every table with a source, which is read once. Table -> window key -> what became of it.

    A window takes the rows whose time lies in it; the others are left out. Items are a snapshot unless their source
    says `feed = "changes"`: every window shows those published before its end or at no known time. Rows whose time
    cannot be read belong to no window; they are judged against all rows of the source, and kept once.
    Where impressions have `clicks_within`, they are labelled by the events of the lake, which come first.
    `until` is given for one window that has not ended: it takes what is strictly before, and may have fewer rows than
    `min_rows`. Raises ConfigError, ContractError or UnavailableError; a window that fails stays as it was, and so does
    one that had rows where the source has none now, unless `allow_empty`.
    """
    ordered = sorted(set(windows))
    end, positive = until or ordered[-1].end, sources.events.positive
    named = {table: _with_constants(table, source) for table, source in sources if source is not None}
    spans = {
        table: Span(start=ordered[0].start, end=end, zone=zone_of(f"sources.{table}.time_zone", source.time_zone))
        for table, source in named.items()
    }
    # The first rows of every table before the first window of any: what a config lacks is told at once.
    frames = {table: _begun(read_rows(table, source, spans[table])) for table, source in named.items()}
    return {
        table: _extract(lake, table, source, frames.pop(table), spans[table], ordered, until, allow_empty, positive)
        for table, source in named.items()
    }


def _begun(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """The frames, of which those up to the first with rows were read already."""
    read: list[pl.DataFrame] = []
    for frame in frames:
        read.append(frame)
        if frame.height:
            break
    return chain(read, frames)


def event_times(source: Source) -> tuple[datetime, datetime] | None:
    """The first and the last time of the source's events, None where none can be read. Raises as `extract_windows`."""
    found: list[datetime] = []
    zone = zone_of("sources.events.time_zone", source.time_zone)
    for frame in read_rows("events", source, Span(start=_EVER[0], end=_EVER[1], zone=zone)):
        times = frame.get_column(TIME["events"]).drop_nulls()
        found += [time for time in (times.min(), times.max()) if isinstance(time, datetime)]
    return (min(found), max(found)) if found else None


def _with_constants(table: str, source: Source) -> Source:
    return source.model_copy(update={"values": source.values | _CONSTANTS.get(table, {})})


def _extract(
    lake: Lake,
    table: str,
    source: Source,
    frames: Iterator[pl.DataFrame],
    span: Span,
    windows: list[Window],
    until: datetime | None,
    allow_empty: bool,
    positive: Sequence[EventType],
) -> dict[str, WriteResult]:
    about = About(
        source=describe(source),
        max_rejected=source.max_rejected,
        min_rows=source.min_rows if until is None else 0,
        until=until,
        allow_empty=allow_empty,
    )
    snapshot = table == "items" and source.feed == "snapshot"
    if snapshot:
        results = _snapshot(lake, frames, windows, about, source.grace)
    else:
        results = _dated(lake, table, source, frames, windows, span, about, positive)
    lake.remove_unnamed(table)
    return {window.key: results[window.key] for window in windows}


def _snapshot(
    lake: Lake, frames: Iterable[pl.DataFrame], windows: list[Window], about: About, grace: int
) -> dict[str, WriteResult]:
    """One reading of all items for all windows."""
    earlier = [key for key in lake.keys("items") if key <= windows[-1].key]
    former = lake.snapshot_ids(earlier[-1]) if earlier else None
    results = lake.write_snapshot(windows, frames, about)
    last = windows[-1].key
    if about.until is None and not results[last].rows:
        logger.warning("items: %s has no items for %s", about.source, shortened(list(results)))
    elif about.until is None and former is not None and (now := lake.snapshot_ids(last)) is not None:
        left = len(former) - int(former.is_in(now.implode()).sum())
        results[last] = replace(results[last], left=left)
        if left > _MANY_LEFT * len(former):
            logger.warning(
                "items: %d of %d items that %s had are not in %s from %s on: %s; "
                "if that reading was not whole, extract it again",
                *(left, len(former), earlier[-1], about.source, windows[0], no_candidates(grace)),
            )
    return results


@dataclass
class _Placed:
    """What was read: how many rows, and the first and the last of their times."""

    rows: int = 0
    first: datetime | None = None
    last: datetime | None = None

    def add(self, times: pl.Series) -> None:
        self.rows += len(times)
        known = times.drop_nulls().filter(times.drop_nulls().dt.year().is_between(1, 9998))
        if len(known):
            low, high = known.min(), known.max()
            assert isinstance(low, datetime)
            assert isinstance(high, datetime)
            self.first = low if self.first is None else min(low, self.first)
            self.last = high if self.last is None else max(high, self.last)


def _dated(
    lake: Lake,
    table: str,
    source: Source,
    frames: Iterator[pl.DataFrame],
    windows: list[Window],
    span: Span,
    about: About,
    positive: Sequence[EventType],
) -> dict[str, WriteResult]:
    """One reading of the rows of all windows, each of which takes those of its time."""
    within = source.clicks_within
    results: dict[str, WriteResult] = {}
    refused: dict[str, int] = {}

    def judged(frame: pl.DataFrame) -> pl.DataFrame:
        # What impressions are judged by is not known before their clicks.
        return frame if within else judge(table, frame)

    with lake.scratch() as scratch:
        spill, placed = Spill(scratch / "windows"), _Placed()
        for frame in frames:
            _place(spill, table, judged(frame), windows, span.end)
            placed.add(frame[TIME[table]])
        if len(windows) > 1 and depends_on_span(source) and _has_more_alone(spill, table, source, windows, span):
            logger.warning(
                "%s: the query gives other rows for a window alone than for %d together, so each is read on its own",
                *(table, len(windows)),
            )
            for window in windows:
                spill.discard(window.key)
                for frame in _alone(table, source, window, span):
                    _place(spill, table, judged(frame), [window], span.end)
        timeless = _timeless(spill, table, source, placed.rows, span)
        # The newest first where clicks are found: one behind a window's end may be of what was shown there.
        for batch in _batches(windows, spill) if within is None else ([window] for window in reversed(windows)):
            placed_in = (
                (window, _window_frames(lake, spill, window, within, about.until, positive)) for window in batch
            )
            try:
                results |= lake.write_windows(table, placed_in, about, timeless=timeless)
            except RefusedEmpty as error:
                refused |= error.lost
            for window in batch:
                spill.discard(window.key)
    if refused:
        raise RefusedEmpty(table, dict(sorted(refused.items())), about.source)
    if about.until is None:
        _tell_empty(table, results, windows, placed)
    return results


def _has_more_alone(spill: Spill, table: str, source: Source, windows: list[Window], span: Span) -> bool:
    """Whether a window that is asked for alone has other rows than it was given of those of all windows.

    So it is with a query that compares with more than a span of times, such as `date(at) = date(:start)`, or that
    groups or limits its rows. Some windows stand for all: of those without rows and of those with some.
    """
    empty = [window for window in windows if not spill.rows.get(window.key)]
    filled = [window for window in windows if spill.rows.get(window.key)]
    middle = filled[len(filled) // 2 :][:1]
    asked = dict.fromkeys([*empty[:1], *empty[-1:], *filled[:1], *middle, *filled[-1:]])
    return any(
        sum(frame.height for frame in _alone(table, source, window, span)) != spill.rows.get(window.key, 0)
        for window in asked
    )


def _alone(table: str, source: Source, window: Window, span: Span) -> Iterator[pl.DataFrame]:
    """The rows whose time lies in a window, where the source is asked for that window alone."""
    own = replace(span, start=window.start, end=min(window.end, span.end))
    inside = pl.col(TIME[table]).is_between(own.start, own.end, closed="left")
    return (frame.filter(inside) for frame in read_rows(table, source, own))


def _batches(windows: list[Window], spill: Spill) -> Iterator[list[Window]]:
    """Windows that follow each other, of which no more rows are in memory together than of a long one."""
    batch: list[Window] = []
    rows = 0
    for window in windows:
        own = spill.rows.get(window.key, 0)
        if batch and (len(batch) == _TOGETHER or rows + own > MAX_ROWS):
            yield batch
            batch, rows = [], 0
        batch.append(window)
        rows += own
    yield batch


def _tell_empty(table: str, results: dict[str, WriteResult], windows: list[Window], placed: _Placed) -> None:
    empty = [window.key for window in windows if not results[window.key].rows]
    if len(empty) < len(windows):
        if empty:
            logger.warning("%d of %d windows of %s are empty: %s", len(empty), len(windows), table, shortened(empty))
        return
    seen = "" if placed.first is None else f"; the source's times go from {placed.first:%F %T} to {placed.last:%F %T}"
    if placed.last is not None and placed.last.year < _FIRST_YEAR:
        seen += f"; perhaps sources.{table}.time_unit is another"
    logger.warning("%s: no row lies in %s%s", table, shortened(empty), seen)


def _place(spill: Spill, table: str, frame: pl.DataFrame, windows: list[Window], end: datetime) -> None:
    time = TIME[table]
    # Each window and, where another does not follow at once, what lies behind it.
    spans: dict[int, str | None] = {microseconds(min(window.end, end)): None for window in windows}
    spans |= {microseconds(window.start): window.key for window in windows if window.start < end}
    keys = [spans[start] for start in sorted(spans)]
    for number, part in split_by_time(frame, time, sorted(spans)).items():
        if number >= 0 and (key := keys[number]) is not None:
            spill.add(key, part)
    timeless = frame.filter(pl.col(time).is_null())
    if timeless.height:
        spill.add(_TIMELESS, timeless)


def _timeless(spill: Spill, table: str, source: Source, rows: int, span: Span) -> pl.DataFrame | None:
    """The rows that belong to no window, as their time cannot be read. Raises ContractError for too many of them."""
    count = spill.rows.get(_TIMELESS, 0)
    if not count:
        return None
    if too_many(count, rows - count, rows, source.max_rejected):
        # Rows of other times may not have been read; here all of the source count.
        rows = sum(frame.height for frame in read_rows(table, source, replace(span, start=_EVER[0], end=_EVER[1])))
    rule, offender = next(spill.frames(_TIMELESS)).head(1).select(RULE, OFFENDER).row(0)
    told = f"{table}: {count:,} of {rows:,} rows of the source have no readable {TIME[table]}, such as "
    if offender is None:
        told += "null"
    elif rule == f"{TIME[table]}|dtype":
        told += f"{offender!r}, {why_unread(offender, table, span.zone, source.time_unit)}"
    else:
        told += f"{offender!r}, {UNREAD_ROWS.get(rule, f'which breaks {rule}')}"
    if too_many(count, rows - count, rows, source.max_rejected):
        raise ContractError(f"{told}; they are more than max_rejected = {source.max_rejected:g}")
    logger.warning("%s; they are in no window, and kept among the rejected rows", told)
    frames = spill.frames(_TIMELESS)
    if source.clicks_within is not None:
        none = pl.DataFrame(schema={"impression_id": pl.String, "item_id": pl.String})
        frames = (judge(table, frame) for frame in with_clicked(frames, none))
    return settle(table, pl.concat(frames)).rejected


def _window_frames(
    lake: Lake,
    spill: Spill,
    window: Window,
    within: timedelta | None,
    until: datetime | None,
    positive: Sequence[EventType],
) -> Iterator[pl.DataFrame]:
    if within is None:
        return spill.frames(window.key)
    frames = _clicked_frames(lake, spill, window, within, until, positive)
    return (judge("impressions", frame) for frame in frames)


def _clicked_frames(
    lake: Lake,
    spill: Spill,
    window: Window,
    within: timedelta,
    until: datetime | None,
    positive: Sequence[EventType],
) -> Iterator[pl.DataFrame]:
    """The window's frames with `clicked` from the events in the lake.

    Clicks after the window's end, and what was shown there before them, are known once their own window is in the lake,
    so that the last impressions of a window are right when it is extracted again as a late one. What is known of a
    window that has not ended is told to nobody but itself: a window must not depend on who looked before it ended.
    """
    own = [] if until is None else [open_key(window, until)]
    length = window.end - window.start

    def between(table: str, start: datetime) -> list[str]:
        windows = [parse_window(key, length) for key in lake.keys(table)]
        return [each.key for each in windows if each.end > start and each.start <= window.end + within]

    later = lake.read("impressions", between("impressions", window.end))
    events = lake.read("events", [*between("events", window.start), *own])
    found = found_clicks(spill.frames(window.key), events, within, later=[later], positive=positive)
    return with_clicked(spill.frames(window.key), found)
