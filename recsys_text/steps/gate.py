"""Gate: whether a registered bundle may serve. Knows no store."""

import shutil
from typing import Any

from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.errors import ConfigError, ContractError
from recsys_text.evaluation import metrics
from recsys_text.evaluation.gate import decide
from recsys_text.steps.evaluate import impressions_of, newest_windows
from recsys_text.steps.inputs import inputs, tracker
from recsys_text.tracking import CHALLENGER, CHAMPION, Tracker


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
