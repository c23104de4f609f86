"""Train: lake to a registered bundle. Knows no store."""

import hashlib
import json
import logging
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_text.config import Settings
from recsys_text.evaluation.reliability import svg
from recsys_text.fitting import Stages, fit_bundle
from recsys_text.model.checkpoint import Checkpoint
from recsys_text.model.fit import EpochResult
from recsys_text.ranking.features import COUNTS
from recsys_text.steps.evaluate import figures, measure, newest_windows
from recsys_text.steps.inputs import Inputs, inputs, tracker
from recsys_text.steps.report import report_training
from recsys_text.tracking import CHALLENGER, Tracker


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A registered version and what it measured on the windows that it has not seen."""

    version: str
    run_id: str
    cutoff: datetime
    table: pl.DataFrame
    dropped: int


def train(settings: Settings, *, cutoff: datetime | None = None, progress: Stages) -> Trained:
    """Trains a bundle on what is strictly before the cutoff, measures it after it, registers it as challenger.

    The cutoff is the start of the test windows by default. A run that was stopped goes on from its last epoch. Raises
    ContractError without windows before and after the cutoff, UnavailableError when MLflow is out of reach.
    """
    registry = tracker(settings)
    cutoff = cutoff or newest_windows(settings)[0].start
    newest_windows(settings, cutoff)
    before = inputs(settings, before=cutoff)
    for count, what in ((before.log.dropped, "events are on"), (before.log.unknown, "candidates shown are")):
        if count:
            logging.getLogger("recsys_text").warning(
                "%d %s items that no window of items has, and teach nothing; extract those items too", count, what
            )
    starts = [window.start for window in before.windows][-settings.training.history :]
    sections = {"model", "training", "blend", "candidates", "evaluation", "windows"}
    chosen = settings.model_dump(mode="json", include=sections)
    params = chosen | {"cutoff": cutoff.isoformat(), "windows": f"{starts[0]:%Y-%m-%dT%H}..{cutoff:%Y-%m-%dT%H}"}
    checkpoint = Checkpoint(settings.project.root / "checkpoints" / _fingerprint(params, before))
    with registry.run(params=params, datasets=before.digests) as run_id:
        show = Logged(progress, registry)
        bundle, _ = fit_bundle(
            before.log, before.texts, starts, cutoff=cutoff, settings=settings, checkpoint=checkpoint, progress=show
        )
        progress.stage("Measuring on the windows that it has not seen")
        measured = measure(settings, bundle)
        registry.table(measured.table, "evaluation")
        registry.table(measured.reliability, "reliability")
        registry.text(svg(measured.reliability), "reliability.svg")
        left_out = {
            "clicks_outside_pool": measured.dropped,
            "events_without_item": before.log.dropped,
            "candidates_without_item": before.log.unknown,
        }
        registry.metrics(figures(measured.table) | left_out)
        with tempfile.TemporaryDirectory(prefix="recsys-text-") as scratch:
            folder = Path(scratch) / "bundle"
            bundle.save(folder)
            example = {"history": before.texts[:2], "candidates": before.texts[2:5]}
            version = registry.register(folder, example, COUNTS)
        registry.tag(version, {"cutoff": cutoff.isoformat()})
        registry.set_alias(CHALLENGER, version)
        report_training(settings, registry, version, bundle, measured)
    checkpoint.clear()
    return Trained(version=version, run_id=run_id, cutoff=cutoff, table=measured.table, dropped=measured.dropped)


def _fingerprint(params: dict[str, Any], data: Inputs) -> str:
    made_of = [params, data.digests, data.log.settle]  # impressions teach once they are settled
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


class Logged:
    """Shows progress as its inner one does, and logs each epoch to the present run."""

    def __init__(self, inner: Stages, registry: Tracker) -> None:
        self._inner, self._registry = inner, registry

    def stage(self, name: str) -> None:
        self._inner.stage(name)

    def on_step(self, stage: str, loss: float, samples_per_second: float, step: int, steps: int) -> None:
        self._inner.on_step(stage, loss, samples_per_second, step, steps)

    def on_epoch(self, result: EpochResult) -> None:
        self._inner.on_epoch(result)
        figures = {
            "loss": result.loss,
            "valid_loss": result.valid_loss,
            "valid_ndcg_at_10": result.valid_ndcg,
            "samples_per_second": result.samples_per_second,
        }
        self._registry.metrics({key: value for key, value in figures.items() if np.isfinite(value)}, step=result.epoch)
