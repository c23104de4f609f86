"""Goodbooks, all items: each user's last ten liked books among all that the user had not liked before."""

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache as once
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import logs
from benchmarks.logs import DAY, END, Data, clocked
from benchmarks.quality_lib import cache, training
from benchmarks.quality_lib.training import MEASURE, OURS, Run, seeded, settings_of
from benchmarks.quality_lib.values import ERROR, Row, Values, averaged, joined, measured, rows
from recsys_text.bundle import Bundle
from recsys_text.evaluation.baselines import baseline_scores
from recsys_text.evaluation.calibration import TOP, calibration
from recsys_text.evaluation.collaborative import collaborative_scores
from recsys_text.ranking.features import counts
from recsys_text.ranking.log import Impressions, micros
from recsys_text.ranking.window_impressions import window_impressions
from recsys_text.sections import Candidates

NAME = "goodbooks"
FOLDER = "goodbooks10k_sample"
#: The liked books of a user that make a window, of which the newest is the test.
LAST = 10
CUTOFF: datetime = END - DAY
METRICS = ("ndcg@10", "recall@50")
# Pairs whose features are held at a time: the pool of each user is the whole catalogue.
_CHUNK = 2_000_000
_OURS = (*OURS, "quality_lib/goodbooks.py", "quality_lib/values.py")


def files(run: Run) -> dict[str, str]:
    return cache.files(*(run.data / FOLDER / f"{name}.parquet" for name in ("books", "ratings_sample")))


def data(run: Run) -> Callable[[], Data]:
    """Reads and lays out the log when it is first asked for."""

    def read() -> Data:
        found = logs.goodbooks(run.data / FOLDER)
        return clocked(found.items, found.clicks, LAST)

    return once(read)


def last_ten(log: Data) -> Impressions:
    """Each user once at the start of the newest window: all books that the user had not liked before."""
    return window_impressions(
        log.log, [(CUTOFF, END)], Candidates(pool="all"), max_impressions=len(log.log.user_ids), seed=7
    )[0]


def all_items(run: Run) -> list[Row]:
    """Score, interest and baselines."""
    log = data(run)
    impressions = once(lambda: last_ten(log()))
    runs, errors = [], []
    for seed in run.seeds:
        trained = training.bundle(run, NAME, files(run), log, CUTOFF, seeded(settings_of(NAME), seed))

        def work(folder: Path, trained: Path = trained) -> Mapping[str, Any]:
            bundle = Bundle.load(trained / "bundle")
            items = bundle.text.items(log().texts, log().log.item_ids)
            parts, counted = [], []
            for part in impressions().chunks(_CHUNK):
                interest_P, score_P, without_P = bundle.compare(log().log, items, part)
                scores = {"score": score_P, "interest": interest_P, "score without interest": without_P}
                parts.append(measured(part, scores, METRICS))
                counted.append(calibration(score_P, part.clicked))
            joined(parts).save(folder)
            return {ERROR: reduce(add, counted).error(top=TOP)}

        depends = {"files": files(run), "bundle": trained.name, "code": cache.code(MEASURE, _OURS)}
        step = run.cache.step(f"{NAME}-score", depends, work)
        runs.append(Values.load(step))
        errors.append(cache.about_of(step)[ERROR])
    baselines = _baselines(run, log, impressions)
    found, seeds = averaged([*runs, baselines])
    pairs = [("score", "score without interest"), ("score", "EASE")]
    table = rows(NAME, "all items", found, baselines.users, seeds, differences=pairs)
    return [*table, (NAME, "all items", "score", ERROR, float(np.mean(errors)), None, None, len(errors))]


def _baselines(run: Run, log: Callable[[], Data], impressions: Callable[[], Impressions]) -> Values:
    def work(folder: Path) -> None:
        whole, shown = log().log, impressions()
        parts = []
        for part in shown.chunks(_CHUNK):
            known = counts(whole, part)
            scores = baseline_scores(whole, part, log().texts, known, cutoff=micros(CUTOFF))
            parts.append(measured(part, scores, METRICS))
        found = joined(parts)
        fitted = measured(shown, collaborative_scores(whole, shown, cutoff=micros(CUTOFF)), METRICS)
        Values(users=found.users, found=found.found | fitted.found, slices={}).save(folder)

    code = cache.code(("evaluation", "ranking", "text", "model/collaborative.py"), _OURS)
    return Values.load(run.cache.step(f"{NAME}-baselines", {"files": files(run), "code": code}, work))
