"""Reads columns of JSON as JSON lines are read: each value by its own type. Knows no database."""

import json
from collections.abc import Collection

import polars as pl

from recsys_text.sources.loose import LOOSE, TEXT, is_loose, loose_series


def read_json(frame: pl.DataFrame, columns: Collection[str]) -> pl.DataFrame:
    """The frame with the texts of these columns read as JSON, of which each value has a type of its own."""
    return frame.with_columns(_read(frame[name]) for name in columns)


def _read(texts: pl.Series) -> pl.Series:
    read = loose_series(texts.name, [None if text is None else json.loads(text) for text in texts])
    if is_loose(read):
        return read
    # Texts alone, or nothing: other batches may hold objects, whose fields are looked for in every batch.
    told = [None if text is None else {"text": text, "kind": TEXT} for text in read]
    return pl.Series(texts.name, told, LOOSE)
