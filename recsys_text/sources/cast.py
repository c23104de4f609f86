"""Turns a source's rows into a table's contract: names, constants, types. Knows no files, databases or windows."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from recsys_text.errors import ConfigError, ContractError
from recsys_text.sections import Source
from recsys_text.tables import OFFENDER, RULE, TABLES

#: What a source may leave out: nullable columns become null, tags an empty list, and items without a
#: time of their own are a snapshot.
_OPTIONAL = {"tags", "updated_at"}

_ISO_TIME = (
    r"^(?P<date>\d{4}-\d{2}-\d{2})(?:[T ](?P<minute>\d{2}:\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?)?"
    r" ?(?P<zone>[Zz]|[+-]\d{2}(?::?\d{2})?)?$"
)
_EPOCH = r"^-?\d{9,}(\.\d+)?$"
_FLAGS = {"1": True, "true": True, "0": False, "false": False}
_TAG_SEPARATORS = r"\s*[|;,]\s*"


@dataclass(frozen=True, kw_only=True)
class Span:
    """The time [start, end) in UTC that is asked of a source, and the zone of its naive times, if it has one."""

    start: datetime
    end: datetime
    zone: ZoneInfo | None

    def wall_clock(self) -> tuple[datetime, datetime]:
        """Naive bounds that hold every local time of the span; wider only around a change of the clocks."""
        start, end = self.start.replace(tzinfo=None), self.end.replace(tzinfo=None)
        if self.zone is None:
            return start, end
        day = timedelta(days=1)
        times = (self.start - day, self.start, self.end, self.end + day)
        offsets = [time.astimezone(self.zone).utcoffset() or timedelta() for time in times]
        return start + min(offsets), end + max(offsets)


def source_names(table: str, source: Source) -> dict[str, str]:
    """Lake name -> the source's name of every contract column that comes from the source.

    Raises ConfigError where the config names a column that the contract has not.
    """
    contract = TABLES[table].column_names()
    for setting, names in (("columns", source.columns), ("values", source.values)):
        for name in names:
            if name not in contract:
                near = difflib.get_close_matches(name, contract, n=1, cutoff=0.0)[0]
                raise ConfigError(f"sources.{table}.{setting}: no column '{name}' in {table}; did you mean '{near}'?")
    for name in source.columns:
        if name in source.values:
            raise ConfigError(f"sources.{table}: '{name}' stands in both columns and values; keep one")
    return {name: source.columns.get(name, name) for name in contract if name not in source.values}


def zone_of(table: str, source: Source) -> ZoneInfo | None:
    """The zone of the source's naive times, if the config names one. Raises ConfigError for an unknown zone."""
    if source.time_zone is None:
        return None
    try:
        return ZoneInfo(source.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise ConfigError(
            f"sources.{table}.time_zone: no zone '{source.time_zone}'; write one such as 'UTC' or 'Asia/Shanghai'"
        ) from None


def to_contract(raw: pl.DataFrame, table: str, source: Source) -> pl.DataFrame:
    """The contract's columns in the contract's types, and two more: `rule` and `offender`.

    A value that cannot be read as its type becomes null; its row then carries the rule
    `<column>|dtype` and the value as text. All other rules are left to the contract itself.
    Raises ContractError for a missing column, a wrong type, a naive time or an epoch number.
    """
    schema = TABLES[table]
    names = source_names(table, source)
    zone = zone_of(table, source)
    columns: list[pl.Series] = []
    rules: list[pl.Expr] = []
    offenders: list[pl.Expr] = []
    for name, dtype in pl.Schema(schema).items():
        given = _given(raw, table, name, names, source)
        read = _CASTS[dtype.base_type()](given, dtype, f"{table}.{name}", zone)
        columns.append(read.alias(name))
        broken = read.is_null() & given.is_not_null()
        if broken.any():
            rules.append(pl.when(broken).then(pl.lit(f"{name}|dtype")))
            offenders.append(pl.when(broken).then(given.cast(pl.String)))
    nothing = pl.lit(None, dtype=pl.String)
    return pl.DataFrame(columns).with_columns(
        pl.coalesce(*rules, nothing).alias(RULE), pl.coalesce(*offenders, nothing).alias(OFFENDER)
    )


def _given(raw: pl.DataFrame, table: str, name: str, names: dict[str, str], source: Source) -> pl.Series:
    if name == "clicked" and source.clicks_within is not None:
        if name in source.columns or name in source.values or name in raw.columns:
            raise ContractError(
                f"the source of {table} says itself what was clicked; take clicks_within out of sources.{table} to "
                "keep its labels, or leave the column out of the source to have them found among the events"
            )
        # Extraction fills it from the events.
        return pl.Series(name, [None], dtype=pl.Null).new_from_index(0, raw.height)
    if name in source.values:
        return pl.Series(name, [source.values[name]], dtype=pl.String).new_from_index(0, raw.height)
    if names[name] in raw.columns:
        return raw[names[name]]
    if name in source.columns or not (TABLES[table].columns()[name].nullable or name in _OPTIONAL):
        raise ContractError(
            f"the source of {table} has no column '{names[name]}' (it has {', '.join(raw.columns)}); "
            f"map it in sources.{table}.columns"
        )
    return pl.Series(name, [None], dtype=pl.Null).new_from_index(0, raw.height)


def _wrong(given: pl.Series, column: str, wanted: str) -> ContractError:
    return ContractError(f"{column}: column '{given.name}' of the source holds {given.dtype}, not {wanted}")


def _text(given: pl.Series, dtype: pl.DataType, column: str, zone: ZoneInfo | None) -> pl.Series:
    if given.dtype.is_float() and column.endswith("_id"):
        # Integers that met a null on their way through another tool; 7.0 and 7 must be one id.
        whole = given.cast(pl.Int64, strict=False)
        if not (whole == given).fill_null(True).all():
            raise _wrong(given, column, "text or integers")
        given = whole
    if given.dtype.is_nested() or given.dtype == pl.Binary:
        raise _wrong(given, column, "text")
    return given.cast(pl.String)


def _enum(given: pl.Series, dtype: pl.DataType, column: str, zone: ZoneInfo | None) -> pl.Series:
    if given.dtype not in (pl.String, pl.Null, pl.Categorical, pl.Enum):
        raise _wrong(given, column, "text")
    return given.cast(pl.String).cast(dtype, strict=False)


def _number(given: pl.Series, dtype: pl.DataType, column: str, zone: ZoneInfo | None) -> pl.Series:
    if not (given.dtype.is_numeric() or given.dtype in (pl.String, pl.Null, pl.Boolean)):
        raise _wrong(given, column, "numbers")
    return given.cast(dtype, strict=False)


def _list(given: pl.Series, dtype: pl.DataType, column: str, zone: ZoneInfo | None) -> pl.Series:
    """A list, or a text: a JSON array, or values between commas, semicolons or bars."""
    texts = _texts(given, column)
    if column.startswith("items."):
        named = texts.list.drop_nulls().list.eval(pl.element().filter(pl.element() != ""))
        return named.fill_null(pl.Series([[]], dtype=dtype))
    if dtype != pl.List(pl.Boolean):
        return texts
    # A label that says neither becomes a null in its list, which the contract refuses.
    return texts.list.eval(
        pl.element().str.to_lowercase().replace_strict(_FLAGS, default=None, return_dtype=pl.Boolean)
    )


def _texts(given: pl.Series, column: str) -> pl.Series:
    dtype = pl.List(pl.String)
    if given.dtype == pl.String:
        frame = given.str.strip_chars().alias("text").to_frame()
        array = pl.col("text").str.starts_with("[")
        split = pl.col("text").str.replace_all(_TAG_SEPARATORS, "|").str.split("|")
        try:
            listed = pl.when(array).then(pl.col("text")).str.json_decode(dtype)
            return frame.select(pl.when(array).then(listed).otherwise(split)).to_series()
        except pl.exceptions.ComputeError as error:
            raise ContractError(f"{column}: a text that starts with '[' is not a JSON array: {error}") from None
    if given.dtype == pl.Null:
        return given.cast(dtype)
    if not isinstance(given.dtype, pl.List):
        raise _wrong(given, column, "lists or text")
    return given.cast(dtype)


def _time(given: pl.Series, dtype: pl.DataType, column: str, zone: ZoneInfo | None) -> pl.Series:
    if given.dtype == pl.String:
        return _parsed_time(given, dtype, column, zone)
    if given.dtype == pl.Null:
        return given.cast(dtype)
    if given.dtype.is_numeric():
        raise _epoch(given, column)
    if given.dtype == pl.Date:
        given = given.cast(pl.Datetime("us"))
    if not isinstance(given.dtype, pl.Datetime):
        raise _wrong(given, column, "times")
    if given.dtype.time_zone is not None:
        return given.cast(pl.Datetime("us", given.dtype.time_zone)).dt.convert_time_zone("UTC")
    if zone is None:
        raise _naive(given, column)
    return _located(given.cast(pl.Datetime("us")), zone)


def _parsed_time(given: pl.Series, dtype: pl.DataType, column: str, zone: ZoneInfo | None) -> pl.Series:
    text = given.str.strip_chars()
    if text.str.contains(_EPOCH).any():
        raise _epoch(given.filter(text.str.contains(_EPOCH).fill_null(False)), column)
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
    if naive.any() and zone is None:
        raise _naive(given.filter(naive), column)
    offset = parts.select(
        minutes=pl.when(pl.col("zone").str.to_uppercase() == "Z")
        .then(0)
        .otherwise(
            pl.format("{}1", pl.col("zone").str.slice(0, 1)).cast(pl.Int64, strict=False)
            * (
                pl.col("zone").str.slice(1, 2).cast(pl.Int64, strict=False) * 60
                + pl.col("zone").str.slice(3).str.strip_prefix(":").cast(pl.Int64, strict=False).fill_null(0)
            )
        )
    ).select(pl.duration(minutes="minutes"))
    aware = local.dt.replace_time_zone("UTC") - offset.to_series()
    if zone is None:
        return aware
    return pl.select(pl.when(naive).then(_located(local, zone)).otherwise(aware)).to_series()


def _located(local: pl.Series, zone: ZoneInfo) -> pl.Series:
    """UTC times of naive ones. A time that the clocks showed twice is the first; one they never showed, null."""
    located = local.dt.replace_time_zone(zone.key, ambiguous="earliest", non_existent="null")
    return located.dt.convert_time_zone("UTC")


def _naive(given: pl.Series, column: str) -> ContractError:
    example = f" '{given.drop_nulls()[0]}'" if given.null_count() < len(given) else "s"
    section = f"sources.{column.partition('.')[0]}"
    return ContractError(
        f"{column}: naive time{example} in '{given.name}'; add an offset, or name the zone in {section}.time_zone"
    )


def _epoch(given: pl.Series, column: str) -> ContractError:
    example = f" such as {given.drop_nulls()[0]}" if given.null_count() < len(given) else ""
    return ContractError(
        f"{column}: column '{given.name}' of the source holds numbers{example}, not times; "
        "convert seconds since the epoch to a time with its zone in the source"
    )


_CASTS: dict[type[pl.DataType], Callable[[pl.Series, pl.DataType, str, ZoneInfo | None], pl.Series]] = {
    pl.String: _text,
    pl.Enum: _enum,
    pl.Float64: _number,
    pl.List: _list,
    pl.Datetime: _time,
}
