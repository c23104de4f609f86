"""What may refuse a challenger that gains: calibration, coverage, slices, speed. Knows scores and clicks, no model.

A guard can only refuse, and only on evidence: its whole interval must lie beyond its bound. Where there is too little
to tell, there is no guard.

Every guard with an interval is a chance to refuse a challenger that is no worse, and slices alone are about a dozen. So
the FALSE_REFUSALS are divided by their number (Bonferroni), each guard having a one-sided interval of its share: where
all of them stood exactly at their bounds, one challenger in twenty would be refused for nothing. Holm's method would
decide alike, as a single guard that refuses is enough and its first step is Bonferroni's. A challenger that is no worse
is inside the bounds. In the simulation of tests/evaluation/test_guards.py, with thirteen slices whose gains have
standard errors of .01 to .016, such a one was refused 4 times in 100 where nothing may be lost, and never in 150 with
the default bound; one that lost .05 in the largest slice was refused 9 times in 10.

Intervals are `bootstrap.bounds`: of a thousand resamples, too few lie beyond the share of a single guard to read it
off, and the bias counts, as a calibration error of resampled users is larger than that of all, and fewer items are
covered.

Shapes: N impressions, P pairs of an impression and a candidate, U users, I items, R resamples, K guards with an
interval, S slices, C bins of predictions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array

from recsys_text.evaluation import lists
from recsys_text.evaluation.bootstrap import Double, Int, bounds, means, places, ratio, sums, weights
from recsys_text.evaluation.calibration import BINS, TOP, gaps
from recsys_text.evaluation.metrics import Bool, Float
from recsys_text.ranking.candidates import kept
from recsys_text.ranking.log import Impressions, Int64
from recsys_text.sections import Gate

#: How often at most a challenger is refused for nothing, all guards together.
FALSE_REFUSALS = 0.05
#: What has fewer users is not guarded: their few clicks may all point one way by chance.
FEWEST = 20
# Pairs of a calibration bin at least: there are fewer bins where pairs are few, and no guard where not one is full.
# Whatever a bin of one pair predicts is far from its click, or from none, and the bootstrap draws that pair again.
_PAIRS = 50
# Lists and items looked at together.
_CHUNK = 1 << 22


@dataclass(frozen=True, kw_only=True)
class Guard:
    """A figure of the challenger, its interval, and the bound beyond which that must not lie whole.

    `key` is that of the bound in [gate], `part` the slice, empty where all counts. `low` and `high` equal the value
    where it was not drawn from users.
    """

    key: str
    what: str
    part: str = ""
    value: float
    low: float
    high: float
    bound: float
    at_least: bool

    @property
    def passed(self) -> bool:
        return not (self.high < self.bound if self.at_least else self.low > self.bound)


def guards(
    challenger_P: Float,
    champion_P: Float,
    gain_N: Double,
    impressions: Impressions,
    slices: Mapping[str, Bool],
    neutral_I: Int64,
    asked: Gate,
    *,
    unknown_P: Bool,
    resamples: int,
    seed: int,
) -> list[Guard]:
    """Calibration, coverage and slices of a challenger beside the champion's, on the same impressions.

    challenger_P, champion_P: click probabilities; gain_N: what the challenger has more in nDCG@10, NaN where undefined;
    slices: of `evaluation.slices`, of which "all" is left out; neutral_I: the order of equal scores. unknown_P: the
    candidates that were not known when the scores were published: they are in no list, and nothing is predicted of
    them. The same resamples serve all guards; what infinity bounds is not asked. Raises ContractError for scores that
    are no probabilities.
    """
    user_N, users = places(impressions.user)
    known = kept(impressions, np.flatnonzero(~unknown_P))
    of_both = [scores_P[~unknown_P] for scores_P in (challenger_P, champion_P)]
    user_P = user_N[known.row]
    bins = min(BINS, int(TOP * len(user_P)) // _PAIRS)
    errors = [gaps(scores_P, known.clicked, user_P, users, bins=max(1, bins)) for scores_P in of_both]
    listed = [_listed(scores_P, known, neutral_I, user_N, users) for scores_P in of_both]
    parts = {name: chosen_N for name, chosen_N in slices.items() if name != "all"}
    gains_NS = np.column_stack([np.zeros((len(gain_N), 0)), *(np.where(on, gain_N, np.nan) for on in parts.values())])
    total_US, count_US = sums(gains_NS, user_N, users)

    def figures(weight_RU: Double) -> Double:
        own_R, other_R = (_error(weight_RU, *error) for error in errors)
        covered_R = ratio(*(_covered(weight_RU, of_UI) for of_UI in listed))
        return np.column_stack([own_R, own_R - other_R, covered_R, means(weight_RU, total_US, count_US)])

    value_K = figures(np.ones((1, users)))[0] if users else np.full(3 + len(parts), np.nan)
    drawn_RK = np.concatenate([np.zeros((0, len(value_K))), *map(figures, weights(users, resamples, seed))])
    users_K = np.concatenate([np.full(3, users), np.count_nonzero(count_US, axis=0)])
    names = [
        ("max_calibration_error", "calibration error", "", asked.max_calibration_error, False),
        ("max_calibration_loss", "more calibration error", "", asked.max_calibration_loss, False),
        ("min_coverage", "items in lists, ratio", "", asked.min_coverage, True),
        *(("max_slice_loss", "gain", name, 0.0 - asked.max_slice_loss, True) for name in parts),
    ]
    told_K = (users_K >= FEWEST) & np.isfinite([bound for *_, bound, _ in names])
    told_K[:2] &= bins > 0
    low_K, high_K = bounds(value_K, drawn_RK, users_K, FALSE_REFUSALS / max(1, int(told_K.sum())))
    return [
        Guard(
            key=key,
            what=what,
            part=part,
            value=float(value_K[k]),
            low=float(low_K[k]),
            high=float(high_K[k]),
            bound=bound,
            at_least=at_least,
        )
        for k, (key, what, part, bound, at_least) in enumerate(names)
        if told_K[k] and not np.isnan(low_K[k])
    ]


def slowdown(challenger: float, champion: float, asked: Gate) -> Guard:
    """How many times the champion's seconds the challenger took for the same pairs; no interval, see `steps.gate`."""
    times = challenger / champion
    return Guard(
        key="max_slowdown",
        what="seconds of scoring, ratio",
        value=times,
        low=times,
        high=times,
        bound=asked.max_slowdown,
        at_least=False,
    )


def _error(weight_RU: Double, gap_UC: Double, size_U: Double) -> Double:
    return ratio(np.abs(weight_RU @ gap_UC).sum(axis=1), weight_RU @ size_U)


def _listed(scores_P: Float, impressions: Impressions, neutral_I: Int64, user_N: Int, users: int) -> csr_array:
    """[U, listed items]: how often an item is in a list of a user."""
    first_NK = lists.first(scores_P, impressions, neutral_I)
    row, _ = known = np.nonzero(first_NK >= 0)
    items, item = np.unique(first_NK[known], return_inverse=True)
    return csr_array((np.ones(len(row)), (user_N[row], item)), (users, len(items)))


def _covered(weight_RU: Double, listed_UI: csr_array) -> Double:
    """float64[R]: the distinct items in the lists of the users drawn."""
    step = max(1, _CHUNK // max(1, listed_UI.shape[1]))
    parts = (weight_RU[at : at + step] @ listed_UI > 0 for at in range(0, len(weight_RU), step))
    return np.concatenate([np.zeros(0), *(part.sum(axis=1) for part in parts)])
