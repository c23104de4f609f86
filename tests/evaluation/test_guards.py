"""Each guard refuses on evidence of harm, keeps quiet without, and all of them together seldom refuse for nothing."""

import numpy as np
import pytest

from recsys_text.evaluation.guards import FEWEST, guards, slowdown
from recsys_text.ranking.candidates import kept
from recsys_text.ranking.log import Impressions
from recsys_text.sections import Gate

USERS, EACH, LENGTH, ITEMS = 100, 4, 30, 300
SLICES = 13


def shown(length=LENGTH, users=USERS, each=EACH):
    random, number = np.random.default_rng(0), users * each
    clicked = np.zeros((number, length), bool)
    clicked[np.arange(number), random.integers(length, size=number)] = True
    return Impressions(
        user=np.repeat(np.arange(users), each).astype(np.int32),
        time=np.arange(number),
        offsets=np.arange(number + 1) * length,
        item=np.sort(random.random((number, ITEMS)).argsort(axis=1)[:, :length]).ravel().astype(np.int32),
        clicked=clicked.ravel(),
    )


def probabilities(impressions, sure=1.0, seed=1):
    """Of a ranker that sees the clicks through noise: calibrated where it is as `sure` as it should be."""
    shape = len(impressions), -1
    noise = np.random.default_rng(seed).normal(size=len(impressions.item)).reshape(shape)
    raw = sure * (4 * impressions.clicked.reshape(shape) + 2 * noise)
    share = np.exp(raw - raw.max(axis=1, keepdims=True))
    return (share / share.sum(axis=1, keepdims=True)).ravel()


def asked_of(challenger, champion, impressions, gains=None, parts=None, asked=None, **given):
    gains = np.zeros(len(impressions)) if gains is None else gains
    chosen = {"unknown_P": np.zeros(len(impressions.item), bool), "resamples": 200, "seed": 3} | given
    found = guards(challenger, champion, gains, impressions, parts or {}, np.arange(ITEMS), asked or Gate(), **chosen)
    return {(guard.key, guard.part): guard for guard in found}


def of(found, key, part=""):
    return found[f"max_{key}" if key != "min_coverage" else key, part]


@pytest.fixture(scope="module")
def impressions():
    return shown()


def test_what_had_no_score_yet_is_no_prediction_and_in_no_list(impressions):
    honest, unknown = probabilities(impressions), np.random.default_rng(2).random(len(impressions.item)) < 0.2
    known = kept(impressions, np.flatnonzero(~unknown))
    last = np.where(unknown, -1, honest)
    assert asked_of(last, last, impressions, unknown_P=unknown) == asked_of(honest[~unknown], honest[~unknown], known)


def test_a_ranker_that_is_too_sure_of_itself_is_refused(impressions):
    sure, honest = probabilities(impressions, sure=3.0), probabilities(impressions)
    found = asked_of(sure, sure, impressions)
    assert not of(found, "calibration_error").passed
    assert of(found, "calibration_error").low > 0.1
    assert of(found, "calibration_loss").passed, "the champion is no better"
    assert of(asked_of(honest, honest, impressions), "calibration_error").passed


def test_a_ranker_that_is_less_calibrated_than_the_champion_is_refused(impressions):
    sure, honest = probabilities(impressions, sure=3.0), probabilities(impressions)
    loose = Gate(max_calibration_error=1.0)
    assert not of(asked_of(sure, honest, impressions, asked=loose), "calibration_loss").passed
    assert of(asked_of(honest, sure, impressions, asked=loose), "calibration_loss").passed
    other = probabilities(impressions, seed=2)
    assert of(asked_of(other, honest, impressions, asked=loose), "calibration_loss").passed


def test_what_chance_adds_to_an_error_is_taken_off(impressions):
    honest = probabilities(impressions)
    error = of(asked_of(honest, honest, impressions), "calibration_error")
    assert error.low < 0 < error.value < error.high
    assert (error.low + error.high) / 2 < 0.9 * error.value


def test_a_few_pairs_say_nothing_of_calibration():
    few = shown(length=10)
    found = asked_of(probabilities(few, sure=9.0), probabilities(few), few)
    assert {key for key, _ in found} == {"min_coverage"}


def test_lists_of_a_few_items_are_refused():
    impressions = shown(length=60)
    # Whoever it is, the first items of the catalogue.
    same = 1 / (2.0 + impressions.item)
    honest = probabilities(impressions)
    collapsed = of(asked_of(same, honest, impressions), "min_coverage")
    assert not collapsed.passed
    assert collapsed.value == pytest.approx(distinct(same, impressions) / distinct(honest, impressions))
    assert of(asked_of(honest, same, impressions), "min_coverage").passed
    other = of(asked_of(probabilities(impressions, seed=5), honest, impressions), "min_coverage")
    assert other.passed
    assert other.low < other.high, "whose lists they are is chance"


