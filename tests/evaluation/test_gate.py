"""What the gate promotes, and how often it promotes what is no better."""

from dataclasses import replace

import numpy as np
import pytest

from recsys_text.errors import ContractError
from recsys_text.evaluation.bootstrap import intervals
from recsys_text.evaluation.gate import decide
from recsys_text.evaluation.guards import Guard

COVERED = Guard(
    key="min_coverage", what="items in lists, ratio", value=0.6, low=0.5, high=0.7, bound=0.5, at_least=True
)
HARMED = Guard(
    key="max_slice_loss", what="gain", part="new_item", value=-0.3, low=-0.4, high=-0.2, bound=-0.01, at_least=True
)


def test_the_gate_promotes_a_clear_gain_and_nothing_less():
    random = np.random.default_rng(4)
    champion, users = random.random(400), np.arange(400) // 2
    better = champion + random.normal(0.05, 0.1, 400)
    assert decide(better, champion, users, min_gain=0.0, seed=0).promote
    assert not decide(better, champion, users, min_gain=0.05, seed=0).promote
    assert not decide(champion, better, users, min_gain=0.0, seed=0).promote
    noise = champion + random.normal(0.0, 0.3, 400)
    verdict = decide(noise, champion, users, min_gain=0.0, seed=0)
    assert not verdict.promote
    assert verdict.low < 0 < verdict.high
    assert "does not clear gate.min_gain = 0" in verdict.line


def test_the_gate_is_about_pairs():
    # The champion varies far more between users than the gain: only a paired comparison can see it.
    champion = np.random.default_rng(5).random(200)
    assert decide(champion + 0.001, champion, np.arange(200), min_gain=0.0, seed=0).promote


def test_the_gate_keeps_the_champion_where_there_is_no_evidence():
    assert not decide(np.ones(9), np.zeros(9), np.zeros(9, int), min_gain=0.0, seed=0).promote
    assert not decide(np.zeros(0), np.zeros(0), np.zeros(0, int), min_gain=-1.0, seed=0).promote
    few = decide(np.ones(19), np.zeros(19), np.arange(19), min_gain=0.0, seed=0)
    assert not few.promote
    assert few.line.endswith("+1.0000 is one of fewer than 20 users, too few to tell; take more evaluation.windows")
    assert decide(np.ones(20), np.zeros(20), np.arange(20), min_gain=0.0, seed=0).promote
    unknown = np.where(np.arange(20) < 19, 1.0, np.nan)
    assert not decide(unknown, np.zeros(20), np.arange(20), min_gain=0.0, seed=0).promote
    equal = np.random.default_rng(6).random(50)
    assert not decide(equal, equal, np.arange(50), min_gain=0.0, seed=0).promote
    with pytest.raises(ContractError, match="evaluate both on the same ones"):
        decide(np.zeros(2), np.zeros(3), np.zeros(3, int), min_gain=0.0, seed=0)


def test_a_guard_refuses_a_gain_and_never_makes_up_for_one():
    champion = np.random.default_rng(5).random(200)
    better, users = champion + 0.1, np.arange(200)
    assert decide(better, champion, users, min_gain=0.0, seed=0, guards=[COVERED]).promote
    refused = decide(better, champion, users, min_gain=0.0, seed=0, guards=[COVERED, HARMED])
    assert not refused.promote
    assert refused.line.endswith(
        "clears gate.min_gain = 0; but gain in slice new_item -0.3000 [-0.4000, -0.2000] is below -0.01 "
        "(gate.max_slice_loss)"
    )
    assert not decide(champion, better, users, min_gain=0.0, seed=0, guards=[COVERED]).promote


def test_an_interval_that_reaches_its_bound_is_no_evidence():
    assert replace(COVERED, high=0.5).passed
    assert not replace(COVERED, high=0.499).passed
    assert replace(COVERED, at_least=False, low=0.5).passed
    assert not replace(COVERED, at_least=False, low=0.501).passed


def test_unknown_numbers_are_null():
    told = decide(np.zeros(0), np.zeros(0), np.zeros(0, int), min_gain=0.0, seed=0, guards=[HARMED]).to_json()
    assert (told["gain"], told["low"], told["gains"]) == (None, None, False)
    assert (told["guards"][0]["part"], told["guards"][0]["passed"]) == ("new_item", False)


@pytest.mark.parametrize(("users", "level"), [(20, (0.03, 0.05)), (100, (0.02, 0.035))])
def test_how_often_noise_promotes(users, level):
    """Each column is a night: the same bootstrap as `decide`, for all of them at once."""
    nights, each = 2000, 3
    who, low = np.repeat(np.arange(users), each), []
    error = np.sqrt((0.4 * 0.2**2 / each + 0.05**2) / users)
    for seed in range(5):
        random = np.random.default_rng(seed)
        some = random.random((len(who), nights)) < 0.4
        gains = some * random.normal(0, 0.2, some.shape) + random.normal(0, 0.05, (users, nights))[who]
        found = intervals(gains, who, resamples=1000, seed=seed)
        low += [one.low for one in found]
        first = decide(gains[:, 0], np.zeros(len(who)), who, min_gain=0.0, seed=seed)
        assert first.low == pytest.approx(found[0].low)
    level_of_noise, of_worse, of_much_worse = (float(np.mean(np.array(low) - lost * error > 0)) for lost in (0, 1, 2))
    assert level[0] < level_of_noise < level[1]
    assert of_worse < 0.006
    assert of_much_worse < 0.0005
