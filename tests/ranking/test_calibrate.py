import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recsys_text.errors import ContractError
from recsys_text.evaluation.calibration import calibration_error
from recsys_text.ranking.calibrate import Calibrator, fit_calibrator, log_share

# Thousandths: far enough apart that float64 can keep them apart.
raw_score = st.integers(-20_000, 20_000).map(lambda x: x / 1000)
pairs = st.lists(st.tuples(raw_score, st.booleans()), min_size=2, max_size=40)


def one(values):
    """The offsets of a single impression."""
    return np.array([0, len(values)])


def fitted(pairs):
    raw, clicked = (np.array(x) for x in zip(*pairs, strict=True))
    assume(0 < clicked.sum() < len(clicked))
    return fit_calibrator(raw, clicked, one(raw))


@given(pairs, st.lists(raw_score, min_size=2, max_size=40, unique=True))
def test_keeps_the_order_strictly_and_gives_probabilities(pairs, others):
    found = fitted(pairs).predict(np.sort(others), one(others))
    assert np.all(np.diff(found) > 0)
    assert found[0] > 0
    assert found[-1] < 1


@given(pairs, st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=40))
def test_never_turns_an_order_round_however_close_or_far(pairs, others):
    found = fitted(pairs).predict(np.sort(others), one(others))
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
    found = fit_calibrator(raw, clicked, one(raw))
    share = log_share(found.steepness * raw.astype(float), one(raw))
    assert found.share == pytest.approx((share[0], share[2:6].mean(), share[-1]))
    assert found.probability == pytest.approx((1 / 8, 1 / 4, 3 / 4))
    assert found.predict(raw, one(raw))[[0, 7]] == pytest.approx([1 / 8, 3 / 4])
    # The whole block below 1 may fall by no more than a thousandth of its rate.
    assert found.predict(np.array([-1e6, 4.0]), np.array([0, 2]))[0] == pytest.approx(1 / 8, rel=1e-3)


def test_shares_are_those_of_the_impression():
    found = log_share(np.array([0.0, np.log(3), 5.0, 1e4, -1e4]), np.array([0, 0, 2, 3, 3, 5]))
    assert np.exp(found) == pytest.approx([1 / 4, 3 / 4, 1, 1, 0])
    assert log_share(np.zeros(0), np.zeros(1, int)).tolist() == []


def drawn(impressions, candidates, level, seed):
    """Impressions with one click each by a softmax of thrice the raw scores, which lie around a level that drifts."""
    random = np.random.default_rng(seed)
    raw = random.normal(size=(impressions, candidates))
    clicked = np.zeros(raw.shape, bool)
    clicked[np.arange(impressions), np.argmax(3 * raw + random.gumbel(size=raw.shape), axis=1)] = True
    offsets = np.arange(impressions + 1) * candidates
    return (raw + level * random.normal(size=(impressions, 1))).ravel(), clicked.ravel(), offsets


def test_the_level_of_an_impression_and_the_size_of_its_pool_are_no_matter():
    found = fit_calibrator(*drawn(4000, 50, 0, 0))
    assert found.steepness == pytest.approx(3, rel=0.1)
    raw, clicked, offsets = drawn(2000, 200, 10, 1)
    truth = np.exp(log_share(3 * raw, offsets))
    said = found.predict(raw, offsets)
    assert calibration_error(said, clicked, top=0.01) < 0.02
    # Against the truth rather than the drawn clicks, which scatter by more than the error that we look for.
    top = np.argsort(-truth)[:2000]
    assert np.abs(said - truth)[top].mean() < 0.02 < truth[top].mean() / 5


def test_scores_that_say_nothing_give_the_click_rate():
    clicked = np.array([True, False, False, False])
    found = fit_calibrator(np.zeros(4), clicked, one(clicked))
    assert found.predict(np.zeros(4), one(clicked)) == pytest.approx([0.25] * 4)
    backwards = fit_calibrator(np.array([1.0, 2, 3, 4]), clicked, one(clicked))
    assert backwards.predict(np.array([1.0, 2, 3, 4]), one(clicked)) == pytest.approx([0.25] * 4, abs=1e-3)


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
        fit_calibrator(np.array(raw), np.array(clicked, bool), one(raw))
