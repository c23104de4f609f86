"""What a log of clicks and its indexes take, as tracemalloc sees it: the arrays of numpy, not those of polars."""

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property

import numpy as np
import polars as pl
import pytest

from recsys_text.ranking.candidates import sampled_impressions
from recsys_text.ranking.log import Log, build_log
from recsys_text.ranking.sums import rates
from recsys_text.sections import Candidates
from tests.ranking.test_features import TIME, at

CLICKS, USERS, ITEMS = 400_000, 20_000, 4_000
#: Bytes a click: what is kept, and the most that is held while the last index is made.
KEPT, KEPT_WITH_VALUES, PEAK = 80, 105, 120


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


@contextmanager
def measured() -> Iterator[dict[str, int]]:
    """How many bytes are kept of what is made meanwhile, and the most that were held at one time."""
    found: dict[str, int] = {}
    tracemalloc.start()
    try:
        yield found
        found["kept"], found["peak"] = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("valued", [False, True])
def test_a_log_and_all_its_indexes_take_few_bytes_a_click(valued: bool) -> None:
    log = log_of_clicks()
    log = replace(log, value=np.ones(CLICKS)) if valued else log
    own = sum(array.nbytes for array in (log.user, log.item, log.time, log.positive, log.disliked, log.value))
    names = [name for name, made in vars(Log).items() if isinstance(made, cached_property)]
    with measured() as found:
        for name in names:
            getattr(log, name)
    assert (own + found["kept"]) / CLICKS <= (KEPT_WITH_VALUES if valued else KEPT)
    assert (own + found["peak"]) / CLICKS <= PEAK


def test_what_was_shown_takes_few_bytes_a_candidate() -> None:
    rng = np.random.default_rng(7)
    shown, size = 20_000, 30
    time = np.sort(rng.integers(0, 10**13, shown))
    item, clicked = rng.integers(0, ITEMS, shown * size, dtype=np.int32), rng.random(shown * size) < 1 / size
    with measured() as found:
        made = rates(item, clicked, np.arange(shown + 1) * size, time, ITEMS)
    assert found["kept"] / len(item) <= 10
    assert found["peak"] / len(item) <= 30
    assert made.overall(np.array([shown]))[0] == len(item)


def test_a_pool_needs_no_index_but_those_of_users_and_items() -> None:
    log = log_of_clicks()
    start = at(int(log.time[-2000]))
    sampled_impressions(log, start, at(10**13), Candidates(), max_impressions=50, seed=7)
    made = {name for name in vars(log) if isinstance(vars(Log).get(name), cached_property)}
    assert made <= {"click_times", "clicks_of_item", "clicks_of_user", "consumed"}
