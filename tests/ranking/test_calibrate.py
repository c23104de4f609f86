from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from recsys_text.errors import ContractError
from recsys_text.evaluation.calibration import calibration_error
from recsys_text.ranking.calibrate import _USUAL, MEMORY, Calibrator, evenness, fit_calibrator, follow, log_share

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


@settings(deadline=None)
@example([(0.0, False), (8.978, True), (8.978, True)], [0.0, 0.001])
@given(pairs, st.lists(raw_score, min_size=2, max_size=40, unique=True))
def test_keeps_the_order_strictly_and_gives_probabilities(pairs, others):
    found = fitted(pairs).predict(np.sort(others), one(others))
    assert np.all(np.diff(found) > 0)
    assert found[0] > 0
    assert found[-1] < 1


@settings(deadline=None)
@given(pairs, st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=40))
def test_never_turns_an_order_round_however_close_or_far(pairs, others):
    found = fitted(pairs).predict(np.sort(others), one(others))
    assert np.all(np.diff(found) >= 0)
    assert 0 < found[0] <= found[-1] < 1
    rounded = found.astype(np.float32)
    assert 0 < rounded[0] <= rounded[-1] < 1


@settings(deadline=None)
@given(pairs)
def test_json_brings_every_bit_back(pairs):
    calibrator = fitted(pairs)
    assert Calibrator.from_json(replace(calibrator, later=((3, 0.1, -0.7),)).to_json()) == calibrator


def test_shares_are_those_of_the_impression():
    found = log_share(np.array([0.0, np.log(3), 5.0, 1e4, -1e4]), np.array([0, 0, 2, 3, 3, 5]))
    assert np.exp(found) == pytest.approx([1 / 4, 3 / 4, 1, 1, 0])
    assert log_share(np.zeros(0), np.zeros(1, int)).tolist() == []


def test_evenness_worked_by_hand():
    # Four alike; a half and two quarters: entropy 1.5 bits of log2(3); one that leaves nothing to the other; one alone.
    raw = np.array([2.0, 2, 2, 2, np.log(2), 0, 0, 1e4, 0, 3])
    found = evenness(raw, np.array([0, 0, 4, 7, 9, 10]))
    assert found == pytest.approx([0, 1, 1.5 / np.log2(3), 0, 0])


def drawn(impressions, candidates, level, seed, *, clicks=1, steepness=lambda raw_N: 3.0):
    """Impressions clicked by a softmax of steeper raw scores, which lie around a level that drifts.

    Several clicks are drawn one after the other without replacement, the largest of scores plus Gumbel noise.
    """
    random = np.random.default_rng(seed)
    raw = random.normal(size=(impressions, candidates))
    steep = steepness(raw) * raw
    clicked = np.zeros(raw.shape, bool)
    first = np.argsort(-steep - random.gumbel(size=raw.shape), axis=1)[:, :clicks]
    np.put_along_axis(clicked, first, True, axis=1)
    offsets = np.arange(impressions + 1) * candidates
    truth = np.exp(log_share(steep.ravel(), offsets))
    return (raw + level * random.normal(size=(impressions, 1))).ravel(), clicked.ravel(), offsets, truth


def test_the_level_of_an_impression_and_the_size_of_its_pool_are_no_matter():
    found = fit_calibrator(*drawn(4000, 50, 0, 0)[:3])
    assert found.steepness * np.exp(found.level) == pytest.approx(3, rel=0.2)
    assert found.beta == pytest.approx((1, 1, 0), abs=0.2)
    raw, clicked, offsets, truth = drawn(2000, 200, 10, 1)
    said = found.predict(raw, offsets)
    assert calibration_error(said, clicked, top=0.01) < 0.02
    # Against the truth rather than the drawn clicks, which scatter by more than the error that we look for.
    top = np.argsort(-truth)[:2000]
    assert np.abs(said - truth)[top].mean() < 0.02 < truth[top].mean() / 5


def steeper_where_one_stands_out(raw):
    return np.exp(2 - 2 * evenness((2 * raw).ravel(), np.arange(len(raw) + 1) * raw.shape[1]))[:, None]


def test_where_one_stands_out_the_softmax_is_as_steep_as_there():
    # What is learned on small pools, where somebody stands out often, holds on others, where nobody does.
    found = fit_calibrator(*drawn(6000, 20, 0, 0, steepness=steeper_where_one_stands_out)[:3])
    assert found.slope < -0.5
    raw, _, offsets, truth = drawn(2000, 60, 0, 1, steepness=steeper_where_one_stands_out)
    top = np.argsort(-truth)[:2000]
    single = replace(found, level=0.0, slope=0.0)
    wrong, rest = (np.abs(said.predict(raw, offsets) - truth)[top].mean() for said in (single, found))
    assert rest < 0.5 * wrong


