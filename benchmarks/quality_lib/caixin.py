"""Caixin: real clicks with real times. The fixed cases of three days, and the day after each of five cutoffs."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache as once
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks import logs
from benchmarks.logs import DAY, Data
from benchmarks.quality_lib import cache, training
from benchmarks.quality_lib.training import MEASURE, OURS, Run, seeded, settings_of
from benchmarks.quality_lib.values import ERROR, Row, Values, averaged, measured, pooled, rows
from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.evaluation.baselines import baseline_scores
from recsys_text.evaluation.calibration import TOP, calibration_error
from recsys_text.evaluation.collaborative import collaborative_scores
from recsys_text.evaluation.slices import slices
from recsys_text.following import followed
from recsys_text.ranking.candidates import sampled_impressions
from recsys_text.ranking.features import counts
from recsys_text.ranking.log import Impressions, impressions_from_frame, micros
from recsys_text.ranking.logged import take
from recsys_text.sections import Candidates

NAME = "caixin"
CUTOFF = datetime(2014, 3, 18, tzinfo=UTC)
ROLLING = tuple(datetime(2014, 3, day, tzinfo=UTC) for day in (11, 13, 15, 17, 18))
#: What the protocols rank, whatever a bundle found for itself.
POOL = Candidates(pool="alive", active=DAY, fresh=DAY)
METRICS = ("auc", "mrr", "ndcg@5", "ndcg@10", "recall@10")
#: What the protocols call the product's slices.
SLICES = {
    "all": "dev cases",
    "new_item": "dev cases, new items",
    "new_user": "dev cases, new users",
    "few_clicks": "dev cases, clicked item had <= 5 clicks in 24 h",
    "never_clicked": "dev cases, clicked item had no click",
}
OWN = ("score", "interest", "score without interest")
_OURS = (*OURS, "quality_lib/caixin.py", "quality_lib/values.py")
_UNFOLLOWED = "score, calibrated at the cutoff"


def files(run: Run) -> dict[str, str]:
    return cache.files(*(run.data / NAME / f"{name}.parquet" for name in ("clicks", "news")))


def data(run: Run) -> Callable[[], Data]:
    """Reads the log when it is first asked for."""
    return once(lambda: logs.caixin(run.data / NAME))


def cases(run: Run, log: Data, cutoff: datetime) -> Impressions:
    """The fixed cases. Ends the program where training would see the time of the first of them."""
    found = impressions_from_frame(pl.read_parquet(run.cases), log.log)
    if found.time.min() < micros(cutoff):
        raise SystemExit(
            f"--cutoff {cutoff:%Y-%m-%dT%H:%MZ} is later than the first of {run.cases}; give an earlier one"
        )
    return found


def fixed_cases(run: Run) -> list[Row]:
    """The fixed cases, each scored as of its own time by bundles of the clicks before the cutoff."""
    cutoff = run.cutoff or CUTOFF
    log = data(run)
    digests = files(run) | cache.files(run.cases)

    shown = once(lambda: cases(run, log(), cutoff))
    runs, errors = _scored(run, log, cutoff, shown, digests, {"cases": True})
    baselines = _baselines(run, log, cutoff, shown, digests, {"cases": True})
    found, seeds = averaged([*runs, baselines])
    table = []
    for name, protocol in SLICES.items():
        chosen_N = baselines.slices.get(name)
        if chosen_N is not None:
            pairs = [("score", "score without interest")]
            table += rows(NAME, protocol, found, baselines.users, seeds, differences=pairs, chosen_N=chosen_N)
    for name in errors[0]:
        mean = float(np.mean([error[name] for error in errors]))
        table.append((NAME, "dev cases", name, ERROR, mean, None, None, len(errors)))
    return table


def rolling(run: Run) -> list[Row]:
    """The day after each cutoff, and the mean over the cutoffs: score, best baseline, and its gain in percent."""
    log = data(run)
    table: list[Row] = []
    whole: dict[str, list[np.ndarray]] = {}
    cutoffs = (run.cutoff,) if run.cutoff else ROLLING
    for cutoff in cutoffs:
        settings = settings_of(NAME)
        day = {"day after": cutoff.isoformat(), "evaluation": settings.evaluation.model_dump(mode="json")}
        shown = once(lambda cutoff=cutoff: day_after(log(), cutoff, settings_of(NAME)))
        runs, _ = _scored(run, log, cutoff, shown, files(run), day)
        baselines = _baselines(run, log, cutoff, shown, files(run), day)
        found, seeds = averaged([*runs, baselines])
        ndcg = {model: value_N for (model, metric), value_N in found.items() if metric == "ndcg@10"}
        best = max((model for model in ndcg if model not in OWN), key=lambda model: ndcg[model].mean())
        gain_N = 100 * (ndcg["score"] - ndcg[best]) / ndcg[best].mean()
        chosen = {
            ("score", "ndcg@10"): ndcg["score"],
            (f"best baseline: {best}", "ndcg@10"): ndcg[best],
            ("score - best baseline", "gain in %"): gain_N,
        }
        number = {"score": len(runs), f"best baseline: {best}": 1, "score - best baseline": len(runs)}
        table += rows(NAME, f"rolling, cutoff {cutoff:%d %B}", chosen, baselines.users, number)
        for name, value_N in zip(("score", "best baseline", "gain"), chosen.values(), strict=True):
            whole.setdefault(name, []).append(value_N)
        whole.setdefault("users", []).append(baselines.users)
    means = {
        ("score", "ndcg@10"): pooled(whole["score"]),
        ("best baseline", "ndcg@10"): pooled(whole["best baseline"]),
        ("score - best baseline", "gain in %"): pooled(whole["gain"]),
    }
    seeds = {"score": len(run.seeds), "best baseline": 1, "score - best baseline": len(run.seeds)}
    return table + rows(NAME, f"rolling, mean of {len(cutoffs)}", means, np.concatenate(whole["users"]), seeds)


def day_after(log: Data, cutoff: datetime, settings: Settings) -> Impressions:
    """As `evaluate` samples a day, of users who had clicked before; candidates are those of POOL."""
    chosen = settings.evaluation
    found, _ = sampled_impressions(
        log.log, cutoff, cutoff + DAY, POOL, max_impressions=chosen.max_impressions, seed=chosen.seed
    )
    own = log.log.clicks_of_user
    return take(found, np.flatnonzero(own.stop(found.user, own.rank(found.time)) > own.begin(found.user)))


def _scored(
    run: Run,
    log: Callable[[], Data],
    cutoff: datetime,
    impressions: Callable[[], Impressions],
    digests: Mapping[str, str],
    what: Mapping[str, Any],
) -> tuple[list[Values], list[dict[str, float]]]:
    """What the bundle of each seed is worth, and its calibration errors."""
    values, errors = [], []
    for seed in run.seeds:
        settings = seeded(settings_of(NAME), seed)
        trained = training.bundle(run, NAME, files(run), log, cutoff, settings)

        def work(folder: Path, trained: Path = trained) -> Mapping[str, Any]:
            trained_bundle = Bundle.load(trained / "bundle")
            shown, evaluation = impressions(), settings_of(NAME).evaluation
            items = trained_bundle.text.items(log().texts, log().log.item_ids)
            seed = evaluation.seed
            bundle = followed(trained_bundle, log().log, items, shown.time, windows=(), refresh=None, seed=seed)
            scores = dict(
                zip(
                    ("interest", "score", "score without interest"),
                    bundle.compare(log().log, items, shown),
                    strict=True,
                )
            )
            measured(shown, scores, METRICS).save(folder)
            _, unfollowed_P = trained_bundle.score(log().log, items, shown)
            return {
                name: calibration_error(said_P, shown.clicked, top=TOP)
                for name, said_P in {"score": scores["score"], _UNFOLLOWED: unfollowed_P}.items()
            }

        depends = {"files": dict(digests), "bundle": trained.name, "code": cache.code(MEASURE, _OURS), **what}
        step = run.cache.step(f"{NAME}-score", depends, work)
        values.append(Values.load(step))
        errors.append({name: cache.about_of(step)[name] for name in ("score", _UNFOLLOWED)})
    return values, errors


def _baselines(
    run: Run,
    log: Callable[[], Data],
    cutoff: datetime,
    impressions: Callable[[], Impressions],
    digests: Mapping[str, str],
    what: Mapping[str, Any],
) -> Values:
    """What the product's baselines are worth, and the slices: all that no seed changes."""

    def work(folder: Path) -> None:
        shown, whole = impressions(), log().log
        nothing = [None] * len(whole.item_ids)
        scores = baseline_scores(whole, shown, log().texts, counts(whole, shown), cutoff=micros(cutoff))
        scores |= collaborative_scores(whole, shown, cutoff=micros(cutoff))
        chosen = slices(whole, shown, nothing, cutoff=micros(cutoff))
        measured(shown, scores, METRICS, chosen).save(folder)

    code = cache.code(
        (*(name for name in MEASURE if name not in ("bundle.py", "model")), "model/collaborative.py"), _OURS
    )
    depends = {"files": dict(digests), "cutoff": cutoff.isoformat(), "code": code, **what}
    return Values.load(run.cache.step(f"{NAME}-baselines", depends, work))
