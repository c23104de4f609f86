import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys_text.errors import ConfigError
from recsys_text.model import collaborative
from recsys_text.model.collaborative import ease


def clicks_of(users, items, seed, density=0.2):
    return csr_matrix(np.random.default_rng(seed).random((users, items)) < density).astype(np.float32)


def test_each_column_is_the_ridge_regression_of_an_item_on_all_others():
    clicks, penalty = clicks_of(60, 8, 0), 3.0
    X = clicks.toarray().astype(float)
    weights = ease(clicks, penalty)
    for j in range(8):
        others = np.arange(8) != j
        A = X[:, others]
        expected = np.linalg.solve(A.T @ A + penalty * np.eye(7), A.T @ X[:, j])
        np.testing.assert_allclose(weights[others, j], expected, atol=1e-5)
        assert weights[j, j] == 0
    assert weights.dtype == np.float32


@settings(max_examples=20)
@given(st.integers(0, 1000), st.floats(0.5, 500))
def test_the_order_of_items_and_users_means_nothing(seed, penalty):
    clicks = clicks_of(30, 9, seed)
    random = np.random.default_rng(seed)
    items, users = random.permutation(9), random.permutation(30)
    np.testing.assert_allclose(
        ease(clicks[users][:, items], penalty), ease(clicks, penalty)[np.ix_(items, items)], atol=1e-5
    )


def test_items_that_nobody_clicked_say_and_get_nothing():
    clicks = csr_matrix(np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0.0]]))
    weights = ease(clicks, 1.0)
    assert (weights[2] == 0).all()
    assert (weights[:, 2] == 0).all()
    assert weights[0, 1] == weights[1, 0] == pytest.approx(1 / 3)
    assert ease(csr_matrix((4, 0)), 1.0).shape == (0, 0)


def test_the_size_of_a_part_changes_nothing(monkeypatch):
    clicks = clicks_of(40, 23, 5)
    whole = ease(clicks, 2.0)
    monkeypatch.setattr(collaborative, "_ROWS", 4)
    np.testing.assert_array_equal(ease(clicks, 2.0), whole)


@pytest.mark.parametrize("penalty", [0.0, -1.0, float("nan")])
def test_refuses_a_penalty_that_may_have_no_inverse(penalty):
    with pytest.raises(ConfigError, match="the penalty of EASE is"):
        ease(clicks_of(3, 3, 0), penalty)
