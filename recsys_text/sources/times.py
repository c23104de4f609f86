"""Read foreign times: texts, typed times and numbers since 1970, in any zone, as UTC within a sensible range.

A time that no log can have (before 1678 or after 2261) is broken; of an expiry, one after 2199 means never.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from recsys_text.errors import ConfigError, ContractError
from recsys_text.sources.loose import BOOLEAN, NESTED, UNREADABLE, is_loose
from recsys_text.sources.read import Read, Target, wrong_type

_ISO_TIME = (
    r"^(?P<date>\d{4}-\d{2}-\d{2})(?:[T ](?P<minute>\d{2}:\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?)?"
    r" ?(?P<zone>[Zz]|UTC|utc|GMT|[+-](?:0\d|1[0-5])(?::?[0-5]\d)?)?$"
)
_NUMBER = r"^[+-]?\d+(?:\.\d+)?(?:[eE][+]?\d+)?$"
#: Digits alone are a number since 1970, not a year or a day, where there are so many.
_LONG_NUMBER = r"^-?\d{9,}(?:\.\d+)?$"
#: A date, or a date and a time, written as one number. Seconds or more since 1970 of no log look so.
_DIGITS = re.compile(
    r"(?P<date>(?:19|20|21)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))(?P<time>(?:[01]\d|2[0-3])[0-5]\d[0-5]\d)?(?:\.0*)?"
)
#: So many values tell whether a column of numbers is one of dates.
_FEW = 20
_OFFSET = re.compile(r"(?P<sign>[+-])(?P<hours>0\d|1[0-5]):?(?P<minutes>[0-5]\d)")
_PER_UNIT = {"s": 1_000_000, "ms": 1000, "us": 1}
#: What a column of nanoseconds can hold: what lies beyond was bent on its way, or is a stand-in for "unknown".
POSSIBLE = datetime(1678, 1, 1, tzinfo=UTC), datetime(2262, 1, 1, tzinfo=UTC)
_FIRST, _LAST = POSSIBLE
_NEVER = datetime(2200, 1, 1, tzinfo=UTC)
_UTC = pl.Datetime("us", "UTC")
#: Integers that may not fit into 64 bits with a sign, and the largest of those that do.
_WIDE, _MOST = (pl.UInt64, pl.Int128, pl.UInt128), 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Span:
    """The time [start, end) in UTC that is asked of a source, and the zone of its naive times, if it has one."""

    start: datetime
    end: datetime
    zone: tzinfo | None

    def wall_clock(self) -> tuple[datetime, datetime]:
        """Naive bounds that hold every local time of the span; wider only around a change of the clocks."""
        start, end = self.start.replace(tzinfo=None), self.end.replace(tzinfo=None)
        if self.zone is None:
            return start, end
        day = timedelta(days=1)
        times = (self.start - day, self.start, self.end, self.end + day)
        offsets = [time.astimezone(self.zone).utcoffset() or timedelta() for time in times]
        return start + min(offsets), end + max(offsets)


def zone_named(name: str) -> tzinfo | None:
    """The zone of a name such as 'Europe/Paris', 'UTC', 'Z' or '+05:30'; None for one that is not known.

    A zone must be known to Python and to polars: names such as 'localtime' differ from machine to machine.
    """
    if name.upper() == "Z":
        return UTC
    if offset := _OFFSET.fullmatch(name):
        span = timedelta(hours=int(offset["hours"]), minutes=int(offset["minutes"]))
        return timezone(-span if offset["sign"] == "-" else span)
    try:
        zone = ZoneInfo(name)
        pl.Series([datetime(2000, 1, 1)]).dt.replace_time_zone(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, pl.exceptions.PolarsError):
        return None
    return zone


def zone_name(zone: tzinfo | None) -> str:
    """The name of a zone, `+05:30` for one that is an offset alone; UTC for none."""
    if isinstance(zone, ZoneInfo):
        return zone.key
    offset = zone.utcoffset(None) if zone else None
    if not offset:
        return "UTC"
    minutes = offset // timedelta(minutes=1)
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def zone_of(setting: str, name: str | None) -> tzinfo | None:
    """The zone that a source's `time_zone` names, if any. Raises ConfigError for an unknown zone."""
    if name is None:
        return None
    zone = zone_named(name)
    if zone is None:
        raise ConfigError(f"{setting}: no zone '{name}'; write one such as 'UTC', 'Asia/Shanghai' or '+05:30'")
    return zone


