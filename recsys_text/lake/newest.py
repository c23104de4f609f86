"""The newest version of each item among several windows. Knows no files."""

from collections.abc import Callable, Sequence

import polars as pl

from recsys_text.lake.windows import parse_time, window_key
from recsys_text.tables import TABLES

_INSTANT = pl.Datetime("us", "UTC")


def newest_items(scan: Callable[[Sequence[str]], pl.LazyFrame], keys: Sequence[str]) -> pl.DataFrame:
    """One row per item_id, sorted by it, of the items that `scan` gives with their `window` for some of the keys.

    Of equally new versions it is that of the last window. `known_at` is when the item was published or,
    if nobody says, the start of the first of the windows that brought it.
    """
    starts = pl.Series([parse_time(window_key(key)) for key in keys], dtype=_INSTANT)
    start = pl.col("window").replace_strict(pl.Series(keys, dtype=pl.String), starts, return_dtype=_INSTANT)
    # Narrow columns decide first, so that only windows with a newest version are read whole.
    picked = (
        scan(keys)
        .select("item_id", "updated_at", "window", start=start)
        .sort("updated_at", "start")
        .group_by("item_id")
        .agg(pl.col("window").last(), first=pl.col("start").min())
        .collect()
    )
    rows = scan(sorted(picked["window"].unique())).join(picked.lazy(), on=["item_id", "window"])
    return (
        rows.collect()
        .sort("item_id")
        .select(*pl.Schema(TABLES["items"]), known_at=pl.coalesce("published_at", "first"))
    )
