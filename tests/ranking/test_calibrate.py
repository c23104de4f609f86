import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recsys_text.errors import ContractError
from recsys_text.evaluation.calibration import calibration_error
from recsys_text.ranking.calibrate import Calibrator, fit_calibrator

# Thousandths: far enough apart that float64 can keep them apart.
raw_score = st.integers(-20_000, 20_000).map(lambda x: x / 1000)
pairs = st.lists(st.tuples(raw_score, st.booleans()), min_size=2, max_size=40)


def fitted(pairs):
    raw, clicked = (np.array(x) for x in zip(*pairs, strict=True))
    assume(0 < clicked.sum() < len(clicked))
    return fit_calibrator(raw, clicked)


@given(pairs, st.lists(raw_score, min_size=2, max_size=40, unique=True))
def test_keeps_the_order_strictly_and_gives_probabilities(pairs, others):
    found = fitted(pairs).predict(np.sort(others))
    assert np.all(np.diff(found) > 0)
    assert found[0] > 0
    assert found[-1] < 1


@given(pairs, st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=40))
def test_never_turns_an_order_round_however_close_or_far(pairs, others):
    found = fitted(pairs).predict(np.sort(others))
    assert np.all(np.diff(found) >= 0)
    assert 0 < found[0] <= found[-1] < 1


@given(pairs)
def test_json_brings_every_bit_back(pairs):
    calibrator = fitted(pairs)
    assert Calibrator.from_json(calibrator.to_json()) == calibrator


def test_blocks_worked_by_hand():
    # Rates ascend but for 2 and 3, which pool to 1/4; the unclicked and the all-clicked end get half a click.
    raw = np.array([1, 1, 2, 2, 3, 3, 4, 4])
    clicked = np.array([0, 0, 1, 0, 0, 0, 1, 1], bool)
    found = fit_calibrator(raw, clicked)
    assert found.raw == (1, 2.5, 4)
    assert found.probability == pytest.approx((1 / 8, 1 / 4, 3 / 4))
    assert found.predict(np.array([2.5, 3.25])) == pytest.approx([1 / 4, 1 / 2])
    # The whole block below 1 may fall by no more than a thousandth of its rate.
    assert found.predict(np.array([-1e6]))[0] == pytest.approx(1 / 8, rel=1e-3)


def test_rare_clicks_are_calibrated_at_the_top_too():
    random = np.random.default_rng(0)
    raw = random.normal(size=400_000)
    truth = 1 / (1 + np.exp(7 - 2 * raw))
    train, test = np.arange(400_000) < 200_000, np.arange(400_000) >= 200_000
    clicked = random.random(400_000) < truth
    found = fit_calibrator(raw[train], clicked[train]).predict(raw[test])
    assert calibration_error(found, clicked[test]) < 0.001
    # Against the truth rather than the drawn clicks: 2,000 of them scatter by more than the error that we look for.
    top = np.argsort(-raw[test])[:2000]
    assert np.abs(found - truth[test])[top].mean() < 0.03 < truth[test][top].mean() / 5


def test_scores_that_say_nothing_give_the_click_rate():
    clicked = np.array([True, False, False, False])
    assert fit_calibrator(np.zeros(4), clicked).predict(np.array([0.0])) == pytest.approx([0.25])
    backwards = fit_calibrator(np.array([1.0, 2, 3, 4]), clicked).predict(np.array([1.0, 4]))
    assert backwards == pytest.approx([0.25, 0.25], abs=1e-3)


@pytest.mark.parametrize(
    ("raw", "clicked", "message"),
    [
        ([], [], "0 of 0 candidates were clicked"),
        ([1.0, 2.0], [0, 0], "0 of 2 candidates were clicked"),
        ([1.0, 2.0], [1, 1], "2 of 2 candidates were clicked"),
        ([1.0, np.nan], [0, 1], "1 of 2 raw scores are not finite"),
    ],
)
def test_refuses_what_it_cannot_learn_from(raw, clicked, message):
    with pytest.raises(ContractError, match=message):
        fit_calibrator(np.array(raw), np.array(clicked, bool))