def why_unread(text: str, table: str, zone: tzinfo | None, time_unit: str | None) -> str:
    """Why a text of the table was not read as a time, and what to do about it, as words that follow the text."""
    text = text.strip()
    if dashed := _dashed(text):
        return f"which is a date written as a number; write it as {dashed}"
    if time_unit is None and re.match(_LONG_NUMBER, text):
        likely = _likely_unit(text)
        return f'which is a number; if it counts since 1970, write time_unit = "{likely}" in sources.{table}'
    if time_unit is not None and re.match(_NUMBER, text):
        return f'which as "{time_unit}" since 1970 is no time that a log can have'
    unit = "" if time_unit is None else f' is no number, as time_unit = "{time_unit}" says, and'
    found = re.match(_ISO_TIME, text)
    if found is not None:
        return _why_no_instant(found, table, zone, unit)
    return (
        f"which{unit} is not written as a time; a text is read as one where it is written as in "
        "2026-10-01 08:30:00 or 2026-10-01T08:30:00+02:00"
    )


def _why_no_instant(found: re.Match[str], table: str, zone: tzinfo | None, unit: str) -> str:
    """What a text that is written as a time lacks."""
    try:
        local = datetime.fromisoformat(f"{found['date']}T{found['minute'] or '00:00'}:{found['second'] or '00'}")
    except ValueError:
        return "which no calendar and no clock show"
    if found["zone"] is not None or not _FIRST < local.replace(tzinfo=UTC) < _LAST:
        return "which is no time that a log can have"
    if zone is None:
        return f"which{unit} has no zone; add an offset, or name the zone in sources.{table}.time_zone"
    if local.replace(tzinfo=zone).astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local:
        return "which is no time that a log can have"
    return (
        f"which the clocks of sources.{table}.time_zone = '{zone_name(zone)}' never showed, as they were put forward; "
        "write it with its offset, or name the zone that it is in"
    )


def read_times(given: pl.Series, target: Target) -> Read:
    """The values as UTC times, by the column's own type."""
    if is_loose(given):
        parts = given.struct.unnest()
        texts = parts["text"].set(parts["kind"].is_in([BOOLEAN, NESTED, UNREADABLE]).fill_null(False), "?")
        return _in_range(_parsed(texts.alias(given.name), target), target)
    if given.dtype == pl.String:
        return _in_range(_parsed(given, target), target)
    if given.dtype == pl.Null:
        return Read.whole(given.cast(_UTC))
    if given.dtype.is_numeric():
        return _in_range(_since_1970(given, target), target)
    if given.dtype == pl.Date:
        given = given.cast(pl.Datetime("ms"))
    if not isinstance(given.dtype, pl.Datetime):
        raise wrong_type(given, target, "times")
    return _in_range(_typed(given, target), target)


def _typed(given: pl.Series, target: Target) -> Read:
    assert isinstance(given.dtype, pl.Datetime)
    if given.dtype.time_zone is None and target.zone is None:
        raise naive_times(given, target)
    unit = given.dtype.time_unit
    ticks = given.to_physical()
    low, high = (int(bound.timestamp()) * {"ms": 1000, "us": 10**6, "ns": 10**9}[unit] for bound in (_FIRST, _LAST))
    possible = ticks.is_between(low, high, closed="left").fill_null(False)
    # What is far beyond would overflow on its way to microseconds.
    local = ticks.set(~possible, None).cast(pl.Datetime(unit)).cast(pl.Datetime("us"))
    times = local.dt.replace_time_zone("UTC") if given.dtype.time_zone else _located(local, target.zone)
    broken = given.is_not_null() & times.is_null()
    if target.name == "expires_at":
        broken &= ~(ticks >= high).fill_null(False)
    return Read(times, broken)


