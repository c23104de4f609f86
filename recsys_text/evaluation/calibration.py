"""How far predicted probabilities are from click rates. Knows neither methods nor impressions.

Shapes: P pairs of an impression and a candidate, B buckets of nearly equal predictions, C bins of equal mass.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys_text.errors import ContractError
from recsys_text.evaluation.parts import in_threads

Float = NDArray[np.floating[Any]]
Double = NDArray[np.float64]
Bool = NDArray[np.bool_]

BINS = 15
#: The share of highest predictions where a calibration error is worth anything.
TOP = 0.01
# Predictions are counted by the first bits of their float32, 11 of them behind the point: those of a bucket differ
# by less than 1 in 2,048.
_SHIFT = 12
_BUCKETS = (int(np.float32(1).view(np.uint32)) >> _SHIFT) + 1
_CHUNK = 1 << 21


@dataclass(frozen=True, kw_only=True, eq=False)
class Calibration:
    """How many predictions fall in each bucket, their sum and their clicks, float64[B] each; predictions ascend.

    Two of them add up, so that any number of predictions can be counted in parts.
    """

    size: Double
    predicted: Double
    clicked: Double

    def __add__(self, other: "Calibration") -> "Calibration":
        return Calibration(
            size=self.size + other.size,
            predicted=self.predicted + other.predicted,
            clicked=self.clicked + other.clicked,
        )

    def bins(self, *, bins: int = BINS, top: float = 1.0) -> tuple[Double, Double, Double]:
        """Pairs, mean prediction and click rate of each bin, float64[C] each, lowest predictions first.

        The bins have equal mass and hold the share `top` of highest predictions. Equal predictions share their
        click rate, so that the cut between bins favours no order. Empty without pairs.
        """
        total = self.size.sum()
        if not total:
            return np.zeros(0), np.zeros(0), np.zeros(0)
        edges = np.linspace(total - max(1.0, np.round(top * total)), total, bins + 1)
        ends = np.concatenate(([0.0], np.cumsum(self.size)))
        # The first place of each sum: an empty bucket repeats it, and interpolation wants them to ascend.
        some = np.concatenate(([True], self.size > 0))
        predicted, clicked = (
            np.diff(np.interp(edges, ends[some], np.concatenate(([0.0], np.cumsum(sums)))[some]))
            for sums in (self.predicted, self.clicked)
        )
        size = np.diff(edges)
        # Interpolation rounds: a share must not exceed 1 by the last bit.
        return size, np.clip(predicted / size, 0, 1), np.clip(clicked / size, 0, 1)

    def error(self, *, bins: int = BINS, top: float = 1.0) -> float:
        """Expected calibration error over bins of equal mass, on the share `top` of highest predictions.

        sum over bins of (bin's share of pairs) * |mean prediction - click rate| (Naeini et al. 2015, with the
        equal-mass bins of Nguyen and O'Connor 2015). With one click in hundreds of candidates the error over
        all pairs flatters anything, hence TOP. NaN without pairs.
        """
        size, predicted, rate = self.bins(bins=bins, top=top)
        return float(np.average(np.abs(predicted - rate), weights=size)) if len(size) else float("nan")


def calibration(probability_P: Float, clicked_P: Bool, *, threads: int = 0) -> Calibration:
    """Counts predictions. threads: 0 takes all cores; their number changes no value.

    Raises ContractError for a prediction outside [0, 1].
    """
    starts = range(0, len(probability_P), _CHUNK)
    found = in_threads(lambda at: _count(probability_P[at : at + _CHUNK], clicked_P[at : at + _CHUNK]), starts, threads)
    return sum(found, Calibration(size=np.zeros(_BUCKETS), predicted=np.zeros(_BUCKETS), clicked=np.zeros(_BUCKETS)))


def calibration_error(probability_P: Float, clicked_P: Bool, *, bins: int = BINS, top: float = 1.0) -> float:
    """`Calibration.error` of these predictions. Raises ContractError for a prediction outside [0, 1]."""
    return calibration(probability_P, clicked_P).error(bins=bins, top=top)


def _count(probability_P: Float, clicked_P: Bool) -> Calibration:
    low, high = probability_P.min(), probability_P.max()
    if not (low >= 0 and high <= 1):
        raise ContractError(f"predictions from {low} to {high} are no probabilities; calibrate them first")
    # Adding 0 makes a negative zero positive, whose bits come first.
    bits_P = (probability_P.astype(np.float32) + np.float32(0)).view(np.uint32)
    bucket_P = (bits_P >> _SHIFT).astype(np.intp)
    size = np.bincount(bucket_P, minlength=_BUCKETS)
    predicted = np.bincount(bucket_P, weights=probability_P.astype(np.float64), minlength=_BUCKETS)
    clicked = np.bincount(bucket_P[clicked_P], minlength=_BUCKETS)
    return Calibration(
        size=size.astype(np.float64), predicted=predicted.astype(np.float64), clicked=clicked.astype(np.float64)
    )
