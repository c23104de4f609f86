"""Each rule of a commit passes what's just within it and names what's just outside, whatever form the column has."""

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_store import Checks, InvalidInput
from feature_store.schema import CODED
from feature_store.validate import Served, broken_rule, psi

NOON = datetime(2014, 3, 18, 12, tzinfo=UTC)


def table(**columns: Any) -> Any:
    """Three users with two items each, in two batches of which the second is a slice."""
    rows = {"key": ["ann", "bob", "cid"], "item": [["x", "y"]] * 3, "score": [[0.5, 0.25]] * 3, "age": [1, None, 3]}
    kinds = {"key": pa.string(), "item": pa.list_(CODED), "score": pa.list_(pa.float32()), "age": pa.int32()}
    return pa.RecordBatch.from_pydict(rows | columns, schema=pa.schema(kinds))


def broken(checks: Checks, batch: Any, served: Any = None, as_of: datetime | None = None) -> str | None:
    former = None if served is None else Served(version="v1", rows=served.num_rows, batches=lambda: [served])
    return broken_rule(checks, batches=[batch[:1], batch[1:]], as_of=as_of, served=former)


@pytest.mark.parametrize(
    ("checks", "good", "bad", "said"),
    [
        (
            {"lengths": {"item": (1, 2)}},
            {},
            {"item": [["x"], ["x"], ["x", "y", "z"]]},
            ["lengths: 'item' of key 'cid' has 3 values", "1 to 2"],
        ),
        ({"lengths": {"item": (1, 2)}}, {}, {"item": [["x"], None, ["x"]]}, ["'bob' has 0 values"]),
        (
            {"equal_lengths": True},
            {"item": [["x"], None, []], "score": [[1.0], [], None]},
            {"score": [[0.1, 0.2], [0.1], [0.1, 0.2]]},
            ["equal_lengths: 'score' of key 'bob' has 1 values and 'item' 2"],
        ),
        (
            {"ranges": {"score": (0.0, 0.5)}},
            {"score": [[0.5, 0.0], None, []]},
            {"score": [[0.5], [], [0.5, 0.625]]},
            ["ranges: 'score' of key 'cid' has 0.625", "from 0 to 0.5"],
        ),
        ({"ranges": {"score": (0.0, 1.0)}}, {}, {"score": [[1], [0, -0.5], [0]]}, ["'bob' has -0.5"]),
        ({"ranges": {"score": (0.0, 1.0)}}, {}, {"score": [[1], [0, math.nan], [0]]}, ["'bob' has nan"]),
        ({"ranges": {"score": (0.0, 1.0)}}, {}, {"score": [[1], [0], [0, None]]}, ["'cid' has nan"]),
        ({"ranges": {"score": (-math.inf, math.inf)}}, {}, {"score": [[1], [0], [math.inf]]}, ["'cid' has inf"]),
        ({"ranges": {"age": (1, 3)}}, {}, {"age": [None, None, 4]}, ["'age' of key 'cid' has 4", "from 1 to 3"]),
        (
            {"max_repeated": {"item": 0.0}},
            {"item": [["x", "y"], None, ["z", "y", "x"]]},
            {"item": [["x", "y"], [], ["y", "x", "z", "y"]]},
            ["max_repeated: 0.25 of 'item' of key 'cid' repeat others, above 0"],
        ),
        (
            {"max_repeated": {"item": 0.25}},
            {"item": [["x"], ["z", "z", "x", "y"], []]},
            {"item": [["x", "y"], ["x", "x"], []]},
            ["0.5 of 'item' of key 'bob'", "above 0.25"],
        ),
    ],
)
def test_rows(checks: dict[str, Any], good: dict[str, Any], bad: dict[str, Any], said: list[str]) -> None:
    assert broken(Checks(), table(**bad)) is None
    assert broken(Checks(**checks), table(**good)) is None
    found = broken(Checks(**checks), table(**bad)) or ""
    assert [words for words in said if words not in found] == []


def test_fewer_keys_than_a_share_of_the_served_ones() -> None:
    served = table()
    assert broken(Checks(min_ratio=2 / 3), table()[:2], served) is None
    assert broken(Checks(min_ratio=1.0), table()[:2]) is None
    assert broken(Checks(min_ratio=0.7), table()[:2], served) == (
        "min_ratio: 2 keys are 0.667 of the 3 in the served 'v1', and must be 0.7 at least; "
        "such as key 'cid', which is missing"
    )
    numbers = pa.record_batch({"key": [1, 2]})
    assert "must be 0.7 at least" in (broken(Checks(min_ratio=0.7), numbers, served) or "")


