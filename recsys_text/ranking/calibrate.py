"""Maps the blend's raw score to a click probability, keeping its order. Knows neither features nor items.

A raw score has a meaning within its impression only, so that its level says nothing: what is calibrated is its share of
the impression, the softmax, which knows how many candidates there are and how they compare. On days unlike those of the
training this keeps its level where raw scores drift.

Shapes: N impressions, P pairs of an impression and a candidate, B blocks of the isotonic fit. The pairs of impression n
are the slice offsets_N1[n]:offsets_N1[n + 1].
"""

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.isotonic import isotonic_regression

from recsys_text.errors import ContractError

Double = NDArray[np.float64]
Float = NDArray[np.floating[Any]]
Bool = NDArray[np.bool_]
Int = NDArray[np.integer[Any]]

# The share of the way to 0 or 1 that scores beyond the outermost blocks may go: they stay in order, and
# their probability stays, for all purposes, that of the block.
_TAIL = 1e-3
# Where the factor of the raw scores is looked for; they spread by about 1 within an impression.
_STEEPNESS = 1 / 32, 32.0


@dataclass(frozen=True, kw_only=True)
class Calibrator:
    """Straight lines between the blocks (share_B, probability_B), both strictly ascending, and flat tails.

    The shares are logarithms of softmaxes of `steepness` times the raw scores. `spread`, in the same unit, is how far
    into a tail half of its rise lies.
    """

    steepness: float
    share: tuple[float, ...]
    probability: tuple[float, ...]
    spread: float

    def predict(self, raw_P: Float, offsets_N1: Int) -> Double:
        """Click probabilities, float64[P] in (0, 1); in an impression a higher raw score never gets a lower one.

        Strictly higher as far as float64 can tell: sort before rounding to float32.
        """
        x_B, p_B = np.array(self.share), np.array(self.probability)
        x_P = log_share(self.steepness * np.asarray(raw_P, np.float64), offsets_N1)
        left_P = np.clip(np.searchsorted(x_B, x_P, side="right") - 1, 0, max(0, len(x_B) - 2))
        right_P = np.minimum(left_P + 1, len(x_B) - 1)
        width_P = np.where(right_P > left_P, x_B[right_P] - x_B[left_P], 1.0)
        part_P = np.clip((x_P - x_B[left_P]) / width_P, 0.0, 1.0)
        inside_P = np.minimum(p_B[left_P] + part_P * (p_B[right_P] - p_B[left_P]), p_B[right_P])
        below_P = _rise((x_B[0] - x_P) / self.spread) * p_B[0]
        above_P = _rise((x_P - x_B[-1]) / self.spread) * (1 - p_B[-1])
        return np.asarray(inside_P - _TAIL * below_P + _TAIL * above_P)

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Calibrator":
        """Reads what `to_json` wrote; floats come back to the last bit."""
        read = json.loads(text)
        return cls(
            steepness=read["steepness"],
            share=tuple(read["share"]),
            probability=tuple(read["probability"]),
            spread=read["spread"],
        )


def fit_calibrator(raw_P: Float, clicked_P: Bool, offsets_N1: Int) -> Calibrator:
    """Isotonic regression of the clicks on the scores' shares (Zadrozny and Elkan 2002), made strictly increasing.

    The scores' steepness is the one under which the clicks are likeliest (temperature scaling, Guo et al. 2017).

    Isotonic regression alone gives all scores of a block one probability, which would tie candidates that
    the blend tells apart. Here each block's click rate holds at the block's mean log share, with straight
    lines between. A block without a click, or with nothing else, gets half a click more or less.

    The pairs must be whole pools: with negatives left out, the probabilities would be those of the sample.

    Raises ContractError for a raw score that is not finite, and where there is nothing clicked or nothing else.
    """
    if not np.isfinite(raw_P).all():
        raise ContractError(
            f"{np.sum(~np.isfinite(raw_P))} of {len(raw_P)} raw scores are not finite; score every pair"
        )
    clicks = int(clicked_P.sum())
    if clicks in (0, len(clicked_P)):
        raise ContractError(
            f"{clicks} of {len(clicked_P)} candidates were clicked, so a click probability cannot be fitted; "
            "take more windows or check the events"
        )
    exact_P = np.asarray(raw_P, np.float64)
    found = minimize_scalar(
        lambda power: -np.mean(log_share(np.exp(power) * exact_P, offsets_N1)[clicked_P]),
        bounds=np.log(_STEEPNESS),
        method="bounded",
    )
    steepness = float(np.exp(found.x))
    value, group_P = np.unique(log_share(steepness * exact_P, offsets_N1), return_inverse=True)
    size = np.bincount(group_P).astype(np.float64)
    clicked = np.bincount(group_P, weights=clicked_P)
    fitted = isotonic_regression(clicked / size, sample_weight=size)
    # Equal but for rounding is one block: the blocks' rates must ascend strictly.
    start_B = np.flatnonzero(np.diff(fitted, prepend=-1.0) > 1e-12)
    size_B, clicked_B = np.add.reduceat(size, start_B), np.add.reduceat(clicked, start_B)
    rate_B = clicked_B / size_B
    if rate_B[0] == 0:
        rate_B[0] = min(0.5 / size_B[0], rate_B[1] / 2)
    if rate_B[-1] == 1:
        rate_B[-1] = 1 - min(0.5 / size_B[-1], (1 - rate_B[-2]) / 2)
    return Calibrator(
        steepness=steepness,
        share=tuple((np.add.reduceat(value * size, start_B) / size_B).tolist()),
        probability=tuple(rate_B.tolist()),
        spread=float(np.ptp(value)) or 1.0,
    )


def log_share(raw_P: Double, offsets_N1: Int) -> Double:
    """The logarithm of each score's softmax within its impression, float64[P]."""
    size_N = np.diff(offsets_N1)
    size_N, begin_N = size_N[size_N > 0], np.asarray(offsets_N1)[:-1][size_N > 0]
    if not len(size_N):
        return np.zeros(0)
    apart_P = raw_P - np.repeat(np.maximum.reduceat(raw_P, begin_N), size_N)
    return np.asarray(apart_P - np.repeat(np.log(np.add.reduceat(np.exp(apart_P), begin_N)), size_N))


def _rise(distance_P: Double) -> Double:
    """From 0 at 0 towards 1, ever slower but never flat; 0 for a negative distance."""
    beyond_P = np.maximum(distance_P, 0.0)
    return np.asarray(beyond_P / (1 + beyond_P))