def _since_1970(given: pl.Series, target: Target) -> Read:
    few = given.drop_nulls().head(_FEW)
    _refuse_dates([str(value) for value in few.to_list()], given.name, target)
    if target.time_unit is None:
        raise _no_unit(given, target)
    return _counted(given.cast(pl.Float64) if given.dtype.is_decimal() else given, target)


def _counted(numbers: pl.Series, target: Target) -> Read:
    assert target.time_unit is not None
    scale = _PER_UNIT[target.time_unit]
    if numbers.dtype.is_float():
        numbers = numbers.fill_nan(None)
    else:  # small integers cannot be compared with the bounds, unsigned ones not with those before 1970
        wide = numbers.clip(upper_bound=_MOST) if numbers.dtype in _WIDE else numbers
        numbers = wide.cast(pl.Int64)
    low, high = (int(bound.timestamp()) * 1_000_000 // scale for bound in (_FIRST, _LAST))
    possible = numbers.is_between(low, high, closed="left").fill_null(False)
    if target.name != "expires_at" and possible.sum() * 2 < len(numbers) - numbers.null_count():
        raise _wrong_unit(numbers.filter(~possible), target)
    ticks = numbers.set(~possible, None)
    micros = (ticks * scale).round().cast(pl.Int64) if ticks.dtype.is_float() else ticks.cast(pl.Int64) * scale
    broken = numbers.is_not_null() & ~possible
    if target.name == "expires_at":
        broken &= ~(numbers >= high).fill_null(False)
    return Read(micros.cast(pl.Datetime("us")).dt.replace_time_zone("UTC"), broken)


def _parsed(given: pl.Series, target: Target) -> Read:
    text = given.str.strip_chars()
    _refuse_dates(text.drop_nulls().head(_FEW).to_list(), given.name, target)
    number = text.str.contains(_NUMBER if target.time_unit else _LONG_NUMBER).fill_null(False)
    known = len(text) - text.null_count()
    if target.time_unit is None and number.sum() * 2 > known:
        raise _no_unit(given.filter(number), target)
    parts = text.str.extract_groups(_ISO_TIME).struct.unnest()
    digits = parts.select(
        pl.format(
            "{}T{}:{}.{}",
            "date",
            pl.col("minute").fill_null("00:00"),
            pl.col("second").fill_null("00"),
            pl.col("fraction").fill_null("0").str.slice(0, 6).str.pad_end(6, "0"),
        )
    ).to_series()
    local = digits.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    naive = parts["zone"].is_null() & local.is_not_null()
    if target.zone is None and naive.sum() * 2 > known:
        raise naive_times(given.filter(naive), target)
    aware = local.dt.replace_time_zone("UTC") - _offset(parts["zone"])
    times = aware if target.zone is None else _either(naive, _located(local, target.zone), aware)
    if target.time_unit is not None and number.any():
        counted = _counted(text.set(~number, None).cast(pl.Float64, strict=False), target)
        times = _either(number, counted.values, times)
    never = text.str.to_lowercase().is_in(["infinity", "inf"]).fill_null(False)
    broken = given.is_not_null() & times.is_null() & ~(never & (target.name == "expires_at"))
    if target.name == "expires_at" and target.time_unit is not None:
        broken &= ~(number & times.is_null())
    return Read(times, broken)


def _either(mask: pl.Series, yes: pl.Series, no: pl.Series) -> pl.Series:
    return pl.select(pl.when(mask).then(yes).otherwise(no)).to_series()


def _offset(zone: pl.Series) -> pl.Series:
    """The offset of each zone's text as a duration; null for none."""
    text = pl.col("zone").str.to_uppercase()
    minutes = pl.format("{}1", text.str.slice(0, 1)).cast(pl.Int64, strict=False) * (
        text.str.slice(1, 2).cast(pl.Int64, strict=False) * 60
        + text.str.slice(3).str.strip_prefix(":").cast(pl.Int64, strict=False).fill_null(0)
    )
    utc = text.is_in(["Z", "UTC", "GMT"])
    return (
        zone.alias("zone").to_frame().select(pl.duration(minutes=pl.when(utc).then(0).otherwise(minutes))).to_series()
    )


def _in_range(read: Read, target: Target) -> Read:
    """Times outside of the range that a log can have are broken, or for an expiry never."""
    times = read.values
    if target.name == "expires_at":
        never = (times >= _NEVER).fill_null(False)
        early = (times < _FIRST).fill_null(False)
        return Read(times.set(never | early, None), read.broken | early)
    outside = ~times.is_between(_FIRST, _LAST, closed="left").fill_null(True)
    return Read(times.set(outside, None), read.broken | outside)


def _located(local: pl.Series, zone: tzinfo | None) -> pl.Series:
    """UTC times of naive ones. A time that the clocks showed twice is the first; one they never showed, null."""
    if isinstance(zone, ZoneInfo):
        located = local.dt.replace_time_zone(zone.key, ambiguous="earliest", non_existent="null")
        return located.dt.convert_time_zone("UTC")
    assert zone is not None
    return (local - (zone.utcoffset(None) or timedelta())).dt.replace_time_zone("UTC")


def naive_times(given: pl.Series, target: Target) -> ContractError:
    example = f" '{given.drop_nulls()[0]}'" if given.null_count() < len(given) else "s"
    return ContractError(
        f"{target.column}: naive time{example} in '{given.name}'; add an offset, or name the zone in "
        f"sources.{target.table}.time_zone"
    )


def _wrong_unit(given: pl.Series, target: Target) -> ContractError:
    known = given.drop_nulls()
    return ContractError(
        f"{target.column}: column '{given.name}' of the source holds numbers such as {known[0]}, which as "
        f'"{target.time_unit}" since 1970 are no times that a log can have; perhaps sources.{target.table}.time_unit = '
        f'"{_likely_unit(known[0])}" is meant'
    )


def _refuse_dates(texts: list[str], name: str, target: Target) -> None:
    """Raises ContractError where all of these texts are dates that are written as numbers."""
    dashed = [_dashed(text) for text in texts]
    if dashed and all(dashed):
        raise ContractError(
            f"{target.column}: column '{name}' of the source holds dates written as numbers such as {texts[0]}; write "
            f"it as {dashed[0]}"
        )


def _dashed(text: str) -> str | None:
    """The date that a text of digits is, as it is usually written; None for another text."""
    found = _DIGITS.fullmatch(text)
    if found is None:
        return None
    date, time = found["date"], found["time"]
    clock = f" {time[:2]}:{time[2:4]}:{time[4:]}" if time else ""
    return f"{date[:4]}-{date[4:6]}-{date[6:]}{clock}"


def _likely_unit(number: object) -> str:
    size = abs(float(str(number)))
    return next(unit for unit, below in (("s", 1e11), ("ms", 1e14), ("us", float("inf"))) if size < below)


def _no_unit(given: pl.Series, target: Target) -> ContractError:
    known = given.drop_nulls()
    example, hint = "", 's" (seconds), "ms" or "us'
    if len(known):
        example = f" such as {known[0]}"
        hint = _likely_unit(known[0])
    return ContractError(
        f"{target.column}: column '{given.name}' of the source holds numbers{example}, not times; if they count since "
        f'1970, write time_unit = "{hint}" in sources.{target.table}'
    )
