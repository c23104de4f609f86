"""Turns a source's rows into a table's contract: names, constants, types. Knows no files, databases or windows."""

import difflib
import json

import polars as pl

from recsys_text.errors import ConfigError, ContractError
from recsys_text.sections import Source
from recsys_text.sources.loose import decoded, is_loose
from recsys_text.sources.read import Read, Target
from recsys_text.sources.texts import read_event_types, read_lists, read_numbers, read_texts
from recsys_text.sources.times import Span, read_times, zone_of
from recsys_text.tables import OFFENDER, RULE, TABLES

__all__ = ["Span", "columns_of", "source_names", "to_contract"]

#: What a source may leave out: nullable columns become null, tags an empty list, and `updated_at` the time at which an
#: item was published or first seen.
_OPTIONAL = {"tags", "updated_at"}
#: So much of a value is kept of a row that cannot be read.
_SHOWN = 500


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


def columns_of(table: str, source: Source) -> set[str]:
    """The source's columns to read: those of the contract; of a field such as `tags.name`, the column `tags` too."""
    names = source_names(table, source).values()
    return {part for name in names for part in (name, name.partition(".")[0])}


def to_contract(raw: pl.DataFrame, table: str, source: Source, *, there: list[str] | None = None) -> pl.DataFrame:
    """The contract's columns in the contract's types, and two more: `rule` and `offender`.

    A value that cannot be read as its type becomes null; its row then carries the rule
    `<column>|dtype` and the value as text. A reader's own `rule` and `offender`, of a row that it could not read, stay.
    All other rules are left to the contract itself. `there` names all columns that the source has, for errors.
    Raises ContractError for a missing column, a wrong type, a naive time or a number where a time should be.
    """
    names = source_names(table, source)
    zone = zone_of(f"sources.{table}.time_zone", source.time_zone)
    columns: list[pl.Series] = []
    rules: list[pl.Expr] = [pl.lit(raw[RULE])] if RULE in raw.columns and RULE not in names.values() else []
    offenders: list[pl.Expr] = [pl.lit(raw[OFFENDER])] if rules else []
    for name, column in TABLES[table].columns().items():
        target = Target(
            table=table,
            name=name,
            dtype=column.dtype,
            nullable=column.nullable,
            zone=zone,
            time_unit=source.time_unit,
        )
        given = _given(raw, target, names, source, there or raw.columns)
        given = _without_nulls(decoded(given) if given.dtype == pl.Binary else given, target, source)
        # A type is judged by values, of which a file without rows has none.
        read = _read(given, target, source) if raw.height else Read.whole(pl.Series(name, [], target.dtype))
        columns.append(read.values.alias(name))
        if read.broken.any():
            rules.append(pl.when(read.broken).then(pl.lit(f"{name}|dtype")))
            offenders.append(pl.when(read.broken).then(_written(given, read.broken)))
    nothing = pl.lit(None, dtype=pl.String)
    return pl.DataFrame(columns).with_columns(
        pl.coalesce(*rules, nothing).alias(RULE), pl.coalesce(*offenders, nothing).alias(OFFENDER)
    )


def _without_nulls(given: pl.Series, target: Target, source: Source) -> pl.Series:
    """The values without the texts that mean that there is none.

    An empty text does, but as a title: the contract asks for one, and an item may have its words elsewhere.
    """
    texts = given.struct.field("text") if is_loose(given) else given
    if texts.dtype != pl.String:
        return given
    nulls = [*(source.nulls or ()), *([""] if target.name != "title" else [])]
    empty = texts.is_in(nulls).fill_null(False)
    if not nulls or not empty.any():
        return given
    return pl.select(pl.when(~empty).then(given)).to_series().alias(given.name)


def _read(given: pl.Series, target: Target, source: Source) -> Read:
    match target.dtype:
        case pl.Enum() if target.name == "event_type":
            return read_event_types(given, target, dict(source.event_types))
        case pl.Enum():
            return read_event_types(given, target, {})
        case pl.Float64():
            return read_numbers(given, target)
        case pl.List():
            return read_lists(given, target)
        case pl.Datetime():
            return read_times(given, target)
        case _:
            return read_texts(given, target)


def _given(raw: pl.DataFrame, target: Target, names: dict[str, str], source: Source, there: list[str]) -> pl.Series:
    table, name = target.table, target.name
    if name == "clicked" and source.clicks_within is not None:
        if name in source.columns or name in source.values or name in raw.columns:
            raise ContractError(
                f"the source of {table} says itself what was clicked; take clicks_within out of sources.{table} to "
                "keep its labels, or leave the column out of the source to have them found among the events"
            )
        # Extraction fills it from the events.
        return _nothing(name, raw.height)
    if name in source.values:
        return pl.Series(name, [source.values[name]], dtype=pl.String).new_from_index(0, raw.height)
    wanted = names[name]
    if wanted in raw.columns:
        return raw[wanted]
    root, _, field = wanted.partition(".")
    if field and root in raw.columns:
        return _field(raw[root], field, target)
    if name in source.columns or not (target.nullable or name in _OPTIONAL):
        near = difflib.get_close_matches(wanted, there, n=1, cutoff=0.6)
        hint = f"; perhaps '{near[0]}' is meant" if near else ""
        raise ContractError(
            f"the source of {table} has no column '{wanted}' (it has {', '.join(there)}){hint}; "
            f"map it in sources.{table}.columns"
        )
    return _nothing(name, raw.height)


def _field(column: pl.Series, field: str, target: Target) -> pl.Series:
    """The named field of a struct, or of each struct in a list. Raises ContractError where there is no such field."""
    name = f"{column.name}.{field}"
    if is_loose(column):
        texts = column.struct.field("text")
        inner = texts.str.json_path_match(f"$.{field}")
        many = texts.str.starts_with("[").fill_null(False)
        if many.any():
            listed = pl.Series([_fields(text, field) if mark else None for text, mark in zip(texts, many, strict=True)])
            inner = pl.select(pl.when(many).then(listed).otherwise(inner)).to_series()
        return inner.alias(name)
    dtype = column.dtype
    inner_type = dtype.inner if isinstance(dtype, pl.List) else dtype
    fields = [each.name for each in inner_type.fields] if isinstance(inner_type, pl.Struct) else []
    if field not in fields:
        raise ContractError(
            f"{target.column}: column '{column.name}' of the source holds {dtype}, which has no field '{field}'"
        )
    if isinstance(dtype, pl.List):
        return column.list.eval(pl.element().struct.field(field)).alias(name)
    return column.struct.field(field).alias(name)


def _fields(text: str, field: str) -> str | None:
    """The JSON array of a field's values of the objects in a JSON array."""
    return json.dumps([entry.get(field) if isinstance(entry, dict) else None for entry in json.loads(text)])


def _nothing(name: str, height: int) -> pl.Series:
    return pl.Series(name, [None], dtype=pl.Null).new_from_index(0, height)


def _written(given: pl.Series, broken: pl.Series) -> pl.Series:
    """The broken values as text, for a person to find them."""
    if is_loose(given):
        return given.struct.field("text").str.slice(0, _SHOWN)
    if given.dtype == pl.String:
        return given.str.slice(0, _SHOWN)
    values = [repr(value)[:_SHOWN] if mark else None for value, mark in zip(given.to_list(), broken, strict=True)]
    return pl.Series(values, dtype=pl.String)
