"""One trial of a search: values to figures on the validation windows, in a run of MLflow. Knows no study."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray

from recsys_text import __version__
from recsys_text.config import Settings
from recsys_text.errors import ContractError, UnavailableError
from recsys_text.evaluation import metrics
from recsys_text.evaluation.bootstrap import interval
from recsys_text.fitting import Stages, fit_bundle
from recsys_text.lake.windows import Window
from recsys_text.model.checkpoint import Checkpoint
from recsys_text.model.search import Choice, Range, Value, changed, present, space_around
from recsys_text.progress import SILENT, EpochResult
from recsys_text.ranking.log import Impressions
from recsys_text.steps.evaluate import impressions_of, newest_windows
from recsys_text.steps.inputs import Inputs, inputs, windows_of
from recsys_text.steps.served import as_served
from recsys_text.steps.train import Logged, decided
from recsys_text.tracking import Tracker

#: The sections of the configuration that the space of the search is about.
SEARCHED = {"model", "training", "blend"}
_LONGEST_TAG = 500


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a trial. `gain` over the present configuration, with its paired 95% interval, in nDCG@10.

    `state` is complete, pruned or failed; only a complete trial has figures. Trial 0 is the present configuration.
    """

    number: int
    state: str
    values: Mapping[str, Value]
    ndcg: float = math.nan
    gain: float = math.nan
    low: float = math.nan
    high: float = math.nan
    reason: str = ""


class OutOfTime(KeyboardInterrupt):
    """Ends a trial as Ctrl-C does, so that the next search takes it up again."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What every trial learns from (`before`) and is scored on: the impressions of `windows`, by the log of `after`.

    `after` ends where the test windows begin.
    """

    settings: Settings
    windows: list[Window]
    before: Inputs
    after: Inputs
    impressions: Impressions

    @property
    def present(self) -> dict[str, Value]:
        return present(self.settings.model_dump(include=SEARCHED))

    @property
    def space(self) -> dict[str, Range | Choice]:
        return space_around(self.present)

    @property
    def params(self) -> dict[str, Any]:
        return _params(self.settings)

    @property
    def name(self) -> str:
        """Other data before the test windows, other settings, another space or version give another name."""
        space = {key: repr(bounds) for key, bounds in self.space.items()}
        content = [__version__, self.params, space, self.before.digests, self.after.digests]
        return f"{self.settings.project.name}-{_digest(content)[:12]}"

    def with_values(self, values: Mapping[str, Value]) -> Settings:
        sections = changed(self.settings.model_dump(include=SEARCHED), values)
        update = {name: type(getattr(self.settings, name)).model_validate(each) for name, each in sections.items()}
        return self.settings.model_copy(update=update)

    def checkpoint(self, values: Mapping[str, Value]) -> Checkpoint:
        """Where a trial of these values keeps its last epoch."""
        folder = f"tune-{_digest([self.name, dict(values)])[:16]}"
        return Checkpoint(self.settings.project.root / "checkpoints" / folder)

    def ndcg(self, values: Mapping[str, Value], progress: Stages) -> NDArray[np.float64]:
        """nDCG@10 of the score for each of the N impressions, by a bundle trained before all of them."""
        chosen = self.with_values(values)
        bundle, _ = fit_bundle(
            self.before.log,
            self.before.texts,
            [window.start for window in self.before.windows][-chosen.training.history :],
            cutoff=self.windows[0].start,
            settings=chosen,
            checkpoint=self.checkpoint(values),
            progress=progress,
        )
        _, score_P = bundle.score(
            self.after.log, bundle.text.items(self.after.texts, self.after.log.item_ids), self.impressions
        )
        return metrics.evaluate(score_P, self.impressions.clicked, self.impressions.offsets)["ndcg@10"]


