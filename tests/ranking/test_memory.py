"""What a log of clicks and its indexes take, as tracemalloc sees it: the arrays of numpy, not those of polars."""

import tracemalloc
from functools import cached_property

import numpy as np
import polars as pl

from recsys_text.ranking.log import Log, build_log
from tests.ranking.test_features import TIME, at

CLICKS, USERS, ITEMS = 400_000, 20_000, 4_000
KEPT, PEAK = 90, 120


def log_of_clicks() -> Log:
    """With categories, and users and items as many to a click as in a log of 4 million."""
    rng = np.random.default_rng(7)
    times = np.sort(rng.integers(0, 10**13, CLICKS))
    items = pl.DataFrame({"item_id": [f"i{item:07d}" for item in range(ITEMS)]}).with_columns(
        pl.lit(at(0)).cast(TIME).alias("known_at"),
        *(pl.lit(None, TIME).alias(name) for name in ("published_at", "expires_at")),
        category=pl.format("c{}", pl.int_range(pl.len()) % 50),
    )
    events = pl.DataFrame(
        {
            "user_id": rng.integers(0, USERS, CLICKS),
            "item_id": np.minimum(rng.zipf(1.3, CLICKS), ITEMS) - 1,
            "event_type": "click",
            "occurred_at": times,
        }
    )
    return build_log(
        items,
        events.with_columns(
            pl.format("u{}", "user_id").alias("user_id"),
            pl.format("i{}", pl.col("item_id").cast(pl.String).str.zfill(7)).alias("item_id"),
            pl.col("occurred_at").cast(TIME),
        ),
    )


def test_a_log_and_all_its_indexes_take_few_bytes_a_click() -> None:
    log = log_of_clicks()
    own = sum(array.nbytes for array in (log.user, log.item, log.time, log.positive, log.disliked, log.value))
    names = [name for name, made in vars(Log).items() if isinstance(made, cached_property)]
    tracemalloc.start()
    try:
        for name in names:
            getattr(log, name)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (own + kept) / CLICKS <= KEPT
    assert (own + peak) / CLICKS <= PEAK
