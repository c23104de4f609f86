"""Maps the blend's raw score to a click probability, keeping its order. Knows neither features nor items.

A raw score has a meaning within its impression only, so that its level says nothing: what is calibrated is its share of
the impression, the softmax, which knows how many candidates there are and how they compare. On days unlike those of the
training this keeps its level where raw scores drift.

How steep that softmax ought to be depends on the impression. Where one candidate stands out (a story that everybody
reads) a blend is less sure than it could be, where many are alike it is too sure; days differ in how many impressions
they have of each sort, so that a single steepness is right for the days it was fitted on and wrong for the next.

Days also differ as a whole: on one everybody reads a single story, on the next nobody does. No day of the training
tells which is coming, but the newest clicks tell which it is: `follow` lets steepness go with them.

Shapes: N impressions, P pairs of an impression and a candidate. The pairs of impression n are the slice
offsets_N1[n]:offsets_N1[n + 1].
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit

from recsys_text.errors import ContractError
from recsys_text.ranking.log import HOUR

Double = NDArray[np.float64]
Float = NDArray[np.floating[Any]]
Bool = NDArray[np.bool_]
Int = NDArray[np.integer[Any]]

# Where the factor of the raw scores is looked for; they spread by about 1 within an impression.
_STEEPNESS = 1 / 32, 32.0
# A share nearer to 1 has no logarithm of what is missing that float64 could tell.
_NEAREST = -1e-12
# The least weight of a share: even where clicks say the opposite, a higher score gets a higher probability.
_LEAST = 1e-3
#: Microseconds of newest clicks that are followed: a day has each of its hours once.
MEMORY = 24 * HOUR
# Log odds beyond which no log can tell. There they go on, but so slowly that float32 keeps them apart from 0 and 1.
_HIGHEST, _LOWEST = 12.0, -60.0


@dataclass(frozen=True, kw_only=True)
class Calibrator:
    """Softmax with a steepness for each impression, then the beta map of its shares.

    An impression's raw scores are multiplied by steepness * exp(level + slope * evenness), where its evenness is that
    of the softmax at `steepness`. `beta` holds a, b and c of
    log(p / (1 - p)) = a * log(share) - b * log(1 - share) + c, with a > 0 and b >= 0. `later` holds times in
    microseconds, ascending, with the level and the slope that hold from each of them on.
    """

    steepness: float
    level: float
    slope: float
    beta: tuple[float, float, float]
    later: tuple[tuple[int, float, float], ...] = ()

    def predict(self, raw_P: Float, offsets_N1: Int, time_N: Int | None = None) -> Double:
        """Click probabilities, float64[P] in (0, 1); in an impression a higher raw score never gets a lower one.

        Strictly higher as far as float64 can tell: sort before rounding to float32. time_N: of each impression, in
        microseconds; without it nothing that is `later` counts.
        """
        steep_P = self.steepness * np.asarray(raw_P, np.float64)
        level_N, slope_N = (self.level, self.slope) if time_N is None else self._held(time_N)
        share_P = log_share(
            _sharpened(steep_P, evenness(steep_P, offsets_N1), offsets_N1, level_N, slope_N), offsets_N1
        )
        log_odds_P = _odds(share_P) @ np.array(self.beta)
        near_P = np.clip(log_odds_P, _LOWEST, _HIGHEST)
        beyond_P = log_odds_P - near_P
        return np.asarray(expit(near_P + np.sign(beyond_P) * np.log1p(np.abs(beyond_P))))

    def _held(self, time_N: Int) -> tuple[Double, Double]:
        """The level and the slope that hold at each time."""
        place_N = np.searchsorted([time for time, _, _ in self.later], time_N, side="right")
        held = np.array([(self.level, self.slope), *(held for _, *held in self.later)])[place_N]
        return held[:, 0], held[:, 1]

    def to_json(self) -> str:
        """All but what is `later`, which is made anew from the newest clicks."""
        return json.dumps({name: value for name, value in asdict(self).items() if name != "later"})

    @classmethod
    def from_json(cls, text: str) -> "Calibrator":
        """Reads what `to_json` wrote; floats come back to the last bit."""
        read = json.loads(text)
        return cls(steepness=read["steepness"], level=read["level"], slope=read["slope"], beta=tuple(read["beta"]))


def fit_calibrator(raw_P: Float, clicked_P: Bool, offsets_N1: Int) -> Calibrator:
    """The parameters under which the clicks are likeliest: those of the softmax first, then those of the beta map.

    Temperature scaling (Guo et al. 2017), here with a temperature that follows the impression, then beta calibration
    (Kull et al. 2017). Where an impression has one click the beta map comes out near the identity; where it has
    several it raises the shares to their rates. Isotonic regression needs more clicks than a fifth of the users have:
    its highest blocks hold the noise of theirs.

    All but the steepness have a normal prior, so that a handful of clicks, or clicks that are told perfectly, do not
    drive them away: a, b and c of _BETA_WIDTH around what changes nothing, level and slope of _WIDTH around _USUAL.

    The pairs must be whole pools: with negatives left out, the probabilities would be those of the sample.

    Raises ContractError for a raw score that is not finite, and where there is nothing clicked or nothing else.
    """
    _check_finite(raw_P)
    clicks = int(clicked_P.sum())
    if clicks in (0, len(clicked_P)):
        raise ContractError(
            f"{clicks} of {len(clicked_P)} candidates were clicked, so a click probability cannot be fitted; "
            "take more windows or check the events"
        )
    exact_P = np.asarray(raw_P, np.float64)

    power = minimize_scalar(
        lambda x: _cross_entropy(np.exp(x) * exact_P, clicked_P, offsets_N1),
        bounds=np.log(_STEEPNESS),
        method="bounded",
    ).x
    steep_P = np.exp(power) * exact_P
    even_N = evenness(steep_P, offsets_N1)
    level, slope = _level_and_slope(steep_P, even_N, clicked_P, offsets_N1, _USUAL)
    odds_P3 = _odds(log_share(_sharpened(steep_P, even_N, offsets_N1, level, slope), offsets_N1))
    beta = minimize(
        _beta_loss,
        _UNCHANGED,
        args=(odds_P3, clicked_P),
        jac=True,
        method="L-BFGS-B",
        bounds=[(_LEAST, None), (0, None), (None, None)],
    ).x
    return Calibrator(steepness=float(np.exp(power)), level=level, slope=slope, beta=tuple(beta.tolist()))


def follow(
    calibrator: Calibrator, raw_P: Float, clicked_P: Bool, offsets_N1: Int, known_N: Int, looks: Sequence[int]
) -> Calibrator:
    """The calibrator, whose level and slope go with newer clicks than it was fitted on.

    known_N: when it is known what was clicked; looks: ascending; both in microseconds. From each look to the next hold
    the level and the slope under which the clicks of the MEMORY before it are likeliest, with a normal prior of _WIDTH
    around those of the calibrator, which hold where there are none: what comes later changes nothing.

    Raises ContractError for a raw score that is not finite.
    """
    _check_finite(raw_P)
    steep_P = calibrator.steepness * np.asarray(raw_P, np.float64)
    even_N, usual = evenness(steep_P, offsets_N1), np.array([calibrator.level, calibrator.slope])
    later = []
    for look in looks:
        near_N = (known_N > look - MEMORY) & (known_N <= look)
        near_P, size_N = np.repeat(near_N, np.diff(offsets_N1)), np.diff(offsets_N1)[near_N]
        held = calibrator.level, calibrator.slope
        if clicked_P[near_P].any():
            offsets = np.concatenate([[0], np.cumsum(size_N)])
            held = _level_and_slope(steep_P[near_P], even_N[near_N], clicked_P[near_P], offsets, usual)
        later.append((look, *held))
    return replace(calibrator, later=tuple(later))


def log_share(raw_P: Double, offsets_N1: Int) -> Double:
    """The logarithm of each score's softmax within its impression, float64[P]."""
    size_N = np.diff(offsets_N1)
    size_N, begin_N = size_N[size_N > 0], np.asarray(offsets_N1)[:-1][size_N > 0]
    if not len(size_N):
        return np.zeros(0)
    apart_P = raw_P - np.repeat(np.maximum.reduceat(raw_P, begin_N), size_N)
    return np.asarray(apart_P - np.repeat(np.log(np.add.reduceat(np.exp(apart_P), begin_N)), size_N))


