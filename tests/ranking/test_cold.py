from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_text.errors import ConfigError
from recsys_text.ranking.candidates import pools, sampled_impressions
from recsys_text.ranking.cold import cold_items, without_items
from recsys_text.ranking.features import counts
from recsys_text.ranking.log import Log, build_log, micros
from recsys_text.ranking.logged import with_logged
from recsys_text.sections import Candidates

START = datetime(2024, 1, 1, tzinfo=UTC)
TIME: Any = pl.Datetime("us", "UTC")
ITEMS = [f"item {number}" for number in range(40)]
END = START + timedelta(hours=50)


def log_of(seed: int = 0) -> Log:
    random = np.random.default_rng(seed)
    items = pl.DataFrame({"item_id": ITEMS}).with_columns(
        known_at=pl.lit(START, TIME), published_at=pl.lit(START, TIME), expires_at=pl.lit(None, TIME)
    )
    events = pl.DataFrame(
        {
            "user_id": [f"u{user}" for user in random.integers(5, size=300)],
            "item_id": random.choice(ITEMS, 300),
            "event_type": ["click"] * 300,
            "occurred_at": [START + timedelta(hours=float(hours)) for hours in random.uniform(1, 50, 300)],
        },
        schema_overrides={"occurred_at": TIME},
    )
    shown = pl.DataFrame(
        {
            "impression_id": ["x", "y"],
            "user_id": ["u1", "u2"],
            "shown_at": [START + timedelta(hours=2), START + timedelta(hours=3)],
            "candidates": [ITEMS, ITEMS[:7]],
            "clicked": [[True] * 40, [True] * 7],
        },
        schema_overrides={"shown_at": TIME},
    )
    return with_logged(build_log(items, events), shown)


def test_every_item_is_cold_at_one_residue_whatever_else_there_is() -> None:
    cold = np.array([cold_items(ITEMS, 5, residue) for residue in range(5)])
    assert (cold.sum(axis=0) == 1).all()
    assert cold.any(axis=1).all()
    assert cold_items(ITEMS[::-1], 5, 3).tolist() == cold[3][::-1].tolist()
    assert cold_items(ITEMS[:9], 5, 3).tolist() == cold[3][:9].tolist()
    # The digest of "a" is 40f89e395b66422f.
    assert cold_items(["a"], 10, 0x40F89E395B66422F % 10).tolist() == [True]


@pytest.mark.parametrize(("modulus", "residue"), [(10, 10), (10, -1), (0, 0)])
def test_refuses_a_residue_that_no_number_leaves(modulus: int, residue: int) -> None:
    with pytest.raises(ConfigError, match="no number leaves"):
        cold_items(["a"], modulus, residue)


@pytest.mark.parametrize("pool", ["all", "alive"])
def test_nobody_ever_met_a_cold_item(pool: Any) -> None:
    log, settings = log_of(), Candidates(pool=pool)
    cold = cold_items(log.item_ids, 4, 1)
    left = without_items(log, cold)
    assert len(left.item) == np.count_nonzero(~cold[log.item]) > 0
    times = np.array([micros(START + timedelta(hours=hours)) for hours in (2, 20, 49)])
    _, item = pools(left, times, np.full(3, -1, np.int32), settings)
    _, whole = pools(log, times, np.full(3, -1, np.int32), settings)
    assert item.tolist() == whole[~cold[whole]].tolist()
    shown, _ = sampled_impressions(left, START, END, settings, max_impressions=1000, seed=1)
    assert len(shown)
    assert not cold[shown.item].any()
    assert left.logged.item.tolist() == log.logged.item[~cold[log.logged.item]].tolist()
    assert len(left.logged) == 2


def test_the_clicks_on_cold_items_teach_nothing_about_others() -> None:
    log = log_of()
    cold = cold_items(log.item_ids, 4, 1)
    other = log_of()
    # The same log but for what was clicked among the cold items.
    swapped = np.where(cold[other.item], np.flatnonzero(cold)[0], other.item).astype(np.int32)
    object.__setattr__(other, "item", swapped)
    one, two = (without_items(each, cold) for each in (log, other))
    shown, _ = sampled_impressions(one, START, END, Candidates(pool="all"), max_impressions=50, seed=1)
    for name, value in counts(one, shown).items():
        np.testing.assert_array_equal(value, counts(two, shown)[name], err_msg=name)
