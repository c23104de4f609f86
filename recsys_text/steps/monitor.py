"""Monitor: what was published against the clicks that followed, and the data themselves. Knows no model."""

from collections.abc import Sequence
from datetime import timedelta
from logging import getLogger
from typing import Any

import numpy as np
import polars as pl

from feature_store import CorruptVersion, Store, UnknownVersion, VersionInfo
from recsys_text.config import Settings
from recsys_text.errors import ConfigError, ContractError, UnavailableError
from recsys_text.evaluation.drift import drift_of_numbers
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import DAY, Window
from recsys_text.publications import SCORES, is_before, model_of, run_of
from recsys_text.steps.alerts import alerts
from recsys_text.steps.drift import NULLS, REJECTS, drift, faults
from recsys_text.steps.export import to_mlflow, to_prometheus
from recsys_text.steps.inputs import the_lake, the_store, tracker, windows_of
from recsys_text.steps.lineage import cutoff_of
from recsys_text.steps.quality import Figure, published_before, quality
from recsys_text.tables import TABLES

_LOG = getLogger("recsys_text")
#: The drift of the published scores, as `evaluation.drift.drift_of_numbers` says.
SCORE_DRIFT = "score_psi"
#: Before the digest of the events that figures were measured on, in the source of a window of quality.
_OF_EVENTS = " against events "
#: The version of figures of the data, where no version was published before the window.
NONE = "none"


def unmeasured(settings: Settings) -> list[str]:
    """The windows of the lake that were not measured, or before rows came late, oldest first.

    Raises ContractError where no window is in the lake.
    """
    lake = the_lake(settings)
    known = set(lake.keys("quality"))

    def stale(key: str) -> bool:
        if key not in known:
            return True
        _, told, digest = str(lake.manifest("quality", key)["source"]).partition(_OF_EVENTS)
        return bool(told) and digest != lake.digest("events", [key])  # an older release did not tell

    return [window.key for window in windows_of(settings) if stale(window.key)]


