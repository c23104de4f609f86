import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.evaluation.drift import drift_of_kinds, drift_of_numbers, psi

COUNTS = st.lists(st.integers(0, 500), min_size=3, max_size=3).filter(sum)


def test_a_case_by_hand() -> None:
    old, new = np.array([100, 100]), np.array([150, 50])
    # Shares (100.5, 100.5) / 201 and (150.5, 50.5) / 201; less one degree of freedom over 200 values on both sides.
    a, b = 150.5 / 201, 50.5 / 201
    expected = (a - 0.5) * np.log(a / 0.5) + (b - 0.5) * np.log(b / 0.5) - 2 / 200
    assert psi(old, new) == pytest.approx(expected)


@given(old=COUNTS, new=COUNTS)
def test_it_is_at_least_0_the_same_both_ways_and_0_for_equal_counts(old: list[int], new: list[int]) -> None:
    old_B, new_B = np.array(old), np.array(new)
    assert psi(old_B, new_B) >= 0
    assert psi(old_B, new_B) == pytest.approx(psi(new_B, old_B))
    assert psi(old_B, old_B) == 0


def test_a_small_window_of_the_same_kind_is_no_drift() -> None:
    random = np.random.default_rng(4)
    old = random.normal(size=100_000)
    found = [drift_of_numbers(old, random.normal(size=40)) for _ in range(200)]
    assert np.mean(found) < 0.1
    assert np.mean(np.array(found) > 0.25) < 0.05, "without the correction a fifth is above"


def test_numbers_that_move_drift_gravely() -> None:
    random = np.random.default_rng(4)
    assert drift_of_numbers(random.normal(size=10_000), random.normal(1.0, size=1000)) > 0.25


def test_numbers_that_repeat_have_one_bin() -> None:
    ones = np.ones(1000)
    assert drift_of_numbers(ones, ones) == 0
    assert drift_of_numbers(ones, np.full(1000, 7.0)) > 0.25


def test_a_kind_that_was_never_seen_drifts() -> None:
    old = {"sport": 500, "news": 500}
    assert drift_of_kinds(old, {"sport": 167, "news": 167}) == pytest.approx(0, abs=0.01)
    assert drift_of_kinds(old, {"films": 100}) > 0.25
    assert drift_of_kinds(old, {"sport": 100}) > 0.25


def test_kinds_that_are_rare_share_a_bin() -> None:
    many = {f"kind {number:02d}": 100 - number for number in range(30)}
    swapped = many | {"kind 28": many["kind 29"], "kind 29": many["kind 28"]}
    assert drift_of_kinds(many, swapped) == drift_of_kinds(many, many) == 0


def test_without_values_nothing_is_known() -> None:
    none, some = np.zeros(0), np.ones(3)
    assert np.isnan(drift_of_numbers(none, some))
    assert np.isnan(drift_of_numbers(some, none))
    assert np.isnan(drift_of_kinds({}, {"a": 1}))
    assert np.isnan(drift_of_kinds({"a": 1}, {}))
