from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.evaluation.bootstrap import Interval
from recsys_text.evaluation.published import Published, figures

START = datetime(2024, 5, 1, tzinfo=UTC)


def lists(**of_users: list[str]) -> pl.DataFrame:
    scores = {user: [0.5 / (place + 1) for place in range(len(items))] for user, items in of_users.items()}
    return pl.DataFrame(
        {"user_id": list(of_users), "item_id": list(of_users.values()), "score": list(scores.values())},
        schema={"user_id": pl.String, "item_id": pl.List(pl.String), "score": pl.List(pl.Float64)},
    )


def clicks(*pairs: tuple[str, str]) -> pl.DataFrame:
    times = [START + timedelta(minutes=minute) for minute in range(len(pairs))]
    return pl.DataFrame(
        {"user_id": [user for user, _ in pairs], "item_id": [item for _, item in pairs], "occurred_at": times},
        schema={"user_id": pl.String, "item_id": pl.String, "occurred_at": pl.Datetime("us", "UTC")},
    )


def calibrated(found: Published) -> dict[str, Interval]:
    return found.calibration(resamples=200, seed=1)


def test_a_case_by_hand() -> None:
    found = Published.join(
        lists(ann=["a", "b", "c"], bob=["a", "b"], eve=["a"], none=[]),
        clicks(("ann", "b"), ("ann", "x"), ("ann", "b"), ("bob", "x"), ("none", "a"), ("other", "a")),
    )
    assert found.users["user_id"].to_list() == ["ann", "bob"]
    hits = found.hits()
    # Of ann's two clicked items one is at place 2, the other in no list.
    assert hits["ndcg@10"][0] == pytest.approx((1 / np.log2(3)) / (1 + 1 / np.log2(3)))
    assert hits["ndcg@10"][1] == 0
    assert hits["hit_rate@10"].tolist() == [1.0, 0.0]
    assert hits["auc"][0] == 0.5
    assert np.isnan(hits["auc"][1])


def test_a_click_below_the_tenth_place_is_no_hit() -> None:
    names = [f"i{number}" for number in range(11)]
    hits = Published.join(lists(ann=names), clicks(("ann", "i10"))).hits()
    assert hits["ndcg@10"].tolist() == hits["hit_rate@10"].tolist() == [0.0]
    assert hits["auc"].tolist() == [0.0]


def test_calibration_counts_the_first_click_alone() -> None:
    found = calibrated(Published.join(lists(ann=["a", "b"]), clicks(("ann", "b"), ("ann", "a"))))
    assert found["calibration_ratio"].mean == pytest.approx(0.75)
    assert np.isnan(found["calibration_ratio"].low), "one user is no sample"
    missed = calibrated(Published.join(lists(ann=["a", "b"]), clicks(("ann", "x"), ("ann", "a"))))
    assert np.isnan(missed["calibration_ratio"].mean)
    assert missed["calibration_error_top1%"].mean == pytest.approx(0.5)


def test_calibration_has_the_interval_of_its_users() -> None:
    """400 users with as many clicks in lists as the scores promise: the interval of the ratio holds 1."""
    random = np.random.default_rng(5)
    table = lists(**{f"u{user:03d}": [f"{user}-{place}" for place in range(10)] for user in range(400)})
    shown = table.explode("item_id", "score").with_columns(score=pl.lit(0.1))
    table = shown.group_by("user_id", maintain_order=True).all()
    # One click of each user anywhere in a list of ten.
    clicked = shown.filter(pl.Series(np.arange(4000) % 10 == np.repeat(random.integers(10, size=400), 10)))
    other = shown.filter(pl.Series(np.arange(4000) % 10 == 0)).with_columns(item_id=pl.lit("elsewhere"))
    for rows, expected in ((clicked, 1.0), (pl.concat([clicked[:200], other[200:]]), 2.0)):
        found = calibrated(Published.join(table, clicks(*rows.select("user_id", "item_id").iter_rows())))
        ratio, error = found["calibration_ratio"], found["calibration_error_top1%"]
        assert ratio.mean == pytest.approx(expected)
        assert ratio.low <= ratio.mean <= ratio.high
        assert (ratio.high - ratio.low > 0.2) == (expected == 2.0), "what varies between users alone is uncertain"
        assert 0 <= error.low <= error.mean <= error.high


def test_lists_are_described_by_the_vectors_of_their_items() -> None:
    found = Published.join(
        lists(ann=["a", "b"], bob=["a", "c"], eve=["a", "x"]), clicks(*((u, "a") for u in ("ann", "bob", "eve")))
    )
    items = pl.DataFrame({"item_id": ["a", "b", "c"], "clicks": [6, 0, 0]})
    vectors = np.array([[1, 0], [2, 0], [0, 1]], np.float32)
    described = found.described(items, vectors)
    assert described["diversity@10"][:2].tolist() == pytest.approx([0.0, 1.0])
    assert np.isnan(described["diversity@10"][2]), "nobody knows x"
    # 9 clicks with one more for each item: a has 7 of them.
    assert described["novelty@10"][0] == pytest.approx((np.log2(9 / 7) + np.log2(9)) / 2)


def test_nobody_with_a_list_is_no_error() -> None:
    found = Published.join(lists(), clicks(("ann", "a")))
    assert calibrated(found) == {}
    assert figures(found.hits(), {"all": np.zeros(0, np.bool_)}, resamples=10, seed=1) == []


@given(st.permutations([("ann", "a"), ("ann", "b"), ("bob", "c"), ("bob", "a"), ("eve", "x")]), st.integers(0, 2**31))
def test_the_order_of_rows_says_nothing(pairs: list[tuple[str, str]], seed: int) -> None:
    table = lists(ann=["a", "b", "c"], bob=["b", "a"], eve=["c"])
    rows = clicks(*pairs)
    first, second = (
        Published.join(table, rows),
        Published.join(table.sample(fraction=1, shuffle=True, seed=seed), rows.reverse()),
    )
    for name, values in first.hits().items():
        np.testing.assert_array_equal(values, second.hits()[name])
    one, two = (
        {name: (value.mean, value.low, value.high) for name, value in calibrated(each).items()}
        for each in (first, second)
    )
    assert one.keys() == two.keys()
    for name, values in one.items():
        assert values == pytest.approx(two[name], nan_ok=True)