def task_of(settings: Settings) -> Task:
    """The newest windows before the test windows, as many as those, and what is before them.

    Raises ContractError where the lake has too few windows, or the validation windows no impression.
    """
    count = settings.evaluation.windows
    test = newest_windows(settings)
    earlier = [window for window in windows_of(settings) if window.end <= test[0].start]
    if len(earlier) < count + 3:
        raise ContractError(
            f"a search needs {count} windows to test on later, {count} before them to compare trials on and three to "
            f"train on; the lake has {len(earlier) + len(test)}: extract older windows, or lower evaluation.windows"
        )
    windows = earlier[-count:]
    after = inputs(settings, before=test[0].start)
    before = inputs(settings, before=windows[0].start)
    settings = decided(settings, before, SILENT)
    shown, _ = impressions_of(settings, after, windows, settings.candidates, settings.evaluation.at)
    impressions = as_served(settings, after, shown)
    return Task(settings=settings, windows=windows, before=before, after=after, impressions=impressions)


def run_trial(
    number: int,
    values: Mapping[str, Value],
    task: Task,
    registry: Tracker,
    progress: Stages,
    present_N: NDArray[np.float64] | None,
) -> tuple[Outcome, NDArray[np.float64]]:
    """Trains and scores one trial in a nested run of MLflow; a failure is recorded there and told, not raised.

    Returns its nDCG@10 of each impression too, none where it is not complete. present_N are those of the present
    configuration, to compare with; None is for itself, whose failure is raised: there is nothing to search from.
    Raises UnavailableError where a place to write is out of reach, which every other trial would meet as well.
    """
    try:
        with registry.run(params=_params(task.with_values(values)), datasets={}, nested=True):
            registry.mark({"mlflow.runName": f"trial {number}"})
            try:
                ndcg_N = task.ndcg(values, progress)
            except optuna.TrialPruned:
                registry.mark({"outcome": "pruned"})
                return Outcome(number=number, state="pruned", values=values), np.zeros(0)
            except Exception as error:
                registry.mark({"outcome": _line(error)})
                raise
            settings, users_N = task.settings.evaluation, task.impressions.user
            gained_N = ndcg_N - (ndcg_N if present_N is None else present_N)
            gain = interval(gained_N, users_N, resamples=settings.resamples, seed=settings.seed)
            figures = {"ndcg": float(np.nanmean(ndcg_N)), "gain": gain.mean, "low": gain.low, "high": gain.high}
            registry.mark({"outcome": "complete"})
            registry.metrics({key: value for key, value in figures.items() if np.isfinite(value)})
    except UnavailableError:
        raise
    except Exception as error:
        if present_N is None:
            raise
        return Outcome(number=number, state="failed", values=values, reason=_line(error)), np.zeros(0)
    return Outcome(
        number=number,
        state="complete",
        values=values,
        ndcg=figures["ndcg"],
        gain=gain.mean,
        low=gain.low,
        high=gain.high,
    ), ndcg_N


class Watch(Logged):
    """Logs epochs as training does; gives up a trial that falls behind, and stops one that no time is left for."""

    def __init__(self, inner: Stages, registry: Tracker, trial: optuna.Trial, deadline: float) -> None:
        super().__init__(inner, registry)
        self._trial, self._deadline = trial, deadline

    def stage(self, name: str) -> None:
        super().stage(name)
        self._in_time()

    def on_step(self, stage: str, loss: float, samples_per_second: float, step: int, steps: int) -> None:
        super().on_step(stage, loss, samples_per_second, step, steps)
        self._in_time()

    def on_epoch(self, result: EpochResult) -> None:
        super().on_epoch(result)
        if np.isfinite(result.valid_ndcg):
            self._trial.report(result.valid_ndcg, result.epoch)
            if self._trial.should_prune():
                raise optuna.TrialPruned
        self._in_time()

    def _in_time(self) -> None:
        if monotonic() > self._deadline:
            raise OutOfTime


def _params(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(mode="json", include=SEARCHED | {"candidates", "evaluation", "windows"})


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:_LONGEST_TAG]
