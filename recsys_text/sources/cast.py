"""Turns a source's rows into a table's contract: names, constants, types. Knows no files, databases or windows."""

import difflib
import json
from collections.abc import Collection
from datetime import date
from typing import Any

import polars as pl

from recsys_text.errors import ConfigError, ContractError
from recsys_text.sections import Source
from recsys_text.sources.loose import NESTED, TEXT, decoded, is_loose, loose_series
from recsys_text.sources.read import ROW_OFFENDER, ROW_RULE, Read, Target
from recsys_text.sources.texts import read_event_types, read_lists, read_numbers, read_texts
from recsys_text.sources.times import Span, read_times, zone_of
from recsys_text.tables import OFFENDER, RULE, TABLES

__all__ = ["Span", "columns_of", "may_lack", "source_names", "to_contract"]

#: What a source may leave out: nullable columns become null, tags an empty list, and `updated_at` the time at which an
#: item was published or first seen.
_OPTIONAL = {"tags", "updated_at"}
#: So much of a value is kept of a row that cannot be read.
_SHOWN = 500


def source_names(table: str, source: Source) -> dict[str, str]:
    """Lake name -> the source's name of every contract column that comes from the source.

    A column that the config maps to "" does not. Raises ConfigError where the config names a column that the contract
    has not, or leaves out one that it needs.
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
    for name in source.left_out():
        found_later = name == "clicked" and source.clicks_within is not None
        if not (found_later or may_lack(table, name)):
            raise ConfigError(
                f'sources.{table}.columns: {name} = "" leaves out a column that {table} need; name the source\'s own '
                f"or write a constant in sources.{table}.values"
            )
    given = {name: source.columns.get(name, name) for name in contract if name not in source.values}
    return {name: own for name, own in given.items() if own}


def may_lack(table: str, name: str) -> bool:
    """Whether a source of the table may have no such column."""
    return TABLES[table].columns()[name].nullable or name in _OPTIONAL


def columns_of(table: str, source: Source) -> set[str]:
    """The source's columns to read: those of the contract; of a field such as `tags.name`, the column `tags` too."""
    names = source_names(table, source).values()
    return {part for name in names for part in (name, name.partition(".")[0])}


def to_contract(
    raw: pl.DataFrame, table: str, source: Source, *, there: list[str] | None = None, sparse: bool = False
) -> pl.DataFrame:
    """The contract's columns in the contract's types, and two more: `rule` and `offender`.

    A value that cannot be read as its type becomes null; its row then carries the rule
    `<column>|dtype` and the value as text, or what a reader says of a row that it could not read.
    All other rules are left to the contract itself. `there` names all columns that the source has, for errors. Of a
    `sparse` source other rows may have the columns that are missing here, unless every row must have them.
    Raises ContractError for a missing column, a wrong type, a naive time or a number where a time should be.
    """
    names = source_names(table, source)
    zone = zone_of(f"sources.{table}.time_zone", source.time_zone)
    columns: list[pl.Series] = []
    rules: list[pl.Expr] = [pl.lit(raw[ROW_RULE])] if ROW_RULE in raw.columns else []
    offenders: list[pl.Expr] = [pl.lit(raw[ROW_OFFENDER])] if rules else []
    for name, column in TABLES[table].columns().items():
        target = Target(
            table=table,
            name=name,
            dtype=column.dtype,
            nullable=column.nullable,
            zone=zone,
            time_unit=source.time_unit,
        )
        given = _given(raw, target, names, source, there or raw.columns, sparse=sparse)
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


def _given(
    raw: pl.DataFrame, target: Target, names: dict[str, str], source: Source, there: list[str], *, sparse: bool
) -> pl.Series:
    table, name = target.table, target.name
    if name == "clicked" and source.clicks_within is not None:
        if name in source.values or (name in names and (name in source.columns or name in raw.columns)):
            raise ContractError(
                f"the source of {table} says itself what was clicked; take clicks_within out of sources.{table} to "
                "keep its labels, or leave the column out of the source to have them found among the events"
            )
        # Extraction fills it from the events.
        return _nothing(name, raw.height)
    if name in source.values:
        return pl.Series(name, [source.values[name]], dtype=pl.String).new_from_index(0, raw.height)
    if name not in names:
        return _nothing(name, raw.height)
    wanted = names[name]
    if wanted in raw.columns:
        return raw[wanted]
    root, _, field = wanted.partition(".")
    if field and root in raw.columns:
        return _field(raw[root], field, target)
    # What changed says when; only a snapshot may leave it open.
    optional = may_lack(table, name) and not (name == "updated_at" and source.feed == "changes")
    if (name in source.columns and not sparse) or not optional:
        raise no_column(table, wanted, there)
    return _nothing(name, raw.height)


