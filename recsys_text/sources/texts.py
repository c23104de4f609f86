"""Read foreign texts, ids, types of events, numbers and lists. Knows no times and no files."""

import ast
import csv
import difflib
import io
import json
import tokenize
from typing import Any

import polars as pl
from polars.datatypes import DataTypeClass

from recsys_text.errors import ContractError
from recsys_text.sources.loose import (
    BOOLEAN,
    EXACT,
    INEXACT,
    NESTED,
    UNREADABLE,
    is_loose,
    loose_series,
)
from recsys_text.sources.read import Read, Target, wrong_type

_PLAIN = (str, int, float, list, dict, type(None))
#: Texts that say true or false, as pandas, JSON, spreadsheets and counters write it, in lower case.
FLAGS = {"1": True, "true": True, "0": False, "false": False}
_TAG_SEPARATORS = r"\s*[|;,]\s*"
#: Tokens of Python that are an entry of a list.
_ENTRIES = (tokenize.STRING, tokenize.NUMBER, tokenize.NAME)
_WHOLE = r"^(-?\d+)\.0+$"
#: How a list that is written out begins, as far as it is no text such as "(no genres listed)" or "[Live] Album".
_BRACKETED = r"(?s)^\s*(?:\{|\[.*\]\s*$|\[\s*(?:[\"']|[+-]?[\d.]+[\s,]|$)|\(\s*(?:[\"')]|[+-]?[\d.]+\s*,|$))"


def read_texts(given: pl.Series, target: Target) -> Read:
    """The values as texts. 7, 7.0 and 7.000 are the text '7', whatever their type was, and as ids also the text '7.0'.

    Raises ContractError for a column of nested values, or of ids that its type cannot hold.
    """
    is_id = target.name.endswith("_id")
    if is_loose(given):
        parts = given.struct.unnest()
        unfit = [NESTED, UNREADABLE, *([BOOLEAN, INEXACT] if is_id else [])]
        broken = parts["kind"].is_in(unfit).fill_null(False)
        return Read(_ids(parts["text"].set(broken, None), is_id=is_id), broken)
    if given.dtype.is_float():
        return Read.whole(_whole_floats(given.cast(pl.Float64), target, is_id=is_id))
    if given.dtype.is_decimal():
        text = given.cast(pl.String)
        return Read.whole(
            pl.select(
                pl.when(text.str.contains(".", literal=True))
                .then(text.str.strip_chars_end("0").str.strip_chars_end("."))
                .otherwise(text)
            ).to_series()
        )
    if given.dtype.is_nested() or given.dtype == pl.Object or (given.dtype == pl.Boolean and is_id):
        raise ContractError(f"{wrong_type(given, target, 'text')}{_field_hint(given.name, given.dtype, target)}")
    return Read.whole(_ids(given.cast(pl.String), is_id=is_id))


def _field_hint(column: str, dtype: pl.DataType | DataTypeClass, target: Target) -> str:
    """How to name one field of nested values, where they have names."""
    if not isinstance(dtype, pl.Struct):
        return ""
    near = difflib.get_close_matches("name", [field.name for field in dtype.fields], n=1, cutoff=0.0)[0]
    return (
        f'; name the field that is meant, such as {target.name} = "{column}.{near}" in sources.{target.table}.columns'
    )


def _ids(texts: pl.Series, *, is_id: bool) -> pl.Series:
    """Texts of ids without blanks around them, and without the `.0` that a tool wrote behind whole numbers.

    Pandas does that where some are missing. What is blank is no id.
    """
    if not is_id:
        return texts
    bare = texts.str.strip_chars()
    return bare.set((bare == "").fill_null(False), None).str.replace(_WHOLE, "$1")


