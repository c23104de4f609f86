"""The score as it is when it was made some time before the impression. Knows no model.

Shapes: N impressions, P pairs of an impression and a candidate.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from recsys_text.evaluation.measure import SERVED
from recsys_text.ranking.features import Float32
from recsys_text.ranking.log import HOUR, Impressions, Int64, Log
from recsys_text.ranking.publication import unknown_then

#: Ages of the features, in hours.
AGES = (1, 6, 24)
#: Candidates that are scored once for each age: the curve costs little more than the score itself.
CANDIDATES = 500_000


def drawn(impressions: Impressions, candidates: int, seed: int) -> Int64:
    """The positions, ascending, of as many impressions as hold about so many candidates, drawn evenly; at least one."""
    order = np.random.default_rng(seed).permutation(len(impressions))
    total = np.cumsum(np.diff(impressions.offsets)[order])
    return np.sort(order[: max(1, int(np.searchsorted(total, candidates, side="right")))])


def aged(score: Callable[[Impressions], Float32], log: Log, impressions: Impressions) -> dict[str, Float32]:
    """Score the same candidates as of AGES hours before their impressions, float32[P] each.

    Histories, counts and features are as of that time; candidates, labels and their time stay. A candidate that was
    not known then is ranked last, level with its like. score: gives probabilities of impressions, in [0, 1].
    """
    found = {}
    for age in AGES:
        old = replace(impressions, time=impressions.time - age * HOUR, horizon=age * HOUR)
        found[f"{SERVED}{age} h old"] = np.where(unknown_then(log, old), np.float32(-1), score(old))
    return found