def monitor(settings: Settings, window: str | None = None) -> dict[str, Any]:
    """Measures the newest version as of a window's start, or before it, against the window's clicks, and the window's
    data against what the model of that version has learned from.

    `window` is the newest by default. Writes the window of the table `quality`, logs the figures to the model version's
    run in MLflow and those of the newest measured window to Prometheus' text format, and judges `alerts`.

    Metrics, with 95% intervals over users where they are a mean over users: ndcg@10, hit_rate@10 and auc (see
    `evaluation.published`), diversity@10, novelty@10, for slices of users by what was known before the window;
    calibration_error_top1%, calibration_ratio; coverage (the share of the clicking users that had a list),
    item_coverage@10 (the share of all listed items that are among a measured user's first ten), users; score_psi,
    input_psi, null_rate, reject_rate. Where the challenger's scores were published too, the slice "shadow" has theirs,
    and the paired "gain of ndcg@10" over what was served.

    A window that was measured with a version that has been pruned since keeps the figures of that version.

    Returns {"window", "version", "rows", "reason", "alerts"}; version None, and the reason, where no version was
    published before the window began, that one was pruned or is damaged, or nobody clicked. Where the model of the
    version cannot be asked, input_psi is left out, and the log says why. Raises ConfigError for a window that is not in
    the lake.
    """
    windows = {known.key: known for known in windows_of(settings)}
    key = window or list(windows)[-1]
    if key not in windows:
        raise ConfigError(f"window '{key}' is not in the lake; extract it first")
    span, lake = windows[key], the_lake(settings)
    events = lake.digest("events", [key])  # rows that come late while they are measured are measured later
    found: list[Figure] = [(*figure, None, None) for figure in faults(lake, key)]
    reason = f"No version was published as of {span.start:%Y-%m-%dT%H:%MZ} or before it: no measure of scores"
    version, name, kept = None, NONE, _measured_before(lake, key)
    with the_store(settings) as store:
        info = published_before(store, SCORES, span.start)
        if kept and (info is None or is_before(info.version, kept[0]["version"])):
            info, name = None, kept[0]["version"]
            reason = f"Version {name}, which window {key} was measured with, was pruned since: its figures stay"
        elif info is not None:
            name = info.version
            positive = settings.sources.events.positive
            try:
                learned = _learned(settings, info, list(windows.values()), span)
                found += [(*figure, None, None) for figure in drift(lake, span, learned, positive)]
            except (ConfigError, ContractError, UnavailableError) as error:
                _LOG.warning("window %s has no drift of the inputs: %s", key, error)
            try:
                of_scores = quality(settings, store, lake, info, span)
                found += of_scores or []
                version = None if of_scores is None else info.version
                reason = f"Window {key} has no clicks, so there is nothing to measure" if of_scores is None else ""
            except (CorruptVersion, UnknownVersion) as error:
                reason = f"Version {name} cannot be measured: {error}"
            else:
                try:
                    found += _score_drift(store, info)
                except (CorruptVersion, UnknownVersion) as error:
                    _LOG.warning("window %s has no drift of the scores: %s", key, error)
    rows = [
        {"window": key, "version": name, "metric": metric, "slice": part, "value": value, "low": low, "high": high}
        for metric, part, value, low, high in found
        if not np.isnan(value)
    ]
    if info is None:
        rows += kept
    frame = pl.DataFrame(rows, schema=pl.Schema(TABLES["quality"]))
    source = f"version {name}{_OF_EVENTS}{events}"
    lake.write("quality", span, [frame], source=source, max_rejected=0.0, min_rows=0)
    judged = alerts(settings, key)
    try:
        newest = lake.keys("quality")[-1]
        to_prometheus(settings, lake.read("quality", [newest]).to_dicts(), alerts(settings))
        if info is not None and (model := run_of(info)) is not None:
            to_mlflow(settings, model, span, rows)
    except (ConfigError, UnavailableError) as error:  # what fires is told all the same
        _LOG.warning(
            "window %s is measured, but %s; `recsys-text monitor --window %s` tells its figures once more",
            key,
            error,
            key,
        )
    return {"window": key, "version": version, "rows": rows, "reason": reason, "alerts": judged}


def _measured_before(lake: Lake, key: str) -> list[dict[str, Any]]:
    """The rows that tell what the scores of a version were worth in a window, where it was measured with one."""
    if key not in lake.keys("quality"):
        return []
    of_scores = (pl.col("version") != NONE) & ~pl.col("metric").is_in([NULLS, REJECTS])
    return lake.read("quality", [key]).filter(of_scores).to_dicts()


def _learned(settings: Settings, info: VersionInfo, windows: Sequence[Window], span: Window) -> list[str]:
    """The windows that the model of a version has learned from, as far as they are before `span`.

    Of hours those of the same time of day: what people do by night is no drift from what they do by day.
    """
    if (model := run_of(info)) is None:
        raise ContractError(f"version {info.version} does not tell its model's run: an older recsys-text published it")
    registry = tracker(settings)
    end = min(cutoff_of(registry, registry.version_of(model)), span.start)
    learned = [window for window in windows if window.end <= end][-settings.training.history :]
    return [window.key for window in learned if (span.start - window.start) % DAY == timedelta(0)]


def _score_drift(store: Store, info: VersionInfo) -> list[Figure]:
    """Against the oldest version of the same model that is still there, or the last one of the model before it."""
    whole = [other for other in store.versions(SCORES) if not other.problem]
    same = [other for other in whole if model_of(other) == model_of(info)]
    first = min(same, key=lambda other: other.sequence)
    if first.version == info.version:
        earlier = [other for other in whole if is_before(other.version, info.version)]
        if not earlier:
            return []
        first = max(earlier, key=lambda other: other.version)
    old, new = (_scores(store, version) for version in (first.version, info.version))
    return [(SCORE_DRIFT, "all", drift_of_numbers(old, new), None, None)]


def _scores(store: Store, version: str) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    parts = [batch.column("score").flatten().to_numpy() for batch in store.snapshot(SCORES, version).batches()]
    return np.concatenate([np.zeros(0, np.float32), *parts])
