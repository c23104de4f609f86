"""Measures every method beside the score, with intervals, as a table. Knows scores and impressions, no model.

Shapes: N impressions, P pairs of an impression and a candidate, K columns of one bootstrap, I items.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl

from recsys_text.errors import ContractError
from recsys_text.evaluation import lists
from recsys_text.evaluation.bootstrap import Interval, intervals
from recsys_text.evaluation.calibration import TOP, calibration
from recsys_text.evaluation.metrics import Bool, Float, evaluate
from recsys_text.ranking.log import Impressions, Int32

SCORE = "score"
INTEREST = "interest"
#: The score as it would be without what the texts say.
WITHOUT_TEXT = "score without interest"
#: How the names of the methods begin that are the score as it is when it was made at another time.
SERVED = "score, "
#: The score made at each impression, which a ranking service could serve that ranks when it is asked.
FRESH = SERVED + "fresh"
#: The slice that scores of other ages are measured on, beside the score.
AS_SERVED = "as served"
#: What the verdict and the rendered gains look at.
HEADLINE = "ndcg@10"
SCHEMA = {
    "method": pl.String,
    "slice": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "gain": pl.Float64,
    "gain_low": pl.Float64,
    "gain_high": pl.Float64,
    "impressions": pl.Int64,
    "users": pl.Int64,
}
_CALIBRATION = {"calibration_error": 1.0, "calibration_error_top1%": TOP}
_NOTHING = (None,) * 5


def evaluation_table(
    scores: Mapping[str, Float],
    impressions: Impressions,
    slices: Mapping[str, Bool],
    catalogue: lists.Catalogue,
    *,
    resamples: int,
    seed: int,
) -> pl.DataFrame:
    """One row per method, slice and metric, with the columns of SCHEMA.

    scores: float[P] of each method, of which SCORE holds the click probabilities. value: the mean over the
    impressions of the slice for which the metric has a meaning, with its 95% bootstrap interval over users;
    gain: what SCORE has more than the method, on the same impressions and the same resamples. Null where
    there is no evidence. impressions, users: of the slice. coverage@10, the share of the slice's candidates that are
    in a list of ten, and the calibration errors, which SCORE and what was served of it have, are without interval;
    less error is better.

    Raises ContractError where SCORE is missing, or as `metrics.evaluate` and `calibration` do.
    """
    if SCORE not in scores:
        raise ContractError(f"methods {', '.join(scores)} lack '{SCORE}', which all others are compared with")
    first = {method: lists.first(scores_P, impressions, catalogue.neutral) for method, scores_P in scores.items()}
    measured = {
        method: evaluate(scores_P, impressions.clicked, impressions.offsets) | catalogue.describe(first[method])
        for method, scores_P in scores.items()
    }
    columns = [(method, metric) for method, values in measured.items() for metric in values]
    values_NK = np.column_stack([measured[method][metric] for method, metric in columns])
    gains_NK = np.column_stack([measured[SCORE][metric] - measured[method][metric] for method, metric in columns])
    rows: list[tuple[object, ...]] = []
    for name, chosen_N in slices.items():
        user_N = impressions.user[chosen_N]
        size = len(user_N), count_users(user_N)
        found = intervals(np.hstack([values_NK[chosen_N], gains_NK[chosen_N]]), user_N, resamples=resamples, seed=seed)
        for (method, metric), value, gain in zip(columns, found, found[len(columns) :], strict=False):
            against = (None, None, None) if method == SCORE else _numbers(gain)
            rows.append((method, name, metric, *_numbers(value), *against, *size))
        chosen_P = chosen_N[impressions.row]
        candidates = np.unique(impressions.item[chosen_P])
        for method, first_NK in first.items():
            share = lists.coverage(first_NK[chosen_N], candidates)
            rows.append((method, name, "coverage@10", or_none(share), *_NOTHING, *size))
        for method in (method for method in scores if method == SCORE or method.startswith(SERVED)):
            # What was not known yet when scores were made is below all others; it was given no chance.
            counted = calibration(np.maximum(scores[method][chosen_P], 0), impressions.clicked[chosen_P])
            for metric, top in _CALIBRATION.items():
                rows.append((method, name, metric, or_none(counted.error(top=top)), *_NOTHING, *size))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def baselines(table: pl.DataFrame, part: str = "all") -> pl.DataFrame:
    """The nDCG@10 of the baselines in a slice: every method but the score, whenever it was made, and its parts."""
    ours = pl.col("method").is_in([SCORE, INTEREST, WITHOUT_TEXT]) | pl.col("method").str.starts_with(SERVED)
    return table.filter((pl.col("slice") == part) & (pl.col("metric") == HEADLINE) & ~ours)


def _numbers(found: Interval) -> tuple[float | None, float | None, float | None]:
    return or_none(found.mean), or_none(found.low), or_none(found.high)


def count_users(user_N: Int32) -> int:
    """Count the users of impressions; each impression of a user whom the log does not know counts as one."""
    return len(np.unique(user_N[user_N >= 0])) + int(np.sum(user_N < 0))


def or_none(value: float) -> float | None:
    """Return the value, None where it is NaN: there is no evidence."""
    return None if np.isnan(value) else value
