"""The arithmetic of a ranking: match, order, diversity. Pure functions of arrays; knows no store and no HTTP."""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Rows = npt.NDArray[np.intp]

# Further from 0 and 1 than this no calibration measures, and log odds stay finite.
_CERTAIN = 1e-6


def log_odds(probability_C: Floats) -> Floats:
    """log(p / (1 - p)) of C probabilities; those nearer than 1e-6 to 0 or 1 count as so near."""
    inside_C = np.clip(probability_C, _CERTAIN, 1 - _CERTAIN)
    odds_C: Floats = np.log(inside_C) - np.log1p(-inside_C)
    return odds_C


def probability(log_odds_C: Floats) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    small_C = np.exp(-np.abs(log_odds_C))
    probability_C: Floats = np.where(log_odds_C >= 0, 1, small_C) / (1 + small_C)
    return probability_C


def best_first(score_C: Floats) -> Rows:
    """The positions of C scores, the highest first; equal ones, and at the end those that are NaN, as they came."""
    return np.argsort(-score_C, kind="stable")


def diversified(score_C: Floats, cosine_CC: Floats, diversity: float, count: int) -> Rows:
    """The first `count` positions by maximal marginal relevance.

    score_C: finite. cosine_CC: of the items' vectors with each other. diversity: 0 keeps the order of the scores,
    towards 1 only difference counts.

    Each next item has the highest (1 - diversity) * relevance - diversity * (its largest cosine with those before
    it); relevance is the score on a scale from the lowest of the C to the highest. Carbonell and Goldstein 1998,
    "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing Summaries".
    """
    count = min(count, len(score_C))
    if count == 0:
        return np.empty(0, dtype=np.intp)
    likeness_CC = cosine_CC * cosine_CC.dtype.type(diversity)
    span = np.ptp(score_C)
    relevance_C = (1 - diversity) * (score_C - score_C.min()) / (span if span > 0 else 1)
    # Of one type with the likeness: the loop is as long as the answer, and a conversion takes longer than a step.
    relevance_C = relevance_C.astype(likeness_CC.dtype)
    nearest_C = np.full_like(relevance_C, -np.inf)
    gain_C = np.empty_like(relevance_C)
    chosen = np.empty(count, dtype=np.intp)
    best = int(relevance_C.argmax())
    for place in range(count):
        chosen[place] = best
        relevance_C[best] = -np.inf
        np.maximum(nearest_C, likeness_CC[best], out=nearest_C)
        np.subtract(relevance_C, nearest_C, out=gain_C)
        best = int(gain_C.argmax())
    return chosen
