"""Evaluate: lake and bundle to a table of methods and slices on windows that it has not seen. Knows no store."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from recsys_text import __version__
from recsys_text.bundle import CHUNK, Bundle
from recsys_text.config import Settings
from recsys_text.errors import ContractError, UnavailableError
from recsys_text.evaluation.baselines import COUNTED, baseline_scores
from recsys_text.evaluation.calibration import calibration
from recsys_text.evaluation.collaborative import collaborative_scores
from recsys_text.evaluation.freshness import AGES, CANDIDATES, aged, drawn
from recsys_text.evaluation.lists import Catalogue, surprise
from recsys_text.evaluation.measure import AS_SERVED, FRESH, INTEREST, SCORE, WITHOUT_TEXT, evaluation_table
from recsys_text.evaluation.reliability import reliability, svg
from recsys_text.evaluation.slices import slices
from recsys_text.lake.windows import Window
from recsys_text.model.text_model import Items
from recsys_text.progress import SILENT, Stages, part_of
from recsys_text.ranking.features import Float32, counts
from recsys_text.ranking.log import HOUR, Bool, Impressions, Int64, Log, micros
from recsys_text.ranking.logged import evaluated_impressions, take
from recsys_text.ranking.publication import unknown_then
from recsys_text.ranking.timeline import expand
from recsys_text.sections import Candidates
from recsys_text.steps.inputs import Inputs, bundle_path, inputs, settle, windows_of, with_events, write_parquet
from recsys_text.steps.served import as_served, recalibrated
from recsys_text.tracking import CHAMPION

#: The table that a training keeps in its run, and the tag with the digest of what it was measured on.
EVALUATION, MEASURED_ON = "evaluation", "measured_on"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """An evaluation table with what it was made from.

    dropped: clicks that were left out. missed: clicks on items that were not known yet when scores were published.
    impressions: those of the windows, as published; score_P: the score of each of their pairs, float32[P]. items: as
    the model has them. on: see `measured_on`.
    """

    table: pl.DataFrame
    reliability: pl.DataFrame
    dropped: int
    missed: int
    windows: list[Window]
    data: Inputs
    items: Items
    impressions: Impressions
    score_P: Float32
    on: str


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """The evaluation table, the Parquet file that holds it, and `dropped` and `missed` as in `Measured`."""

    table: pl.DataFrame
    path: Path
    dropped: int
    missed: int


def newest_windows(settings: Settings, cutoff: datetime | None = None) -> list[Window]:
    """The newest closed windows with events, `evaluation.windows` of them, that begin at or after the cutoff.

    Windows without events that follow are skipped, and named in the log. Raises ContractError when there is none.
    """
    newest = with_events(settings)[-settings.evaluation.windows :]
    unseen = [window for window in newest if cutoff is None or window.start >= cutoff]
    if not unseen:
        raise ContractError(
            f"no window of the lake with events begins at or after the cutoff {cutoff:%Y-%m-%dT%H:%MZ}, so nothing can "
            "be measured; extract a newer window or train with an earlier --cutoff"
        )
    return unseen


def evaluate(settings: Settings, model: str = CHAMPION, *, progress: Stages = SILENT) -> Evaluated:
    """What a bundle reaches on the newest windows, and where that is saved.

    The bins of the reliability diagram and its picture are saved beside it. Raises ConfigError for an unknown model,
    ContractError where it has seen the newest windows, UnavailableError where nothing can be saved.
    """
    version, folder = bundle_path(settings, model)
    measured = measure(settings, Bundle.load(folder), progress=progress)
    name = f"{windows_of(settings)[-1].key}-{version if version.isdecimal() else Path(version).name}"
    reports = settings.project.root / "reports"
    path = reports / f"evaluation-{name}.parquet"
    write_parquet(measured.table, path)
    write_parquet(measured.reliability, reports / f"reliability-{name}.parquet")
    try:
        (reports / f"reliability-{name}.svg").write_text(svg(measured.reliability))
    except OSError as error:
        raise UnavailableError(f"cannot write into {reports}: {error}; give another place or make room") from error
    return Evaluated(table=measured.table, path=path, dropped=measured.dropped, missed=measured.missed)


def measure(settings: Settings, bundle: Bundle, *, progress: Stages = SILENT) -> Measured:
    """Measures a bundle beside the baselines on the newest windows.

    Raises ContractError where it has seen them, or none of their clicks is in its candidate pool.
    """
    progress.stage("Reading: the newest windows, which it has not seen")
    windows = newest_windows(settings, bundle.cutoff)
    data = inputs(settings)
    bundle = as_configured(settings, bundle)
    impressions, dropped = impressions_of(settings, data, windows, bundle.candidates, bundle.at)
    log, cutoff, categories = data.log, micros(bundle.cutoff), data.items["category"].to_list()
    items = bundle.text.items(data.texts, data.log.item_ids)
    published = as_served(settings, data, impressions)
    unknown_P = unknown_then(log, published)
    rows = drawn(impressions, CANDIDATES, settings.evaluation.seed)
    few = take(impressions, rows)
    old_N = [few.time - age * HOUR for age in AGES]
    bundle = recalibrated(settings, bundle, data, items, np.concatenate([impressions.time, published.time, *old_N]))
    progress.stage(f"Measuring: published scores of {len(impressions):,} impressions that it has not seen")
    interest_P, score_P, without_P = bundle.compare(
        log, items, published, on_progress=part_of(progress, 0, len(impressions))
    )
    progress.stage("Freshness: the scores as they are when they are made sooner or later")
    total = len(impressions) + len(AGES) * len(few)
    _, fresh_P = bundle.score(log, items, impressions, on_progress=part_of(progress, 0, total))
    ages = itertools.count()

    def aged_scores(old: Impressions) -> Float32:
        done = len(impressions) + next(ages) * len(few)
        return bundle.score(log, items, old, on_progress=part_of(progress, done, total))[1]

    others = aged(aged_scores, log, few)
    progress.stage("Baselines: popularity, words, neighbours, factors")
    ours = {SCORE: score_P, INTEREST: interest_P, WITHOUT_TEXT: without_P}
    methods = last_where(unknown_P, ours) | simple_methods(data, published, cutoff=cutoff)
    catalogue = Catalogue(neutral=log.neutral, vectors=items.about, surprise=surprise(clicks_before(log, cutoff)))
    progress.stage("Intervals: of every method in every slice")
    table = evaluation_table(
        methods | {FRESH: fresh_P},
        impressions,
        slices(log, published, categories, cutoff=cutoff),
        catalogue,
        resamples=settings.evaluation.resamples,
        seed=settings.evaluation.seed,
    )
    few_P = expand(impressions.offsets[rows], np.diff(few.offsets))
    of_ages = evaluation_table(
        {SCORE: methods[SCORE][few_P], FRESH: fresh_P[few_P]} | others,
        few,
        {AS_SERVED: np.ones(len(few), np.bool_)},
        catalogue,
        resamples=settings.evaluation.resamples,
        seed=settings.evaluation.seed,
    )
    table = pl.concat([table, of_ages])
    return Measured(
        table=table,
        reliability=reliability(calibration(score_P[~unknown_P], impressions.clicked[~unknown_P])),
        dropped=dropped,
        missed=int(np.sum(impressions.clicked & unknown_P)),
        windows=windows,
        data=data,
        items=items,
        impressions=published,
        score_P=score_P,
        on=measured_on(settings, bundle, windows, data.digests),
    )


def measured_on(settings: Settings, bundle: Bundle, windows: Sequence[Window], digests: Mapping[str, str]) -> str:
    """A digest of all but the bundle that decides what is measured on these windows.

    That is the tables of the lake, by their digests as they were read, the settings and the release: where it is the
    same, measuring a bundle again gives the same table.
    """
    chosen, sources = settings.evaluation, settings.sources
    about = {
        "release": __version__,
        "windows": [window.key for window in windows],
        "lake": dict(digests),
        "evaluation": [as_configured(settings, bundle).at, chosen.max_impressions, chosen.resamples, chosen.seed],
        "sources": [sources.events.positive, sources.items.grace, settle(settings).total_seconds()],
        "refresh": settings.schedule.refresh and settings.schedule.refresh.total_seconds(),
    }
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()


def as_configured(settings: Settings, bundle: Bundle) -> Bundle:
    """Give the bundle the `evaluation.at` of the settings, where that is set, in place of its own."""
    chosen = settings.evaluation
    return replace(bundle, at=chosen.at) if "at" in chosen.model_fields_set else bundle


def simple_methods(data: Inputs, published: Impressions, *, cutoff: int) -> dict[str, Float32]:
    """Score published impressions by every baseline, float32[P] each; items not known at publication rank last."""
    log = data.log
    # Of all that is counted a few columns are kept: all of them take many times the memory of what they give.
    kept: dict[str, list[Float32]] = {name: [np.zeros(0, np.float32)] for name in COUNTED}
    for part in published.chunks(CHUNK):
        counted = counts(log, part)
        for name, columns in kept.items():
            columns.append(counted[name])
    known = {name: np.concatenate(columns) for name, columns in kept.items()}
    found = baseline_scores(log, published, data.texts, known, cutoff=cutoff)
    found |= collaborative_scores(log, published, cutoff=cutoff)
    return last_where(unknown_then(log, published), found)


def last_where(chosen_P: Bool, methods: Mapping[str, Float32]) -> dict[str, Float32]:
    """Rank the chosen pairs last by every method: all of them get one score, below that of any other pair."""
    return {name: np.where(chosen_P, np.min(said_P, initial=0) - 1, said_P) for name, said_P in methods.items()}


def impressions_of(
    settings: Settings, data: Inputs, windows: list[Window], pool: Candidates, at: Literal["click", "window"]
) -> tuple[Impressions, int]:
    """Build the impressions that a bundle with these candidate pools is measured on, and count the clicks left out.

    Raises ContractError where no impression is left.
    """
    chosen = settings.evaluation
    impressions, dropped = evaluated_impressions(
        data.log,
        [(window.start, window.end) for window in windows],
        pool,
        at=at,
        max_impressions=chosen.max_impressions,
        seed=chosen.seed,
    )
    if not len(impressions):
        raise ContractError(
            f"no click of the windows {windows[0]} to {windows[-1]} is in its candidate pool, or was shown beside "
            f"another item ({dropped} clicks), so there is no measure; extract a window with clicks, or widen "
            "[candidates]; with clicks_within, what is shown so late before the end of the last window is left out"
        )
    return impressions, dropped


def figures(table: pl.DataFrame) -> dict[str, float]:
    """The figures of the whole test and of the score as served by name, in the letters that MLflow allows."""
    aged = (pl.col("slice") == AS_SERVED) & (pl.col("method") != SCORE)
    whole = table.filter((pl.col("slice") == "all") | aged).select("method", "metric", "value")
    return {
        f"{method}/{metric}".replace(",", "").replace("@", "_at_").replace("%", "_percent"): value
        for method, metric, value in whole.iter_rows()
        if value is not None and np.isfinite(value)
    }


def clicks_before(log: Log, cutoff: int) -> Int64:
    """int64[I]: the positive events on each item before the cutoff."""
    return np.bincount(log.item[log.positive & (log.time < cutoff)], minlength=len(log.item_ids))
