import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.errors import ContractError
from recsys_text.evaluation import calibration as module
from recsys_text.evaluation.calibration import calibration, calibration_error, gaps


def test_calibration_error_by_hand():
    # Two bins: .1 against a click rate of 0, and .7 against 1/2, each half of the pairs.
    probability, clicked = np.array([0.1, 0.1, 0.6, 0.8]), np.array([False, False, True, False])
    assert calibration_error(probability, clicked, bins=2) == pytest.approx((0.1 + 0.2) / 2)
    assert calibration_error(probability, clicked, bins=2, top=0.25) == pytest.approx(0.8)


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 1.0]), st.booleans()), min_size=1, max_size=30))
def test_calibration_error_favours_no_order(pairs):
    probability, clicked = (np.array(x) for x in zip(*pairs, strict=True))
    for top in (1.0, 0.3):
        forward = calibration_error(probability, clicked, bins=4, top=top)
        assert forward == pytest.approx(calibration_error(probability[::-1], clicked[::-1], bins=4, top=top))
        assert 0 <= forward <= 1


def test_calibration_error_of_the_true_probabilities_is_small():
    random = np.random.default_rng(0)
    probability = random.random(200_000)
    clicked = random.random(200_000) < probability
    assert calibration_error(probability, clicked) < 0.01
    assert calibration_error(probability**2, clicked) > 0.1


def test_calibration_error_refuses_raw_scores_and_knows_nothing_of_nothing():
    with pytest.raises(ContractError, match="are no probabilities"):
        calibration_error(np.array([0.2, 1.5]), np.array([True, False]))
    assert np.isnan(calibration_error(np.zeros(0), np.zeros(0, bool)))


def test_bins_hold_equal_masses_and_all_clicks():
    random = np.random.default_rng(1)
    probability = random.random(1003) ** 4
    clicked = random.random(1003) < probability / 2
    size, predicted, rate = calibration(probability, clicked).bins(bins=10)
    assert size == pytest.approx(np.full(10, 100.3))
    assert (size * rate).sum() == pytest.approx(clicked.sum())
    assert (size * predicted).sum() == pytest.approx(probability.sum())
    assert (np.diff(predicted) > 0).all()
    top, _, _ = calibration(probability, clicked).bins(bins=5, top=0.01)
    assert top == pytest.approx(np.full(5, 2.0))


def test_neither_parts_nor_threads_change_anything(monkeypatch):
    random = np.random.default_rng(2)
    probability, clicked = random.random(997).astype(np.float32), random.random(997) < 0.3
    whole = calibration(probability, clicked)
    monkeypatch.setattr(module, "_CHUNK", 100)
    one, many = (calibration(probability, clicked, threads=threads) for threads in (1, 5))
    np.testing.assert_array_equal(one.predicted, many.predicted)
    np.testing.assert_allclose(one.predicted, whole.predicted, rtol=1e-12)
    np.testing.assert_array_equal(one.size, whole.size)
    halves = calibration(probability[:500], clicked[:500]) + calibration(probability[500:], clicked[500:])
    assert halves.error() == pytest.approx(whole.error())


def test_the_outermost_probabilities_have_a_bucket():
    assert calibration_error(np.array([0.0, -0.0, 1.0, 1.0]), np.array([False, False, True, True])) == 0


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.integers(0, 3)), min_size=1, max_size=60),
    st.sampled_from([1.0, 0.4]),
)
def test_users_add_up_to_the_error_of_all(pairs, top):
    probability, clicked, user = (np.array(values) for values in zip(*pairs, strict=True))
    gap, size = gaps(probability, clicked, user, 4, bins=3, top=top)
    found = np.abs(gap.sum(axis=0)).sum() / size.sum()
    assert found == pytest.approx(calibration_error(probability, clicked, bins=3, top=top), abs=1e-9)


def test_a_user_drawn_twice_counts_as_two():
    probability, clicked, user = np.full(4, 0.5), np.array([True, True, False, False]), np.array([0, 0, 1, 2])
    gap, size = gaps(probability, clicked, user, 3, bins=1, top=1.0)
    for weights, rate in ((np.array([1, 1, 1]), 1 / 2), (np.array([2, 1, 0]), 4 / 5), (np.array([0, 3, 0]), 0)):
        assert np.abs(weights @ gap).sum() / (weights @ size) == pytest.approx(abs(0.5 - rate))


def test_no_predictions_add_nothing():
    gap, size = gaps(np.zeros(0), np.zeros(0, bool), np.zeros(0, int), 2)
    assert not gap.any()
    assert not size.any()
