"""Train: lake to a registered bundle. Knows no store."""

import hashlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.errors import ConfigError, UnavailableError
from recsys_text.evaluation.reliability import svg
from recsys_text.fitting import (
    Stages,
    as_decided,
    check_teachable,
    continue_bundle,
    decide,
    doubts,
    filled,
    fit_bundle,
    forgetting,
)
from recsys_text.lake.windows import Window
from recsys_text.memory import give_back
from recsys_text.model.checkpoint import Checkpoint
from recsys_text.plan import Plan
from recsys_text.progress import EpochResult
from recsys_text.ranking.features import COUNTS
from recsys_text.steps.evaluate import EVALUATION, MEASURED_ON, Measured, figures, measure, newest_windows
from recsys_text.steps.inputs import Inputs, inputs, tracker, windows_of
from recsys_text.steps.lineage import DECIDING, keep, whole_cutoff
from recsys_text.steps.report import report_training
from recsys_text.tracking import CHALLENGER, CHAMPION, Tracker

_LOG = logging.getLogger("recsys_text")
#: A training that was stopped is gone on with within this time, or never.
_ABANDONED = timedelta(days=14)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A registered version and what it measured on the windows that it has not seen.

    dropped, missed: see `steps.evaluate.Measured`. report: its page, None where it could not be written. parent: the
    version that a warm start began with. trainable: the share of the network's weights that were trained. forgotten:
    see `fitting.forgetting`; empty for a whole training.
    """

    version: str
    run_id: str
    cutoff: datetime
    table: pl.DataFrame
    dropped: int
    missed: int
    report: Path | None = None
    parent: str | None = None
    trainable: float = 1.0
    forgotten: Mapping[str, float] = field(default_factory=dict)


def train(settings: Settings, *, cutoff: datetime | None = None, warm_start: bool = False, progress: Stages) -> Trained:
    """Trains a bundle on what is strictly before the cutoff, measures it after it, registers it as challenger.

    The cutoff is the start of the test windows by default. A run that was stopped goes on from its last epoch. With
    `warm_start` the champion goes on with what came since its cutoff (see `fitting.warm`). Raises ContractError without
    windows before and after the cutoff, or new ones for a warm start, ConfigError for one without a champion or with
    another [model], UnavailableError when MLflow is out of reach.
    """
    registry = tracker(settings)
    cutoff = cutoff or newest_windows(settings)[0].start
    tests = newest_windows(settings, cutoff)
    if empty := [window for window in windows_of(settings) if window > tests[-1]]:
        _LOG.warning(
            "no event is in the %d newest windows, %s to %s: %s is the newest that is measured on",
            *(len(empty), empty[0], empty[-1], tests[-1]),
        )
    parent = champion_of(registry) if warm_start else None
    progress.stage("Reading: what is before the cutoff")
    before = inputs(settings, before=cutoff)
    former = None if parent is None else Bundle.load(registry.bundle(parent))
    settings = decided(settings, before, progress) if former is None else as_decided(settings, former)
    progress.stage("Looking: whether the log can teach and be measured")
    _check_teachable(settings, cutoff, tests)
    for count, what in ((before.log.dropped, "events are on"), (before.log.unknown, "candidates shown are")):
        if count:
            _LOG.warning(
                "%d %s items that no window of items has, and teach nothing; extract those items too", count, what
            )
    starts = starts_of(before, settings)
    chosen = {name: getattr(settings, name).record() for name in DECIDING}
    params = chosen | {"cutoff": cutoff.isoformat(), "windows": f"{starts[0]:%Y-%m-%dT%H}..{cutoff:%Y-%m-%dT%H}"}
    checkpoints = settings.project.root / "checkpoints"
    _drop_abandoned(checkpoints)
    checkpoint = Checkpoint(checkpoints / _fingerprint(params, before))
    with registry.run(params=params, datasets=before.digests) as run_id:
        keep(registry, settings, cutoff, parent, before.digests)
        show = Logged(progress, registry)
        bundle, about, forgotten = fitted(
            settings, before, cutoff, registry, parent, checkpoint=checkpoint, progress=show
        )
        registry.mark(about)
        registry.metrics(forgotten | {"networks_share_of_blend": bundle.blend.share})
        registry.text(bundle.plan.model_dump_json(indent=1), "plan.json")
        example = {"history": before.texts[:2], "candidates": before.texts[2:5]}
        without_item = {"events_without_item": before.log.dropped, "candidates_without_item": before.log.unknown}
        del before  # the measurement reads the log with the windows that follow: two of them would be held
        measured = measure(bundle.plan.applied(settings), bundle, progress=show)
        registry.table(measured.table, EVALUATION)
        registry.mark({MEASURED_ON: measured.on})
        registry.table(measured.reliability, "reliability")
        registry.text(svg(measured.reliability), "reliability.svg")
        left_out = {
            "clicks_outside_pool": measured.dropped,
            "clicks_not_known_when_published": measured.missed,
        }
        registry.metrics(figures(measured.table) | left_out | without_item)
        with tempfile.TemporaryDirectory(prefix="recsys-text-") as scratch:
            folder = Path(scratch) / "bundle"
            bundle.save(folder)
            version = registry.register(folder, example, COUNTS)
        whole = cutoff if parent is None else whole_cutoff(registry, parent)
        registry.tag(version, {"cutoff": cutoff.isoformat(), "whole_cutoff": whole.isoformat()} | about)
        registry.set_alias(CHALLENGER, version)
    page = _page(settings, registry, version, bundle, measured)
    if parent is None:  # a warm start leaves that of a stopped training of the same windows alone
        checkpoint.clear()
    return Trained(
        version=version,
        run_id=run_id,
        cutoff=cutoff,
        table=measured.table,
        dropped=measured.dropped,
        missed=measured.missed,
        report=page,
        parent=parent,
        trainable=about["trainable_share"],
        forgotten=forgotten,
    )


def _page(settings: Settings, registry: Tracker, version: str, bundle: Bundle, measured: Measured) -> Path | None:
    """The report of a version that is registered already, None where it could not be written."""
    try:
        return report_training(settings, registry, version, bundle, measured)
    except UnavailableError as error:  # another try would train again for the sake of its page
        _LOG.warning(
            "version %s is registered, but has no report: %s; `recsys-text report --model %s` writes it",
            *(version, error, version),
        )
    return None


def fitted(
    settings: Settings,
    before: Inputs,
    cutoff: datetime,
    registry: Tracker,
    parent: str | None,
    *,
    checkpoint: Checkpoint,
    progress: Stages,
    plan: Plan | None = None,
) -> tuple[Bundle, dict[str, Any], dict[str, float]]:
    """A bundle, trained whole or from a registered parent; how it was made, and what it has forgotten of the parent's.

    plan: see `fit_bundle`. Registers nothing.
    """
    log, texts, starts = before.log, before.texts, starts_of(before, settings)
    if parent is None:
        bundle, _ = fit_bundle(
            log, texts, starts, cutoff=cutoff, settings=settings, checkpoint=checkpoint, progress=progress, plan=plan
        )
        return bundle, {"mode": "whole", "trainable_share": 1.0}, {}
    former = Bundle.load(registry.bundle(parent))
    continued = continue_bundle(former, log, texts, starts, cutoff=cutoff, settings=settings, progress=progress)
    progress.stage("Looking at what it has forgotten of older windows")
    forgotten = forgetting(former, continued.bundle, log, texts, starts, settings)
    about = {"mode": f"warm start, {settings.training.adapt}", "parent": parent}
    return continued.bundle, about | {"trainable_share": continued.trainable}, forgotten


def decided(settings: Settings, before: Inputs, progress: Stages) -> Settings:
    """The settings with all that was open decided from the windows that train, each decision told in one line."""
    spans = filled(before.log, before.spans)[-settings.training.history :]
    if not spans:  # what is missing is said where it is looked for
        return settings
    found = decide(before.log, before.texts, spans, settings)
    for line in found.lines:
        progress.stage(line)
    return found.settings


def starts_of(before: Inputs, settings: Settings) -> list[datetime]:
    """The starts of the windows that train, oldest first: those with events, so that empty ones push none out."""
    return [start for start, _ in filled(before.log, before.spans)][-settings.training.history :]


def champion_of(registry: Tracker) -> str:
    """The version that a warm start begins with. Raises ConfigError where there is none."""
    champion = registry.version(CHAMPION)
    if champion is None:
        raise ConfigError("a warm start goes on from the champion, and there is none; train without --warm-start first")
    return champion


def _check_teachable(settings: Settings, cutoff: datetime, tests: list[Window]) -> None:
    """Hours of training must not end in that nothing was learned or can be measured. Raises ContractError."""
    known = inputs(settings, before=tests[-1].end)
    starts = [start for start, end in filled(known.log, known.spans) if end <= cutoff][-settings.training.history :]
    measured = [(window.start, window.end) for window in tests]
    check_teachable(known.log, starts, cutoff, measured, settings)
    for doubt in doubts(known.log, starts, cutoff, measured, settings):
        _LOG.warning("%s", doubt)


def _drop_abandoned(checkpoints: Path) -> None:
    """Removes what stopped trainings left that nobody has gone on with; new data have other checkpoints."""
    for folder in checkpoints.glob("*"):
        if time.time() - folder.stat().st_mtime > _ABANDONED.total_seconds():
            shutil.rmtree(folder, ignore_errors=True)


def _fingerprint(params: dict[str, Any], data: Inputs) -> str:
    made_of = [params, data.digests, data.log.settle]  # impressions teach once they are settled
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:16]


class Logged:
    """Shows progress as its inner one does, logs each epoch to the present run, and lets no stage hold the memory that
    the former one has freed.
    """

    def __init__(self, inner: Stages, registry: Tracker) -> None:
        self._inner, self._registry = inner, registry

    def stage(self, name: str) -> None:
        give_back()
        self._inner.stage(name)

    def advance(self, done: int, total: int) -> None:
        self._inner.advance(done, total)

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