def evenness(raw_P: Double, offsets_N1: Int) -> Double:
    """The entropy of each impression's softmax by the largest it could have, float64[N] in [0, 1]; of one candidate 0.

    By the largest, so that it says the same of a list of five and of a pool of five hundred.
    """
    size_N = np.diff(offsets_N1)
    share_P = log_share(raw_P, offsets_N1)
    entropy_N = -np.bincount(np.repeat(np.arange(len(size_N)), size_N), np.exp(share_P) * share_P, len(size_N))
    return np.asarray(entropy_N / np.log(np.maximum(size_N, 2)))


def _check_finite(raw_P: Float) -> None:
    if not np.isfinite(raw_P).all():
        raise ContractError(
            f"{np.sum(~np.isfinite(raw_P))} of {len(raw_P)} raw scores are not finite; score every pair"
        )


def _cross_entropy(steep_P: Double, clicked_P: Bool, offsets_N1: Int) -> float:
    """Of the softmax, in nats: the mean of -log(share) over the clicks."""
    return -float(np.mean(log_share(steep_P, offsets_N1)[clicked_P]))


def _level_and_slope(
    steep_P: Double, even_N: Double, clicked_P: Bool, offsets_N1: Int, usual: Double
) -> tuple[float, float]:
    """The likeliest ones, with a normal prior of _WIDTH around the usual ones."""
    clicks = int(clicked_P.sum())

    def loss(at: Double) -> float:
        told = _cross_entropy(_sharpened(steep_P, even_N, offsets_N1, at[0], at[1]), clicked_P, offsets_N1)
        return told + float(np.sum((at - usual) ** 2)) / (2 * clicks * _WIDTH**2)

    level, slope = minimize(
        loss,
        usual,
        method="Nelder-Mead",
        options={"xatol": 1e-3, "fatol": 1e-7, "initial_simplex": usual + _STEPS},
    ).x
    return float(level), float(slope)


