"""What each model is worth in each impression, kept and averaged over seeds, to rows with intervals.

Knows scores and impressions, no model and no data set. Shapes: N impressions, P pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys_text.evaluation.bootstrap import intervals
from recsys_text.evaluation.calibration import TOP
from recsys_text.evaluation.metrics import evaluate
from recsys_text.ranking.log import Impressions

Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
#: The columns of the table of all results.
SCHEMA = {
    "dataset": pl.String,
    "protocol": pl.String,
    "model": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "seeds": pl.Int64,
}
Row = tuple[str, str, str, str, float, float | None, float | None, int]
#: The calibration error among the highest predictions, as a metric.
ERROR = f"calibration_error_top{TOP:.0%}"
RESAMPLES, SEED = 1000, 7
_FILE = "values.parquet"


@dataclass(frozen=True, kw_only=True)
class Values:
    """users: int64[N]; found: (model, metric) to float64[N]; slices: name to bool[N]."""

    users: NDArray[np.int64]
    found: dict[tuple[str, str], Double]
    slices: dict[str, Bool]

    def save(self, folder: Path) -> None:
        columns: dict[str, Any] = {"users": self.users}
        columns |= {f"slice|{name}": chosen_N for name, chosen_N in self.slices.items()}
        columns |= {"|".join(("value", *names)): value_N for names, value_N in self.found.items()}
        pl.DataFrame(columns).write_parquet(folder / _FILE)

    @classmethod
    def load(cls, folder: Path) -> Self:
        frame = pl.read_parquet(folder / _FILE)
        names = [name.split("|") for name in frame.columns]
        return cls(
            users=frame["users"].to_numpy(),
            found={(n[1], n[2]): frame["|".join(n)].to_numpy() for n in names if n[0] == "value"},
            slices={n[1]: frame["|".join(n)].to_numpy() for n in names if n[0] == "slice"},
        )


def measured(
    impressions: Impressions,
    scores: Mapping[str, NDArray[Any]],
    metrics: Sequence[str],
    slices: Mapping[str, Bool] | None = None,
) -> Values:
    """The metrics of every model, from its scores, float[P]."""
    found = {}
    for model, score_P in scores.items():
        values = evaluate(score_P, impressions.clicked, impressions.offsets)
        found |= {(model, metric): values[metric] for metric in metrics}
    return Values(users=impressions.user.astype(np.int64), found=found, slices=dict(slices or {}))


def joined(parts: Sequence[Values]) -> Values:
    """The values of consecutive impressions as one."""
    return Values(
        users=np.concatenate([part.users for part in parts]),
        found={names: np.concatenate([part.found[names] for part in parts]) for names in parts[0].found},
        slices={name: np.concatenate([part.slices[name] for part in parts]) for name in parts[0].slices},
    )


def averaged(runs: Sequence[Values]) -> tuple[dict[tuple[str, str], Double], dict[str, int]]:
    """The mean over the runs that know a model of its values, and how many runs (seeds) each model has."""
    collected: dict[tuple[str, str], list[Double]] = {}
    for run in runs:
        for names, value_N in run.found.items():
            collected.setdefault(names, []).append(value_N)
    seeds = {model: len(values) for (model, _), values in collected.items()}
    return {names: np.mean(values, axis=0) for names, values in collected.items()}, seeds


def pooled(parts: Sequence[Double]) -> Double:
    """All values as one, scaled so that their mean is the mean of the parts' means, however many each part has."""
    number = sum(map(len, parts))
    return np.concatenate([part * (number / (len(parts) * len(part))) for part in parts])


def rows(
    dataset: str,
    protocol: str,
    found: Mapping[tuple[str, str], Double],
    users_N: NDArray[np.int64],
    seeds: Mapping[str, int],
    *,
    differences: Sequence[tuple[str, str]] = (),
    chosen_N: Bool | None = None,
) -> list[Row]:
    """The mean of each model and metric with its 95% interval, and of paired differences 'a - b' in nDCG@10."""
    columns = dict(found)
    number = dict(seeds)
    for one, other in differences:
        name = f"{one} - {other}"
        columns[name, "ndcg@10"] = found[one, "ndcg@10"] - found[other, "ndcg@10"]
        number[name] = max(seeds[one], seeds[other])
    values_NK = np.column_stack(list(columns.values()))
    if chosen_N is not None:
        values_NK, users_N = values_NK[chosen_N], users_N[chosen_N]
    means = intervals(values_NK, users_N, resamples=RESAMPLES, seed=SEED)
    return [
        (dataset, protocol, model, metric, mean.mean, _known(mean.low), _known(mean.high), number[model])
        for (model, metric), mean in zip(columns, means, strict=True)
    ]


def _known(bound: float) -> float | None:
    return None if np.isnan(bound) else bound
