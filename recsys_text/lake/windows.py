"""Half-open spans of time in UTC and their keys. Knows nothing of files or tables."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from recsys_text.errors import ConfigError

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WEEK = timedelta(days=7)
_LONGEST = 36_500 * DAY
_UNTIL = "%Y%m%dT%H%M%SZ"
#: How the key of a window of each length is written; weeks are those of ISO 8601, which begin on Monday.
KEY_FORMATS = {HOUR: "%Y-%m-%dT%H", DAY: "%Y-%m-%d", WEEK: "%G-W%V"}
_UNITS = {"m": timedelta(minutes=1), "h": HOUR, "d": DAY}


@dataclass(frozen=True, order=True)
class Window:
    """The span [start, end) in UTC; its key is `2014-03-18`, `2014-03-18T05` when hourly, `2014-W12` when weekly."""

    start: datetime
    end: datetime

    @property
    def key(self) -> str:
        return self.start.strftime(KEY_FORMATS.get(self.end - self.start, KEY_FORMATS[HOUR]))

    def __str__(self) -> str:
        return self.key


def parse_duration(text: str) -> timedelta:
    """Reads `30m`, `24h` or `7d`, at most a century. Raises ConfigError for anything else."""
    match = re.fullmatch(r"(\d+)([mhd])", text)
    if match is None or match[1].strip("0") == "":
        raise ConfigError(f"'{text}' is not a duration; write a positive number and m, h or d, such as '24h'")
    unit = _UNITS[match[2]]
    # Compared as text first: Python refuses to read a number of thousands of digits.
    if len(match[1].lstrip("0")) > 9 or int(match[1]) > _LONGEST // unit:
        raise ConfigError(f"'{text[:40]}' is too long a duration; write at most {_LONGEST // unit}{match[2]}")
    return int(match[1]) * unit


def parse_time(text: str) -> datetime:
    """Reads an ISO 8601 time; one without an offset is UTC. Raises ConfigError for anything else."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"'{text}' is not a time; write it as 2014-03-18 or 2014-03-18T05:00Z") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def window_of(time: datetime, length: timedelta) -> Window:
    """The window of the given length (an hour, a day or a week) that holds `time`."""
    start = time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    if length >= DAY:
        start = start.replace(hour=0)
    if length == WEEK:
        start -= start.weekday() * DAY
    return Window(start, start + length)


def parse_window(key: str, length: timedelta) -> Window:
    """The window named by its key. Raises ConfigError when the key is not one of that length."""
    window = window_of(parse_time(key), length)
    if window.key != key:
        raise ConfigError(f"'{key}' names no window; a key of this project looks like '{window.key}'")
    return window


def open_key(window: Window, until: datetime) -> str:
    """The key of what is known of a window before it has ended, at a time within it, to the second."""
    return f"{window.key}@{until.astimezone(UTC):{_UNTIL}}"


def is_open_key(key: str) -> bool:
    return "@" in key


def window_key(key: str) -> str:
    """The key of the window, open or not."""
    return key.partition("@")[0]


def start_of(key: str) -> datetime:
    """The start of the window of a key, open or not."""
    return parse_time(window_key(key))


def end_of(key: str, length: timedelta) -> datetime:
    """The end of the window of a key, open or not, of windows of this length."""
    return start_of(key) + length


def known_until(key: str) -> datetime:
    """The time of an open key."""
    return datetime.strptime(key.partition("@")[2], _UNTIL).replace(tzinfo=UTC)


def windows_between(start: datetime, end: datetime, length: timedelta) -> list[Window]:
    """Every window that touches [start, end), in order.

    Raises ConfigError when the span is empty.
    """
    if end <= start:
        raise ConfigError(f"the span from {start:%Y-%m-%dT%H:%MZ} to {end:%Y-%m-%dT%H:%MZ} is empty")
    windows = [window_of(start, length)]
    while windows[-1].end < end:
        windows.append(Window(windows[-1].end, windows[-1].end + length))
    return windows
