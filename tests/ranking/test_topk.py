from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.ranking.log import Log, build_log
from recsys_text.ranking.topk import topk

rows = st.lists(
    st.lists(st.tuples(st.floats(-2, 2, width=32) | st.sampled_from([0.0, -0.0, 1.0]), st.integers(0, 99)), max_size=8),
    max_size=6,
)


@given(rows, st.integers(1, 9))
def test_the_best_come_first_and_ties_follow_the_neutral_order(lists: list[list[tuple[float, int]]], k: int) -> None:
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in lists]))).astype(np.int64)
    score = np.array([score for row in lists for score, _ in row], dtype=np.float32)
    neutral = np.array([place for row in lists for _, place in row], dtype=np.int64)
    kept, pairs = topk(score, neutral, offsets, k)
    for n, row in enumerate(lists):
        best = pairs[kept[n] : kept[n + 1]]
        assert ((offsets[n] <= best) & (best < offsets[n + 1])).all()
        assert len(set(best.tolist())) == len(best)
        assert [(score[i], neutral[i]) for i in best] == sorted(row, key=lambda pair: (-pair[0], pair[1]))[:k]


def test_a_score_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="1 of 2 scores"):
        topk(np.array([0, np.nan], np.float32), np.arange(2), np.array([0, 2]), 1)


def log_of(ids: list[str]) -> Log:
    time: Any = pl.Datetime("us", "UTC")
    items = pl.DataFrame({"item_id": ids, "known_at": [0] * len(ids)}).with_columns(
        pl.col("known_at").cast(time), *(pl.lit(None, time).alias(name) for name in ("published_at", "expires_at"))
    )
    schema = {"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "occurred_at": time}
    return build_log(items, pl.DataFrame(schema=schema))


def test_the_neutral_order_follows_neither_the_ids_nor_their_neighbours() -> None:
    ids = [f"{n:04d}" for n in range(1000)]
    order = log_of(ids).neutral
    assert sorted(order.tolist()) == list(range(1000))
    assert abs(np.corrcoef(np.arange(1000), order)[0, 1]) < 0.1
    fewer = log_of(ids[::2]).neutral
    np.testing.assert_array_equal(np.argsort(order[::2]), np.argsort(fewer))