def test_where_several_of_an_impression_are_clicked_the_probabilities_are_their_rates():
    found = fit_calibrator(*drawn(4000, 40, 0, 0, clicks=6)[:3])
    raw, clicked, offsets, _ = drawn(4000, 40, 0, 1, clicks=6)
    said = found.predict(raw, offsets)
    assert said.sum() == pytest.approx(clicked.sum(), rel=0.02)
    assert calibration_error(said, clicked) < 0.01
    assert calibration_error(said, clicked, top=0.1) < 0.02


def test_many_clicks_move_what_a_handful_cannot():
    few, many = (
        fit_calibrator(*drawn(number, 20, 0, 0, steepness=steeper_where_one_stands_out)[:3]) for number in (30, 6000)
    )
    assert abs(few.slope - _USUAL[1]) < 0.3
    assert many.slope < few.slope - 0.3


HOURS = MEMORY // 24


@pytest.fixture(scope="module")
def usual():
    return fit_calibrator(*drawn(4000, 30, 0, 0, steepness=lambda raw: 2.0)[:3])


@pytest.fixture(scope="module")
def two_days():
    """A thousand impressions whose clicks are surer than usual, then as many that are less; when they are known."""
    known = np.repeat([HOURS, 26 * HOURS], 1000)
    steep = np.where(known == HOURS, 3.0, 1.3)[:, None]
    return *drawn(len(known), 30, 0, 4, steepness=lambda raw: steep), known


def test_the_clicks_of_a_day_are_followed_as_soon_as_they_are_known(usual, two_days):
    raw, clicked, offsets, truth, known = two_days
    found = follow(usual, raw, clicked, offsets, known, [HOURS, 26 * HOURS])
    assert (found.predict(raw, offsets, known * 0 + HOURS - 1) == usual.predict(raw, offsets)).all()
    top = np.flatnonzero(truth > np.quantile(truth, 0.95))
    for time in (HOURS, 26 * HOURS):
        of_day = top[np.repeat(known == time, 30)[top]]
        before, after = (
            np.abs(said - truth)[of_day].mean()
            for said in (usual.predict(raw, offsets), found.predict(raw, offsets, known))
        )
        assert after < 0.4 * before


def test_what_is_known_later_or_was_known_a_day_ago_is_no_matter(usual, two_days):
    raw, clicked, offsets, _, known = two_days
    looks = [HOURS, 24 * HOURS, 25 * HOURS, 26 * HOURS]
    found = follow(usual, raw, clicked, offsets, known, looks).later
    assert found[0][1:] == found[1][1:] != (usual.level, usual.slope)
    assert found[2][1:] == (usual.level, usual.slope), "all that was known is a day old"
    newer = np.repeat(known > HOURS, 30)
    other = follow(usual, raw, np.where(newer, np.roll(clicked, 7), clicked), offsets, known, looks).later
    assert other[:3] == found[:3]
    assert other[3] != found[3]
    assert follow(usual, raw[newer], clicked[newer], offsets[:1001], known[known > HOURS], looks).later[3] == found[3]


def test_a_handful_of_clicks_moves_little_and_none_moves_nothing(usual, two_days):
    raw, _, offsets, _, known = two_days
    surest = (raw.reshape(-1, 30) == raw.reshape(-1, 30).max(1, keepdims=True)).ravel()
    few, many = (
        follow(usual, raw[: 30 * number], surest[: 30 * number], offsets[: number + 1], known[:number], [HOURS])
        for number in (2, 1000)
    )
    assert usual.level < few.later[0][1] < usual.level + 0.2
    assert many.later[0][1] > usual.level + 0.5
    for pairs, number in ((150, 5), (0, 0)):
        nothing = np.zeros(pairs, bool)
        found = follow(usual, raw[:pairs], nothing, offsets[: number + 1], known[:number], [HOURS])
        assert found.later == ((HOURS, usual.level, usual.slope),)
    with pytest.raises(ContractError, match="1 of 2 raw scores are not finite"):
        follow(usual, np.array([np.nan, 0]), np.array([True, False]), np.array([0, 2]), np.zeros(1), [0])


def test_scores_that_say_nothing_give_the_click_rate():
    clicked = np.array([True, False, False, False])
    found = fit_calibrator(np.zeros(4), clicked, one(clicked))
    assert found.predict(np.zeros(4), one(clicked)) == pytest.approx([0.25] * 4)
    backwards = fit_calibrator(np.array([1.0, 2, 3, 4]), clicked, one(clicked))
    assert backwards.predict(np.array([1.0, 2, 3, 4]), one(clicked)) == pytest.approx([0.25] * 4, abs=0.02)


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
