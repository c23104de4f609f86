"""How far predicted probabilities are from click rates. Knows neither methods nor impressions.

Shapes: P pairs of an impression and a candidate, B buckets of nearly equal predictions, C bins of equal mass, U users.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys_text.errors import ContractError
from recsys_text.threads import in_threads

Float = NDArray[np.floating[Any]]
Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.integer[Any]]

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
        edges = _edges(total, bins, top)
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


def gaps(
    probability_P: Float, clicked_P: Bool, user_P: Int, users: int, *, bins: int = BINS, top: float = TOP
) -> tuple[Double, Double]:
    """What each user adds to the bins of `Calibration.bins`, so that errors of resampled users are sums of theirs.

    user_P: places in [0, users). Returns predictions minus clicks in each bin, float64[U, C], and the pairs in all of
    them, float64[U]; a pair of a bucket that an edge divides is in both bins by its shares. With a weight of each user
    the error is sum_C |weight_U @ gap_UC| / (weight_U @ size_U): weights of 1 give `Calibration.error`.
    """
    if not len(probability_P):
        return np.zeros((users, bins)), np.zeros(users)
    size_B = calibration(probability_P, clicked_P).size
    ends = np.concatenate(([0.0], np.cumsum(size_B)))
    edges = _edges(ends[-1], bins, top)
    bucket_P = _bucket(probability_P)
    high = np.flatnonzero(ends[bucket_P + 1] > edges[0])
    used, place = np.unique(bucket_P[high], return_inverse=True)
    inside = np.minimum(ends[used + 1][:, None], edges[1:]) - np.maximum(ends[used][:, None], edges[:-1])
    share = np.clip(inside, 0, None) / size_B[used][:, None]
    gap = probability_P[high].astype(np.float64) - clicked_P[high]
    at, shape = (user_P[high], place), (users, len(used))
    return csr_array((gap, at), shape) @ share, csr_array((np.ones(len(high)), at), shape) @ share.sum(axis=1)


def _edges(total: float, bins: int, top: float) -> Double:
    """Where bins of equal mass begin and end among `total` predictions, lowest first."""
    return np.linspace(total - max(1.0, np.round(top * total)), total, bins + 1)


def _bucket(probability_P: Float) -> Int:
    # Adding 0 makes a negative zero positive, whose bits come first.
    bits_P = (probability_P.astype(np.float32) + np.float32(0)).view(np.uint32)
    return (bits_P >> _SHIFT).astype(np.intp)


def _count(probability_P: Float, clicked_P: Bool) -> Calibration:
    low, high = probability_P.min(), probability_P.max()
    if not (low >= 0 and high <= 1):
        raise ContractError(f"predictions from {low} to {high} are no probabilities; calibrate them first")
    bucket_P = _bucket(probability_P)
    size = np.bincount(bucket_P, minlength=_BUCKETS)
    predicted = np.bincount(bucket_P, weights=probability_P.astype(np.float64), minlength=_BUCKETS)
    clicked = np.bincount(bucket_P[clicked_P], minlength=_BUCKETS)
    return Calibration(
        size=size.astype(np.float64), predicted=predicted.astype(np.float64), clicked=clicked.astype(np.float64)
    )
