"""Train and gate: lake to a registered bundle, and whether it may serve. Knows no store."""

import hashlib
import json
import logging
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.errors import ConfigError, ContractError
from recsys_text.evaluation import metrics
from recsys_text.evaluation.gate import decide
from recsys_text.evaluation.reliability import svg
from recsys_text.fitting import Stages, fit_bundle
from recsys_text.model.checkpoint import Checkpoint
from recsys_text.model.fit import EpochResult
from recsys_text.ranking.features import COUNTS
from recsys_text.steps.evaluate import figures, impressions_of, measure, newest_windows
from recsys_text.steps.inputs import Inputs, inputs, tracker
from recsys_text.tracking import CHALLENGER, CHAMPION, Tracker


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
    checkpoint.clear()
    return Trained(version=version, run_id=run_id, cutoff=cutoff, table=measured.table, dropped=measured.dropped)


def gate(settings: Settings, version: str) -> dict[str, Any]:
    """Makes a version champion if it is the first, or beats the champion on the same impressions of the newest windows.

    The lower bound of the paired bootstrap interval of its gain in nDCG@10 must clear `gate.min_gain`. A champion that
    this version cannot score with counts as none: it must not keep out what can. Returns
    {"promoted", "version", "reason", "gain", "low", "high"}; the verdict is kept as tags of the version.
    """
    registry = tracker(settings)
    champion = registry.version(CHAMPION)
    if champion == version:
        return {"promoted": True, "version": version, "reason": "it is champion already"}
    if champion is None:
        return _promote(registry, version, {"reason": "there was no champion"})
    challenging = _bundle(registry, version)
    try:
        bundles = [challenging, _bundle(registry, champion)]
    except ContractError as error:
        reason = f"champion {champion} cannot score any more, so it counts as none: {error}"
        return _promote(registry, version, {"reason": reason})
    windows = newest_windows(settings, max(bundle.cutoff for bundle in bundles))
    data = inputs(settings)
    impressions, _ = impressions_of(settings, data, windows, bundles[0].candidates)
    challenger_N, champion_N = (
        metrics.evaluate(
            bundle.score(data.log, bundle.text.items(data.texts, data.log.item_ids), impressions)[1],
            impressions.clicked,
            impressions.offsets,
        )["ndcg@10"]
        for bundle in bundles
    )
    verdict = decide(
        challenger_N,
        champion_N,
        impressions.user,
        min_gain=settings.gate.min_gain,
        seed=settings.evaluation.seed,
        resamples=settings.evaluation.resamples,
    )
    figures = {"reason": verdict.line, "gain": verdict.gain, "low": verdict.low, "high": verdict.high}
    if verdict.promote:
        return _promote(registry, version, figures)
    registry.tag(version, {f"gate.{key}": value for key, value in figures.items()})
    return {"promoted": False, "version": version} | figures


def _bundle(registry: Tracker, version: str) -> Bundle:
    """A registered bundle; a useless copy of it here is fetched anew. Raises ContractError if that helps nothing."""
    folder = registry.bundle(version)
    try:
        return Bundle.load(folder)
    except (ContractError, ConfigError):
        shutil.rmtree(folder)
    try:
        return Bundle.load(registry.bundle(version))
    except ConfigError as error:
        raise ContractError(str(error)) from None


def _promote(registry: Tracker, version: str, figures: dict[str, Any]) -> dict[str, Any]:
    registry.tag(version, {f"gate.{key}": value for key, value in figures.items()})
    registry.set_alias(CHAMPION, version)
    if registry.version(CHALLENGER) == version:
        registry.drop_alias(CHALLENGER)
    return {"promoted": True, "version": version} | figures


def _fingerprint(params: dict[str, Any], data: Inputs) -> str:
    return hashlib.sha256(json.dumps([params, data.digests], sort_keys=True).encode()).hexdigest()[:16]


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