def no_column(table: str, wanted: str, there: Collection[str]) -> ContractError:
    """The fault of a source without a column that its config names or its table needs."""
    near = difflib.get_close_matches(wanted, there, n=1, cutoff=0.6)
    hint = f"; perhaps '{near[0]}' is meant" if near else ""
    return ContractError(
        f"the source of {table} has no column '{wanted}' (it has {', '.join(there)}){hint}; "
        f"map it in sources.{table}.columns"
    )


def _field(column: pl.Series, field: str, target: Target) -> pl.Series:
    """The named field of a struct, or of each struct in a list; `a.b` is the field b of the field a.

    Raises ContractError where there is no such field.
    """
    if column.null_count() == len(column):
        return _nothing(f"{column.name}.{field}", len(column))
    if is_loose(column):
        return _loose_field(column, field.split("."))
    field, _, rest = field.partition(".")
    inner = _typed_field(column, field, target)
    return _field(inner, rest, target) if rest else inner


def _typed_field(column: pl.Series, field: str, target: Target) -> pl.Series:
    name, dtype = f"{column.name}.{field}", column.dtype
    inner_type = dtype.inner if isinstance(dtype, pl.List) else dtype
    fields = [each.name for each in inner_type.fields] if isinstance(inner_type, pl.Struct) else []
    if field not in fields:
        raise ContractError(
            f"{target.column}: column '{column.name}' of the source holds {dtype}, which has no field '{field}'"
        )
    if isinstance(dtype, pl.List):
        return column.list.eval(pl.element().struct.field(field)).alias(name)
    return column.struct.field(field).alias(name)


def _loose_field(column: pl.Series, path: list[str]) -> pl.Series:
    """The field of each object, with the type that it has there; a value that is no object stays, as nested."""
    parts = column.struct.unnest()
    nested = (parts["kind"] == NESTED).fill_null(False)
    found = loose_series(
        ".".join([column.name, *path]),
        [_at(json.loads(text), path) if mark else None for text, mark in zip(parts["text"], nested, strict=True)],
    )
    plain = parts["text"].is_not_null() & ~nested
    if not plain.any():
        return found
    if not is_loose(found):
        kinds = pl.select(pl.when(found.is_not_null()).then(pl.lit(TEXT))).to_series()
        found = _loose(found.name, found, kinds)
    told = _loose(found.name, parts["text"], pl.Series("kind", [NESTED]).new_from_index(0, len(column)))
    return pl.select(pl.when(plain).then(told).otherwise(found)).to_series().alias(found.name)


def _loose(name: str, texts: pl.Series, kinds: pl.Series) -> pl.Series:
    whole = pl.DataFrame({"text": texts, "kind": kinds}).to_struct(name)
    return pl.select(pl.when(texts.is_not_null()).then(whole)).to_series().alias(name)


def _at(value: Any, path: list[str]) -> Any:
    """What lies there in nested objects; of a list, what lies there in each entry; None where nothing does."""
    for place, name in enumerate(path):
        if isinstance(value, list):
            return [_at(entry, path[place:]) for entry in value]
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _nothing(name: str, height: int) -> pl.Series:
    return pl.Series(name, [None], dtype=pl.Null).new_from_index(0, height)


def _written(given: pl.Series, broken: pl.Series) -> pl.Series:
    """The broken values as text, for a person to find them."""
    if is_loose(given):
        return given.struct.field("text").str.slice(0, _SHOWN)
    if given.dtype == pl.String:
        return given.str.slice(0, _SHOWN)
    try:
        values = iter(given.filter(broken).to_list())
    except (ValueError, OverflowError):  # a time that Python has no date for
        values = iter(given.filter(broken).to_physical().to_list())
    texts = (str(value) if isinstance(value, date) else repr(value) for value in values)
    return pl.Series([next(texts)[:_SHOWN] if mark else None for mark in broken], dtype=pl.String)
