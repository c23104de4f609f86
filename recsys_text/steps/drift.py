"""What a window's data are like beside those that the served model has learned from. Knows the lake, no model."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from recsys_text.evaluation.drift import drift_of_kinds, drift_of_numbers
from recsys_text.event_types import POSITIVE_TYPES, EventType
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import Window
from recsys_text.tables import TABLES, is_positive

INPUT, NULLS, REJECTS = "input_psi", "null_rate", "reject_rate"


def drift(
    lake: Lake, window: Window, learned: Sequence[str], positive: Sequence[EventType] = POSITIVE_TYPES
) -> list[tuple[str, str, float]]:
    """INPUT of each kind of input: (metric, slice, value), against the windows with the keys `learned`.

    Slices: event_type; and of the clicks category, age_hours of the item (where it says when it was published),
    clicks_per_user in a window. A slice without values on one side is left out.
    """
    old, new = (_clicks(lake, keys, positive) for keys in (learned, [window.key]))
    found = {
        "event_type": drift_of_kinds(_kinds(lake, learned), _kinds(lake, [window.key])),
        "category": drift_of_kinds(*(_counts(frame["category"]) for frame in (old, new))),
        "age_hours": drift_of_numbers(*(frame["age_hours"].drop_nulls().to_numpy() for frame in (old, new))),
        "clicks_per_user": drift_of_numbers(
            *(frame.group_by("window", "user_id").len()["len"].to_numpy().astype(float) for frame in (old, new))
        ),
    }
    return [(INPUT, name, value) for name, value in found.items() if not np.isnan(value)]


def faults(lake: Lake, key: str) -> list[tuple[str, str, float]]:
    """NULLS of every column that may be null and REJECTS of every table and rule: (metric, slice, value) of a window.

    A table without rows says nothing.
    """
    found: list[tuple[str, str, float]] = []
    for table in ("items", "events", "impressions"):
        if key not in lake.keys(table):
            continue
        manifest = lake.manifest(table, key)
        rejected = manifest["rejected"]
        seen = manifest["rows"] + sum(rejected.values())
        if not seen:
            continue
        found.append((REJECTS, table, sum(rejected.values()) / seen))
        found += [(REJECTS, f"{table}: {rule}", count / seen) for rule, count in rejected.items()]
        if manifest["rows"]:
            frame = lake.read(table, [key])
            nullable = [name for name, column in TABLES[table].columns().items() if column.nullable]
            found += [(NULLS, f"{table}.{name}", frame[name].null_count() / len(frame)) for name in nullable]
    return found


def _kinds(lake: Lake, keys: Sequence[str]) -> dict[str, int]:
    return _counts(lake.read("events", keys, columns=["event_type"])["event_type"].cast(pl.String))


def _clicks(lake: Lake, keys: Sequence[str], positive: Sequence[EventType]) -> pl.DataFrame:
    columns = ("window", "user_id", "item_id", "occurred_at")
    clicks = lake.read("events", keys, where=is_positive(positive), columns=columns)
    items = lake.items([key for key in lake.keys("items") if not keys or key <= max(keys)])
    return clicks.join(items.select("item_id", "category", "published_at"), on="item_id", how="left").with_columns(
        ((pl.col("occurred_at") - pl.col("published_at")).dt.total_minutes() / 60).alias("age_hours")
    )


def _counts(kinds: pl.Series) -> dict[str, int]:
    return dict(kinds.drop_nulls().value_counts().iter_rows())