def test_an_age_is_measured_by_the_clock_that_is_given() -> None:
    checks = Checks(max_age=timedelta(hours=12), now=NOON)
    assert broken(checks, table(), as_of=NOON - timedelta(hours=12)) is None
    found = broken(checks, table(), as_of=NOON - timedelta(hours=12, minutes=1))
    assert found == "max_age: its data are as of 2014-03-17T23:59:00Z, 12:01:00 ago, and may be at most 12:00:00 old"
    assert "no as_of" in (broken(checks, table()) or "")
    for wrong in (
        {"max_age": timedelta(1)},
        {"now": NOON},
        {"max_age": timedelta(1), "now": NOON.replace(tzinfo=None)},
    ):
        with pytest.raises(InvalidInput, match="now"):
            Checks(**wrong)


def test_a_drift_of_the_scores_is_told_with_who_moved() -> None:
    served = table(score=[[0.0, 0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]])
    moved = table(score=[[0.0, 0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.95, 0.95, 0.95]])
    checks = Checks(max_drift={"score": 0.25})
    assert broken(checks, served, served) is None
    assert broken(checks, moved) is None
    # (3.5/15 - 0.1) ln(3.5/1.5) + 2 (0.5/15 - 0.1) ln(0.5/1.5)
    found = broken(checks, moved, served)
    assert found is not None
    assert "max_drift: 'score' has a PSI of 0.259 " in found
    assert "above 0.25; such as key 'cid' with 0.95" in found
    assert broken(Checks(max_drift={"score": 0.26}), moved, served) is None
    # A column that the served version lacks has drifted from nothing.
    assert broken(checks, moved, served.select(["key", "item"])) is None
    assert broken(checks, table(score=[[], None, [math.nan]]), served) is None
    # What is no number has no place among the others; the ranges are there to refuse it.
    gaps = [[0.0, 0.1, 0.2, 0.3] + [math.nan] * 9, [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]]
    assert broken(checks, table(score=gaps), served) is None
    assert broken(checks, served, table(score=gaps)) is None


def test_a_rule_about_another_kind_of_column_is_a_mistake() -> None:
    for wrong, said in (
        ({"lengths": {"age": (1, 2)}}, "wants lists in 'age'"),
        ({"max_repeated": {"key": 0.0}}, "wants lists in 'key'"),
        ({"ranges": {"item": (0, 1)}}, "wants numbers in 'item'"),
        ({"ranges": {"rank": (0, 1)}}, "names 'rank', and the columns are key, item, score, age"),
    ):
        with pytest.raises(InvalidInput, match=said):
            broken(Checks(**wrong), table())


def test_psi_by_hand() -> None:
    # Ten bins of one old value each; with half a value added the shares are 0.1, and 0.7 once and 1/30 nine times.
    old, new = np.arange(10.0), np.zeros(10)
    assert psi(old, new) == pytest.approx(0.6 * math.log(7) + 9 * (1 / 30 - 0.1) * math.log(1 / 3))
    assert psi(old, old) == 0
    assert psi(np.ones(5), np.ones(9)) == pytest.approx(0, abs=0.1)


@given(
    st.lists(st.lists(st.sampled_from("abcd"), max_size=5), min_size=1, max_size=8), st.sampled_from([0.0, 0.3, 0.5])
)
def test_repeats_are_those_of_a_count(lists: list[list[str]], bound: float) -> None:
    shares = [1 - len(Counter(values)) / len(values) if values else 0.0 for values in lists]
    keys = [f"k{number}" for number in range(len(lists))]
    worst = {key for key, share in zip(keys, shares, strict=True) if share > bound + 1e-9}
    # A dictionary that names a value twice, as other libraries may write it, and plain strings.
    codes = [
        ["abcda".index(value) + 4 * (value == "a" and place % 2) for place, value in enumerate(row)] for row in lists
    ]
    ends = np.cumsum([0, *map(len, lists)]).astype(np.int32)
    flat = pa.array(np.concatenate([np.array(row, np.int32) for row in codes]).astype(np.int32))
    coded = pa.ListArray.from_arrays(ends, pa.DictionaryArray.from_arrays(flat, pa.array(list("abcda"))))
    for column in (coded, pa.array(lists, pa.list_(pa.string()))):
        batch = pa.record_batch([pa.array(keys), column], names=["key", "item"])
        found = broken_rule(Checks(max_repeated={"item": bound}), batches=[batch], as_of=None, served=None)
        assert (found is None) == (not worst)
        assert found is None or any(f"of key '{key}'" in found for key in worst)


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60),
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=60),
)
def test_psi_is_no_less_than_nothing_and_knows_no_order(old: list[float], new: list[float]) -> None:
    found = psi(np.array(old), np.array(new))
    assert found >= 0
    assert found == pytest.approx(psi(np.array(old[::-1]), np.array(new[::-1])))
    assert psi(np.array(old), np.array(old)) == 0
