"""Frames as the lake gives them, for rules to look at."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

START = datetime(2024, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
_TIME = pl.Datetime("us", "UTC")


def events(rows: Iterable[tuple[str, str, float]], kind: str = "click") -> pl.DataFrame:
    """user, item, hours since START."""
    found = [(user, item, kind, START + hours * HOUR) for user, item, hours in rows]
    schema = {"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "occurred_at": _TIME}
    frame = pl.DataFrame(found, schema=schema, orient="row")
    return frame.with_columns(window=pl.col("occurred_at").dt.strftime("%Y-%m-%d"))


def items(titles: Sequence[str], **columns: list[float | None]) -> pl.DataFrame:
    """Items i0, i1, ... with these titles; columns of times as hours since START."""
    times = {"published_at": None, "expires_at": None, "updated_at": [0.0] * len(titles)} | columns
    given = {
        name: [None if hours is None else START + hours * HOUR for hours in values or [None] * len(titles)]
        for name, values in times.items()
    }
    frame = pl.DataFrame({"item_id": [f"i{number}" for number in range(len(titles))], "title": titles} | given)
    frame = frame.with_columns(pl.col(name).cast(_TIME) for name in times)
    return frame.with_columns(known_at=pl.col("published_at").fill_null(START))


def impressions(rows: Iterable[tuple[str, str, float, dict[str, bool]]]) -> pl.DataFrame:
    """id, user, hours since START, whether each candidate was clicked."""
    found: list[tuple[Any, ...]] = [
        (key, user, START + hours * HOUR, list(labels), list(labels.values())) for key, user, hours, labels in rows
    ]
    schema = {
        "impression_id": pl.String,
        "user_id": pl.String,
        "shown_at": _TIME,
        "candidates": pl.List(pl.String),
        "clicked": pl.List(pl.Boolean),
    }
    return pl.DataFrame(found, schema=schema, orient="row")


def honest(users: int = 40, each: int = 8, hours: float = 48, seed: int = 5) -> pl.DataFrame:
    """Clicks of users at any time on any of 50 items."""
    random = np.random.default_rng(seed)
    return events(
        (f"u{user}", f"i{random.integers(50)}", float(random.uniform(0, hours)))
        for user in range(users)
        for _ in range(each)
    )