def _whole_floats(given: pl.Series, target: Target, *, is_id: bool) -> pl.Series:
    """Whole floats as integers; of ids all must be, and small enough for a float to hold each."""
    known = given.fill_nan(None)
    whole = (known == known.round()) & (known.abs() < EXACT)
    if is_id and not whole.fill_null(True).all():
        value = known.filter(~whole.fill_null(True))[0]
        why = "is no whole number" if abs(value) < EXACT else "is beyond 2^53, where floats no longer tell ids apart"
        raise ContractError(
            f"{target.column}: column '{given.name}' of the source holds {given.dtype}, and {value} {why}; "
            "write the ids as text or integers"
        )
    # A text that became a float on its way says the same as the integer that it was.
    return pl.select(
        pl.when(whole).then(known.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(known.cast(pl.String))
    ).to_series()


def read_event_types(given: pl.Series, target: Target, renamed: dict[str, str]) -> Read:
    """The values as types of the contract, by the names that the source gives them or their own."""
    text = read_texts(given, target)
    bare = text.values.str.strip_chars()
    named = bare.replace([name.strip() for name in renamed], list(renamed.values())) if renamed else bare
    values = named.cast(target.dtype, strict=False)
    return Read(values, text.broken | (named.is_not_null() & values.is_null()))


def read_numbers(given: pl.Series, target: Target) -> Read:
    """The values as floats; NaN is none, and infinity is no number."""
    if is_loose(given):
        parts = given.struct.unnest()
        given = parts["text"].set(parts["kind"].is_in([NESTED, UNREADABLE]).fill_null(False), "?")
        given = given.replace({"true": "1", "false": "0"})
    if not (given.dtype.is_numeric() or given.dtype in (pl.String, pl.Null, pl.Boolean)):
        raise wrong_type(given, target, "numbers")
    text = given.str.strip_chars() if given.dtype == pl.String else given
    numbers = text.cast(pl.Float64, strict=False)
    values = numbers.fill_nan(None).set(numbers.is_infinite().fill_null(False), None)
    return Read(values, given.is_not_null() & values.is_null() & ~numbers.is_nan().fill_null(False))


def read_lists(given: pl.Series, target: Target) -> Read:
    """The values as lists: a list, the text of one (JSON, Python or PostgreSQL), or values between , ; or |.

    Raises ContractError for lists of nested values.
    """
    texts = _texts(given, target)
    if target.table == "items":
        named = texts.values.list.drop_nulls().list.eval(pl.element().filter(pl.element() != ""))
        return Read(named.fill_null(pl.Series([[]], dtype=target.dtype)), texts.broken)
    if target.dtype != pl.List(pl.Boolean):
        return Read(texts.values.list.eval(pl.element().str.strip_chars().str.replace(_WHOLE, "$1")), texts.broken)
    # A label that says neither becomes a null in its list, which the contract refuses.
    flags = texts.values.list.eval(
        pl.element().str.to_lowercase().replace_strict(FLAGS, default=None, return_dtype=pl.Boolean)
    )
    return Read(flags, texts.broken)


def _texts(given: pl.Series, target: Target) -> Read:
    if is_loose(given):
        parts = given.struct.unnest()
        broken = parts["kind"].is_in([UNREADABLE]).fill_null(False)
        read = _listed(parts["text"].set(broken, None).alias(given.name))
        return Read(read.values, read.broken | broken)
    if given.dtype == pl.String:
        return _listed(given)
    if given.dtype == pl.Null:
        return Read.whole(given.cast(pl.List(pl.String)))
    if isinstance(given.dtype, pl.Array):
        given = given.arr.to_list()
    if not isinstance(given.dtype, pl.List):
        raise wrong_type(given, target, "lists or text")
    inner = given.dtype.inner
    if inner.is_nested():
        hint = _field_hint(given.name, inner, target)
        raise ContractError(f"{wrong_type(given, target, 'lists of text')}{hint}")
    # The entries are read as any id or text is: 7.0 in a list of floats is the item '7'.
    lengths = given.list.len()
    flat = given.explode(empty_as_null=True) if len(given) else pl.Series(given.name, [], inner)
    entry = Target(table=target.table, name="item_id" if target.table != "items" else "title", dtype=pl.String())
    entries = read_texts(flat.cast(pl.Int8) if inner == pl.Boolean else flat, entry)
    rows = pl.Series("row", range(len(given)), pl.UInt32)
    repeats = lengths.fill_null(1).clip(lower_bound=1)
    grouped = (
        pl.DataFrame({"row": rows, "times": repeats})
        .select(pl.col("row").repeat_by("times").explode())
        .with_columns(entries.values.alias("text"), entries.broken.alias("broken"))
        .group_by("row", maintain_order=True)
        .agg("text", pl.col("broken").any())
    )
    empty = lengths == 0
    values = pl.select(
        pl.when(given.is_null())
        .then(pl.lit(None, pl.List(pl.String)))
        .when(empty)
        .then(pl.lit([], pl.List(pl.String)))
        .otherwise(grouped["text"])
    ).to_series()
    return Read(values.set(grouped["broken"], None) if grouped["broken"].any() else values, grouped["broken"])


def _listed(given: pl.Series) -> Read:
    frame = given.str.strip_chars().alias("text").to_frame()
    values = frame.select(pl.col("text").str.replace_all(_TAG_SEPARATORS, "|").str.split("|")).to_series()
    bracketed = frame["text"].str.contains(_BRACKETED).fill_null(False)
    if not bracketed.any():
        return Read.whole(values)
    try:
        if not frame["text"].str.starts_with("[").set(~bracketed, True).all():
            raise pl.exceptions.ComputeError("not all of them are arrays")
        decoded = frame.select(pl.when(bracketed).then(pl.col("text")).str.json_decode(pl.List(pl.String))).to_series()
        broken = bracketed & decoded.is_null()
    except pl.exceptions.ComputeError:
        # One of them is no JSON array of texts: each is read for itself.
        entries = [_entries(text) if mark else None for text, mark in zip(frame["text"], bracketed, strict=True)]
        decoded = pl.Series(entries, dtype=pl.List(pl.String))
        broken = bracketed & decoded.is_null()
    return Read(pl.select(pl.when(bracketed).then(decoded).otherwise(values)).to_series(), broken)


def _entries(text: str) -> list[str | None] | None:
    """The entries of a list written out as JSON, Python or PostgreSQL does; None where it is none of texts."""
    listed = _parsed(text)
    if listed is None and text.startswith("{") and text.endswith("}"):
        listed = _postgresql_array(text)
    if listed == {}:
        return []  # the array of PostgreSQL, and the object of JSON, that holds nothing
    if not isinstance(listed, list | tuple) or any(not isinstance(entry, _PLAIN) for entry in listed):
        return None  # such as the dots that stand for what NumPy left out
    told = loose_series("entry", listed)
    if not is_loose(told):
        return told.to_list()
    parts = told.struct.unnest()
    return None if parts["kind"].is_in([NESTED, UNREADABLE]).any() else parts["text"].to_list()


def _postgresql_array(text: str) -> list[str | None]:
    """The entries of {a,"b c",NULL}."""
    rows = csv.reader([text[1:-1]], escapechar="\\", doublequote=False, skipinitialspace=True)
    return [None if entry == "NULL" else entry for entry in next(rows, [])]


def _parsed(text: str) -> Any:
    """The value that a text writes out, as JSON or as Python does; None for neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(_with_commas(text))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError, tokenize.TokenError):
        return None


def _with_commas(text: str) -> str:
    """The text of a Python value in which entries stand apart; NumPy writes ['a' 'b'], which Python reads as ['ab']."""
    parts: list[str] = []
    before = tokenize.OP
    for token in tokenize.generate_tokens(io.StringIO(text.strip()).readline):
        if token.type in _ENTRIES and before in _ENTRIES:
            parts.append(",")
        if token.type in (*_ENTRIES, tokenize.OP):
            parts.append(token.string)
            before = token.type
    return " ".join(parts)
