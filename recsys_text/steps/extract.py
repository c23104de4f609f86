"""Extract: sources to windows of the lake. Knows no model and no store."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from recsys_text.config import Settings
from recsys_text.errors import ConfigError
from recsys_text.lake.extract import event_times, extract_windows
from recsys_text.lake.result import WriteResult
from recsys_text.lake.windows import Window, open_key, parse_window, windows_between
from recsys_text.steps.inputs import the_lake

#: What a longer standstill leaves out is history, which is asked for.
LONGEST_GAP = timedelta(days=7)


def extract(settings: Settings, windows: Sequence[Window], *, allow_empty: bool = False) -> dict[str, Any]:
    """Writes each window of every table that has a source, replacing it as a whole.

    allow_empty: whether a window that had rows may become one without any, where the source has none now.
    Returns {"tables": {table: {window: a WriteResult as a dict}}, "changed": the windows of which a table has other
    rows than before}. Raises ConfigError for a window that has not ended, ContractError for data that breaks its
    contract, UnavailableError for a source or a lake out of reach.
    """
    if windows[-1].end > datetime.now(UTC):
        raise ConfigError(
            f"window {windows[-1]} has not ended yet; extract it after {windows[-1].end:%Y-%m-%dT%H:%MZ}, or let "
            "`recsys-text refresh` publish what is known of it so far"
        )
    return _told(extract_windows(the_lake(settings), settings.sources, windows, allow_empty=allow_empty))


def earlier(settings: Settings, window: Window, *, gap: bool) -> tuple[list[Window], list[Window]]:
    """The windows before `window` to extract after it, the newest first, and those that somebody must ask for.

    Those are the `windows.late` ones and, with `gap`, what a standstill of at most LONGEST_GAP has left out between
    the lake's newest window before `window` and `window`; what a longer one has left out is asked for, oldest first.
    """
    length = window.end - window.start
    late = _before(window, settings.windows.late * length)
    keys = [key for key in the_lake(settings).keys("events") if key < window.key]
    missing = _before(window, window.start - parse_window(keys[-1], length).end) if gap and keys else []
    if len(missing) * length > LONGEST_GAP:
        return late[::-1], [each for each in missing if each not in late]
    return max(late, missing, key=len)[::-1], []


def _before(window: Window, span: timedelta) -> list[Window]:
    return windows_between(window.start - span, window.start, window.end - window.start) if span else []


def extract_open(settings: Settings, window: Window, until: datetime) -> dict[str, Any]:
    """Brings what is known at `until` of a window that has not ended; returns and raises as `extract`.

    Where that is what was known before, the lake stays as it was: who scores from a state finds it the longer.
    """
    lake, key = the_lake(settings), open_key(window, until)
    anew = key not in lake.open_keys("events")
    result = _told(extract_windows(lake, settings.sources, [window], until=until))
    if anew and not result["changed"]:
        for table in result["tables"]:
            lake.forget(table, key)
    return result


def _told(written: Mapping[str, Mapping[str, WriteResult]]) -> dict[str, Any]:
    changed = {key for results in written.values() for key, result in results.items() if result.changed}
    tables = {table: {key: asdict(result) for key, result in results.items()} for table, results in written.items()}
    return {"tables": tables, "changed": sorted(changed)}


def time_range(settings: Settings) -> tuple[datetime, datetime] | None:
    """The first and the last time of an event of the source, None where none can be read. Reads all of the source.

    Raises as `extract`.
    """
    return event_times(settings.sources.events)
