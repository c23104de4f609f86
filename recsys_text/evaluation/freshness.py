"""The score as it would have been served: made some time before the impression. Knows no model.

Shapes: N impressions, P pairs of an impression and a candidate.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from recsys_text.evaluation.measure import SERVED
from recsys_text.ranking.features import Float32
from recsys_text.ranking.log import HOUR, Impressions, Int64, Log

#: Ages of the features, in hours.
AGES = (1, 6, 24)
#: Candidates that are scored once for each age: the curve costs little more than the score itself.
CANDIDATES = 500_000


def drawn(impressions: Impressions, candidates: int, seed: int) -> Int64:
    """The positions, ascending, of as many impressions as hold about so many candidates, drawn evenly; at least one."""
    order = np.random.default_rng(seed).permutation(len(impressions))
    total = np.cumsum(np.diff(impressions.offsets)[order])
    return np.sort(order[: max(1, int(np.searchsorted(total, candidates, side="right")))])


def made_at(time_N: Int64, starts_W: Int64) -> dict[str, Int64]:
    """When scores of impressions at `time_N` would have been made, int64[N] each: at window's start, or AGES before.

    starts_W: the starts of the windows, ascending; all in microseconds. An impression belongs to the last window that
    starts at or before it.
    """
    window_N = starts_W[np.searchsorted(starts_W, time_N, side="right") - 1]
    times = {f"{SERVED}published at window start": window_N}
    return times | {f"{SERVED}{age} h old": time_N - age * HOUR for age in AGES}


def served(
    score: Callable[[Impressions], Float32], log: Log, impressions: Impressions, starts_W: Int64
) -> dict[str, Float32]:
    """Scores of the same candidates, float32[P] each, published at the start of the window or AGES hours earlier.

    Histories, counts and features are as of that time (see `made_at`); candidates, labels and their time stay. A
    candidate that was not known then is ranked last, level with its like. score: gives probabilities of impressions, in
    [0, 1].
    """
    found = {}
    for name, time_N in made_at(impressions.time, starts_W).items():
        score_P = score(replace(impressions, time=time_N))
        unknown_P = log.known_at[impressions.item] > time_N[impressions.row]
        found[name] = np.where(unknown_P, np.float32(-1), score_P)
    return found
