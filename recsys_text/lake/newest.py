"""The newest version of each item among several windows, and when snapshots lacked it. Knows no files."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

import polars as pl

from recsys_text.tables import TABLES

_INSTANT = pl.Datetime("us", "UTC")
_SPAN = pl.Struct({"start": _INSTANT, "end": _INSTANT})


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A window among those that are looked at: its place, its start, and how many of the first rows it shows."""

    place: int
    start: datetime
    rows: int


@dataclass(frozen=True, kw_only=True)
class Versions:
    """Rows of the items' contract and the windows that show them, oldest first.

    A snapshot holds all items there were, sorted by when they are first shown; its `updated_at` may be null. The
    windows of changes stand alone.
    """

    frame: pl.LazyFrame
    seen: list[Seen]
    snapshot: bool


def newest_items(versions: Sequence[Versions], grace: int) -> pl.DataFrame:
    """One row per item_id, sorted by it: the contract's columns, `known_at` and `absent` (see `Lake.items`)."""
    contract = pl.Schema(TABLES["items"])
    nothing = pl.DataFrame(schema={**contract, "known_at": _INSTANT, "absent": pl.List(_SPAN)})
    if not versions:
        return nothing
    # Narrow columns decide first, so that only windows with a newest version are read whole.
    narrow = pl.concat(_narrow(source, one) for source, one in enumerate(versions)).collect()
    picked = (
        narrow.filter("shown")
        .sort("as_of", "place")
        .group_by("item_id")
        .agg(pl.col("source").last(), pl.col("first").min())
    )
    if picked.is_empty():
        return nothing
    rows = pl.concat(
        versions[source].frame.select(*contract).join(chosen.lazy(), on="item_id")
        for (source,), chosen in picked.partition_by("source", as_dict=True, include_key=False).items()
    )
    found: pl.DataFrame = rows.collect().with_columns(known_at=pl.coalesce("published_at", "first"))
    found = found.with_columns(pl.coalesce("updated_at", "known_at").alias("updated_at"))
    absent = _absent(narrow.select("item_id", "source"), versions, grace)
    return found.join(absent, on="item_id", how="left").sort("item_id").select(*contract, "known_at", "absent")


def _narrow(source: int, versions: Versions) -> pl.LazyFrame:
    """item_id, when the version is as of, the place of its last window, and the first window that shows it."""
    last = versions.seen[-1]
    rows = pl.Series([seen.rows for seen in versions.seen])
    starts = pl.Series([seen.start for seen in versions.seen], dtype=_INSTANT)
    # Row r is shown by the first window that shows more than r rows; windows that end later show no fewer.
    number = pl.int_range(pl.len())
    first = number.map_batches(
        lambda numbers: starts.gather(rows.search_sorted(numbers, side="right").clip(0, len(rows) - 1)),
        return_dtype=_INSTANT,
    )
    as_of = pl.lit(last.start, _INSTANT) if versions.snapshot else pl.col("updated_at")
    return versions.frame.select(
        "item_id",
        as_of.alias("as_of"),
        pl.lit(last.place).alias("place"),
        pl.lit(source).alias("source"),
        first.alias("first") if versions.snapshot else pl.lit(last.start, _INSTANT).alias("first"),
        (number < last.rows).alias("shown") if versions.snapshot else pl.lit(True).alias("shown"),
    )


def _absent(present: pl.DataFrame, versions: Sequence[Versions], grace: int) -> pl.DataFrame:
    """item_id and the spans in which more than `grace` snapshots in a row lacked an item that had been there.

    present: item_id and the number of the versions that have it.
    """
    places = [(seen.place, seen.start, source) for source, one in enumerate(versions) for seen in one.seen]
    # Windows in a row that show one snapshot are one run, however many they are.
    runs = [
        (source, windows[0][0], windows[0][1], windows[-1][0])
        for source, group in groupby(sorted(places), key=lambda each: each[2])
        for windows in [list(group)]
    ]
    snapshots = [(place, start) for place, start, source in sorted(places) if versions[source].snapshot]
    if not snapshots:
        return pl.DataFrame(schema={"item_id": pl.String, "absent": pl.List(_SPAN)})
    run = pl.DataFrame(
        runs, schema={"source": pl.Int32, "from": pl.Int64, "back": _INSTANT, "to": pl.Int64}, orient="row"
    )
    at = pl.Series([place for place, _ in snapshots])
    starts = pl.Series([start for _, start in snapshots], dtype=_INSTANT)
    # A snapshot that lacks the item, after so many that may.
    lacking = at.search_sorted(run["to"], side="right") + grace
    run = run.with_columns(
        missed=pl.Series(lacking).map_elements(lambda n: at[n] if n < len(at) else None, return_dtype=pl.Int64),
        gone=pl.Series(lacking).map_elements(lambda n: starts[n] if n < len(at) else None, return_dtype=_INSTANT),
    )
    spans = (
        present.join(run, on="source")
        .sort("item_id", "from")
        .with_columns(again=pl.col("from").shift(-1).over("item_id"), end=pl.col("back").shift(-1).over("item_id"))
        .filter(pl.col("missed") < pl.col("again").fill_null(len(places) + at[-1] + 1))
    )
    return spans.group_by("item_id", maintain_order=True).agg(absent=pl.struct(pl.col("gone").alias("start"), "end"))
