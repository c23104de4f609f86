import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.errors import ContractError
from recsys_text.evaluation import bootstrap


def test_one_impression_per_user_agrees_with_the_normal_approximation():
    values = np.random.default_rng(1).normal(2, 3, 4000)
    found = bootstrap.interval(values, np.arange(4000), resamples=2000, seed=0)
    error = 1.96 * values.std() / np.sqrt(4000)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - error, abs=error / 8)
    assert found.high == pytest.approx(values.mean() + error, abs=error / 8)


def test_repeating_a_users_impressions_adds_no_certainty():
    values, users = np.random.default_rng(2).random(50), np.arange(50)
    once = bootstrap.interval(values, users, resamples=300, seed=5)
    often = bootstrap.interval(np.repeat(values, 20), np.repeat(users, 20), resamples=300, seed=5)
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_users_without_a_code_are_drawn_apart():
    values = np.random.default_rng(2).random(50)
    apart = bootstrap.interval(values, np.full(50, -1), resamples=300, seed=5)
    together = bootstrap.interval(values, np.zeros(50, int), resamples=300, seed=5)
    assert apart.low < values.mean() < apart.high
    assert np.isnan([together.low, together.high]).all()


def test_undefined_values_are_left_out_of_their_column_only():
    values = np.array([[1.0, 1.0], [np.nan, 2.0], [3.0, 3.0]])
    first, second = bootstrap.intervals(values, np.arange(3), resamples=200, seed=0)
    assert (first.mean, second.mean) == (2, 2)
    nothing = bootstrap.interval(np.full(3, np.nan), np.arange(3), resamples=10, seed=0)
    assert np.isnan([nothing.mean, nothing.low, nothing.high]).all()


def test_no_impressions():
    found = bootstrap.interval(np.zeros(0), np.zeros(0, int), resamples=10, seed=0)
    assert np.isnan([found.mean, found.low, found.high]).all()


def test_the_seed_alone_decides_the_draws(monkeypatch):
    values, users = np.random.default_rng(3).random(90), np.arange(90) // 2
    whole = bootstrap.interval(values, users, resamples=100, seed=1)
    assert bootstrap.interval(values, users, resamples=100, seed=2) != whole
    monkeypatch.setattr(bootstrap, "_CHUNK", 200)
    chunked = bootstrap.interval(values, users, resamples=100, seed=1)
    assert (chunked.low, chunked.high) == pytest.approx((whole.low, whole.high))


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(-1, 4)), min_size=1, max_size=30))
def test_an_interval_lies_within_the_values(pairs):
    values, users = (np.array(x) for x in zip(*pairs, strict=True))
    found = bootstrap.interval(values, users, resamples=20, seed=0)
    assert values.min() - 1e-12 <= found.mean <= values.max() + 1e-12
    if not np.isnan(found.low):
        assert values.min() - 1e-12 <= found.low <= found.high <= values.max() + 1e-12


def test_refuses_values_without_their_users():
    with pytest.raises(ContractError, match="3 values and 2 users"):
        bootstrap.interval(np.zeros(3), np.zeros(2, int), resamples=10, seed=0)
