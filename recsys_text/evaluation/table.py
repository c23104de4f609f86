"""The evaluation table: every method beside the score, with intervals. Knows scores and impressions, no model.

Shapes: N impressions, P pairs of an impression and a candidate, K columns of one bootstrap.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl
from rich import box
from rich.table import Table

from recsys_text.errors import ContractError
from recsys_text.evaluation.bootstrap import Interval, intervals
from recsys_text.evaluation.calibration import calibration_error
from recsys_text.evaluation.metrics import Bool, Float, evaluate
from recsys_text.ranking.log import NEVER, Impressions, Log

SCORE = "score"
INTEREST = "interest"
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
RECALL = "recall@10"
# The share of highest predictions where a calibration error is worth anything: see `calibration_error`.
_CALIBRATION = {"calibration_error": 1.0, "calibration_error_top1%": 0.01}


def slices(log: Log, impressions: Impressions, *, cutoff: int) -> dict[str, Bool]:
    """The parts of the impressions that are measured apart, bool[N] each; cutoff in microseconds.

    all; new_item: a clicked candidate that nobody had clicked before the cutoff of the training; new_user: a user
    who had clicked nothing before it.
    """
    first_item, first_user = np.full(len(log.item_ids), NEVER), np.full(len(log.user_ids) + 1, NEVER)
    np.minimum.at(first_item, log.item[log.positive], log.time[log.positive])
    np.minimum.at(first_user, log.user[log.positive], log.time[log.positive])
    new_P = impressions.clicked & (first_item[impressions.item] >= cutoff)
    return {
        "all": np.ones(len(impressions), np.bool_),
        "new_item": np.bincount(impressions.row[new_P], minlength=len(impressions)) > 0,
        # The user -1 reads the last place, which no event has written.
        "new_user": first_user[impressions.user] >= cutoff,
    }


def evaluation_table(
    scores: Mapping[str, Float],
    impressions: Impressions,
    slices: Mapping[str, Bool],
    *,
    resamples: int,
    seed: int,
) -> pl.DataFrame:
    """One row per method, slice and metric, with the columns of SCHEMA.

    scores: float[P] of each method, of which SCORE holds the click probabilities. value: the mean over the
    impressions of the slice for which the metric has a meaning, with its 95% bootstrap interval over users;
    gain: what SCORE has more than the method, on the same impressions and the same resamples. Null where
    there is no evidence. impressions, users: of the slice. SCORE also has its calibration errors, without
    interval; there less is better.

    Raises ContractError where SCORE is missing, or as `metrics.evaluate` and `calibration_error` do.
    """
    if SCORE not in scores:
        raise ContractError(f"methods {', '.join(scores)} lack '{SCORE}', which all others are compared with")
    measured = {
        method: evaluate(scores_P, impressions.clicked, impressions.offsets) for method, scores_P in scores.items()
    }
    columns = [(method, metric) for method, values in measured.items() for metric in values]
    values_NK = np.column_stack([measured[method][metric] for method, metric in columns])
    gains_NK = np.column_stack([measured[SCORE][metric] - measured[method][metric] for method, metric in columns])
    rows: list[tuple[object, ...]] = []
    for name, chosen_N in slices.items():
        user_N = impressions.user[chosen_N]
        size = len(user_N), len(np.unique(user_N[user_N >= 0])) + int(np.sum(user_N < 0))
        found = intervals(np.hstack([values_NK[chosen_N], gains_NK[chosen_N]]), user_N, resamples=resamples, seed=seed)
        for (method, metric), value, gain in zip(columns, found, found[len(columns) :], strict=False):
            against = (None, None, None) if method == SCORE else _numbers(gain)
            rows.append((method, name, metric, *_numbers(value), *against, *size))
        chosen_P = chosen_N[impressions.row]
        for metric, top in _CALIBRATION.items():
            error = calibration_error(scores[SCORE][chosen_P], impressions.clicked[chosen_P], top=top)
            rows.append((SCORE, name, metric, _known(error), None, None, None, None, None, *size))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def verdict(table: pl.DataFrame) -> str:
    """One line: whether the interval of the score's gain in nDCG@10 over every baseline lies above zero.

    A baseline is every method but SCORE and INTEREST.
    """
    baselines = table.filter(
        (pl.col("slice") == "all") & (pl.col("metric") == HEADLINE) & ~pl.col("method").is_in([SCORE, INTEREST])
    )
    if baselines.is_empty() or baselines["gain"].null_count():
        return "There is no evidence: no impression with a click, or no baseline, was measured."
    beaten = pl.col("gain_low").fill_null(float("-inf")) > 0
    level = baselines.filter(~beaten).sort("gain")
    if level.is_empty():
        return f"score beats every baseline in nDCG@10 (95% intervals, {baselines['impressions'][0]:,} impressions)."
    against = ", ".join(
        f"{row['method']} (gain {_range(row['gain'], row['gain_low'], row['gain_high'], sign='+')})"
        for row in level.iter_rows(named=True)
    )
    return f"score does NOT beat: {against} in nDCG@10."


def render(table: pl.DataFrame) -> Table:
    """The table for a terminal of 80 columns: a section per slice, methods by nDCG@10, best first.

    The last column is the paired gain of SCORE over the method in nDCG@10.
    """
    shown = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title="Ranking quality with 95% intervals over users",
        title_justify="left",
    )
    shown.add_column("method")
    for heading in ("AUC", "nDCG@10", "rec@10", "score gains"):
        shown.add_column(heading, justify="right")
    for part in table.partition_by("slice", maintain_order=True):
        size = part.row(0, named=True)
        shown.add_section()
        shown.add_row(
            size["slice"], "", f"{size['impressions']:,} impressions", "", f"{size['users']:,} users", style="dim"
        )
        if not size["impressions"]:
            continue
        order = part.filter(pl.col("metric") == HEADLINE).sort("value", descending=True, nulls_last=True)
        for headline in order.iter_rows(named=True):
            method = headline["method"]
            auc, recall = (
                part.filter((pl.col("method") == method) & (pl.col("metric") == metric))["value"][0]
                for metric in ("auc", RECALL)
            )
            ours = method == SCORE
            shown.add_row(
                method,
                _short(auc),
                _range(headline["value"], headline["low"], headline["high"]),
                _short(recall),
                "" if ours else _range(headline["gain"], headline["gain_low"], headline["gain_high"], sign="+"),
                style="bold" if ours else None,
            )
    return shown


def _numbers(found: Interval) -> tuple[float | None, float | None, float | None]:
    return _known(found.mean), _known(found.low), _known(found.high)


def _known(value: float) -> float | None:
    return None if np.isnan(value) else value


def _range(value: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    if low is None or high is None:
        return _short(value, sign)
    return f"{_short(value, sign)} [{_short(low, sign)}, {_short(high, sign)}]"


def _short(value: float | None, sign: str = "") -> str:
    """Three digits and no leading zero, as the literature prints them."""
    return "-" if value is None else format(value, f"{sign}.3f").replace("0.", ".", 1)