def distinct(scores, impressions):
    best = np.argsort(-scores.reshape(len(impressions), -1), axis=1, kind="stable")[:, :10]
    return len(np.unique(np.take_along_axis(impressions.item.reshape(len(impressions), -1), best, axis=1)))


def test_harm_in_a_slice_is_refused_however_much_is_gained_elsewhere(impressions):
    honest, random = probabilities(impressions), np.random.default_rng(4)
    new = np.arange(len(impressions)) % EACH == 0
    gains = 0.5 - new + random.normal(0, 0.1, len(impressions))
    parts = {"all": np.ones(len(new), bool), "new_item": new, "few_clicks": ~new}
    found = asked_of(honest, honest, impressions, gains, parts)
    assert {part for _, part in found} == {"", "new_item", "few_clicks"}, "the whole is the gain, which is no guard"
    assert not of(found, "slice_loss", "new_item").passed
    assert of(found, "slice_loss", "few_clicks").passed
    loose = asked_of(honest, honest, impressions, gains, parts, Gate(max_slice_loss=0.6))
    assert of(loose, "slice_loss", "new_item").passed


def test_a_slice_of_a_few_users_is_not_guarded(impressions):
    honest, gains = probabilities(impressions), np.full(len(impressions), -1.0)
    for users, guarded in ((FEWEST - 1, False), (FEWEST, True)):
        found = asked_of(honest, honest, impressions, gains, {"new_user": impressions.user < users})
        assert (("max_slice_loss", "new_user") in found) == guarded


def test_undefined_gains_are_left_out(impressions):
    honest, new = probabilities(impressions), np.arange(len(impressions)) % EACH == 0
    gains = np.where(new, np.nan, 0.1)
    found = asked_of(honest, honest, impressions, gains, {"new_item": new, "new_user": ~new})
    assert ("max_slice_loss", "new_item") not in found
    assert of(found, "slice_loss", "new_user").value == pytest.approx(0.1)


def test_the_same_seed_says_the_same(impressions):
    one, other = probabilities(impressions), probabilities(impressions, seed=2)
    said = asked_of(one, other, impressions)
    assert asked_of(one, other, impressions) == said
    assert asked_of(one, other, impressions, seed=4) != said


def test_nothing_to_tell_from_is_no_guard(impressions):
    one = probabilities(impressions)
    assert asked_of(one, one, impressions, resamples=1) == {}
    nothing = Impressions(
        user=np.zeros(0, np.int32),
        time=np.zeros(0, int),
        offsets=np.zeros(1, int),
        item=np.zeros(0, np.int32),
        clicked=np.zeros(0, bool),
    )
    assert asked_of(np.zeros(0), np.zeros(0), nothing) == {}


def test_what_is_bounded_by_infinity_is_not_asked(impressions):
    one, many = probabilities(impressions), {"new_user": impressions.user < USERS}
    off = Gate(max_calibration_error=np.inf, max_calibration_loss=np.inf, max_slice_loss=np.inf)
    found = asked_of(one, one, impressions, parts=many, asked=off)
    assert set(found) == {("min_coverage", "")}


def test_how_long_scoring_may_take():
    assert slowdown(3.0, 1.0, Gate()).passed
    slow = slowdown(3.1, 1.0, Gate())
    assert not slow.passed
    assert (slow.value, slow.low, slow.high) == (3.1, 3.1, 3.1)
    assert slowdown(3.1, 1.0, Gate(max_slowdown=4.0)).passed


def refused(few, asked, *, harm=0.0, nights=150):
    """The share of nights on which a guard refuses a challenger that gains nothing, and loses `harm` in a slice."""
    honest, count, bad = np.full(len(few.item), 0.5), len(few), 0
    for night in range(nights):
        random = np.random.default_rng(night)
        gains = (random.random(count) < 0.4) * random.normal(0, 0.2, count)
        gains += random.normal(0, 0.05, USERS)[few.user]
        parts = {f"slice {place}": random.random(count) < share for place, share in enumerate(SHARES)}
        gains -= harm * parts[f"slice {SLICES - 1}"]
        found = asked_of(honest, honest, few, gains, parts, asked, resamples=100, seed=night)
        assert len(found) == SLICES + 1
        bad += not all(guard.passed for guard in found.values())
    return bad / nights


SHARES = np.linspace(0.25, 0.55, SLICES)


def test_how_often_guards_refuse():
    """The slices' standard errors are about .014 for the smallest and .01 for the largest."""
    few = shown(length=2)
    assert refused(few, Gate(max_slice_loss=0.0)) <= 0.07
    assert refused(few, Gate()) <= 0.02
    assert refused(few, Gate(), harm=0.055) >= 0.8