def _sharpened(
    steep_P: Double, even_N: Double, offsets_N1: Int, level_N: Double | float, slope_N: Double | float
) -> Double:
    return np.asarray(steep_P * np.repeat(np.exp(level_N + slope_N * even_N), np.diff(offsets_N1)))


def _odds(log_share_P: Double) -> Double:
    """What beta calibration weighs: log(share), -log(1 - share) and 1, float64[P, 3]."""
    told_P = np.minimum(log_share_P, _NEAREST)
    return np.stack([told_P, -np.log(-np.expm1(told_P)), np.ones_like(told_P)], axis=1)


# Level and slope where all users of three days of caixin calibrate; by a fifth of them the slope is told to about .3.
_USUAL, _WIDTH = np.array([0.1, -0.3]), 0.3
# Where the search for them begins, from there.
_STEPS = np.array([[0, 0], [0.1, 0], [0, -0.3]])
# The a, b and c that leave every share as it is.
_UNCHANGED = np.array([1.0, 1.0, 0.0])
# How far they may be from it before much is known: c takes what several clicks of a list add.
_BETA_WIDTH = np.array([1.0, 1.0, 3.0])


def _beta_loss(beta: Double, odds_P3: Double, clicked_P: Bool) -> tuple[float, Double]:
    """The negative log posterior of a, b and c, and its gradient, by the number of clicks."""
    log_odds_P = odds_P3 @ beta
    away = (beta - _UNCHANGED) / _BETA_WIDTH
    loss = np.logaddexp(0, log_odds_P).sum() - log_odds_P[clicked_P].sum() + away @ away / 2
    slope = odds_P3.T @ (expit(log_odds_P) - clicked_P) + away / _BETA_WIDTH
    return float(loss / clicked_P.sum()), slope / clicked_P.sum()
