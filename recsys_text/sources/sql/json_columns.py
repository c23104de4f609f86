"""Reads columns of JSON as what they hold: lists as lists, plain values as text. Knows no database."""

import json
from collections.abc import Collection
from typing import Any

import polars as pl

from recsys_text.errors import ContractError


def read_json(frame: pl.DataFrame, columns: Collection[str]) -> pl.DataFrame:
    """The frame with the texts of these columns read as JSON. Raises ContractError for an object among them."""
    return frame.with_columns(_read(frame[name]) for name in columns)


def _read(texts: pl.Series) -> pl.Series:
    values = [None if text is None else json.loads(text) for text in texts]
    if any(isinstance(value, list) for value in values):
        listed = [value if value is None or isinstance(value, list) else [value] for value in values]
        plain: list[Any] = [value and [_plain(part, texts.name) for part in value] for value in listed]
        return pl.Series(texts.name, plain, dtype=pl.List(pl.String))
    return pl.Series(texts.name, [_plain(value, texts.name) for value in values], dtype=pl.String)


def _plain(value: Any, column: str) -> str | None:
    if isinstance(value, (dict, list)):
        shown = json.dumps(value, ensure_ascii=False)
        raise ContractError(
            f"column '{column}' of the query holds nested JSON such as {shown[:80]}; name the field in the query"
        )
    return value if value is None or isinstance(value, str) else json.dumps(value)
