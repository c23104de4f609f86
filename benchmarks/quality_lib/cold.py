"""Cold items of goodbooks and citeulike: nobody's click on them and none of their texts is seen by any training.

One impression for each user who clicked a cold item: all cold items are candidates, the user's history is all else
that the user clicked. Shapes: U users, C cold items, n others.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache as once
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.logs import END, Clicks, Data, citeulike, clocked, goodbooks
from benchmarks.quality_lib import cache, training
from benchmarks.quality_lib.bars import bars
from benchmarks.quality_lib.training import OURS, TEXT, Run, seeded, settings_of
from benchmarks.quality_lib.values import Row, Values, averaged, measured, rows
from recsys_text.model.text_model import ALONE, TextModel, clicks_read
from recsys_text.ranking.affinity import dots
from recsys_text.ranking.candidates import histories
from recsys_text.ranking.log import Impressions, micros

FOLDERS = {"goodbooks": "goodbooks10k_sample", "citeulike": "citeulike_a"}
FILES = {"goodbooks": ("books", "ratings_sample"), "citeulike": ("docs", "user_library")}
METRICS = ("ndcg@10", "recall@50")
#: Of each user's clicks, the last one stops the training early: the clicks have no other windows.
_PER_WINDOW = 1
_OURS = (*OURS, "quality_lib/cold.py", "quality_lib/bars.py", "quality_lib/values.py")


@dataclass(frozen=True, kw_only=True)
class Split:
    """The catalogue and the clicks, of which those on items whose id leaves `residue` are the test."""

    clicks: Clicks
    modulus: int
    residue: int

    @cached_property
    def warm(self) -> Data:
        """All that training may see: neither the clicks on cold items nor the items."""
        is_cold = self._is_cold
        return clocked(self.clicks.items.filter(~is_cold), self.clicks.clicks.filter(~is_cold), _PER_WINDOW)

    @cached_property
    def whole(self) -> Data:
        """The whole catalogue with the clicks that make histories, at the same times as in `warm`."""
        return clocked(self.clicks.items, self.clicks.clicks.filter(~self._is_cold), _PER_WINDOW)

    @cached_property
    def impressions(self) -> Impressions:
        """One for each user who clicked a cold item, after all other clicks; candidates are all cold items."""
        log = self.whole.log
        tests = self.clicks.clicks.filter(self._is_cold)
        user_names = tests["user_id"].unique().sort()
        cold_C = np.flatnonzero([int(item) % self.modulus == self.residue for item in log.item_ids]).astype(np.int32)
        clicked_UC = np.zeros((len(user_names), len(cold_C)), np.bool_)
        place_of_user = user_names.search_sorted(tests["user_id"]).to_numpy()
        clicked_UC[place_of_user, np.searchsorted(cold_C, log.item_codes(tests["item_id"]))] = True
        return Impressions(
            user=log.user_codes(user_names),
            time=np.full(len(user_names), micros(END)),
            offsets=np.arange(len(user_names) + 1) * len(cold_C),
            item=np.tile(cold_C, len(user_names)),
            clicked=clicked_UC.ravel(),
        )

    @property
    def _is_cold(self) -> pl.Expr:
        return pl.col("item_id").cast(pl.Int64) % self.modulus == self.residue


def files(run: Run, name: str) -> dict[str, str]:
    return cache.files(*(run.data / FOLDERS[name] / f"{file}.parquet" for file in FILES[name]))


def split(run: Run, name: str) -> Callable[[], Split]:
    """Reads the data when they are first asked for."""
    read = {"goodbooks": goodbooks, "citeulike": citeulike}[name]
    return once(lambda: Split(clicks=read(run.data / FOLDERS[name]), modulus=run.modulus, residue=run.residue))


def protocol(run: Run) -> str:
    return f"cold items, id % {run.modulus} = {run.residue}"


def cold_items(run: Run, name: str) -> list[Row]:
    """The text model, its parts, and what is known to be good at this."""
    data = split(run, name)
    which = {"modulus": run.modulus, "residue": run.residue}
    runs = []
    for seed in run.seeds:
        settings = seeded(settings_of(name), seed)
        trained = training.text_model(
            run, f"{name}-cold", files(run, name), lambda: data().warm, END, settings, **which
        )

        def work(folder: Path, trained: Path = trained) -> None:
            text = TextModel.load(trained / "text")
            weights = {
                "CNN-RNN alone": ALONE,
                "interest": text.weights,
                "wide path": (0.0, *text.weights[1:]),
            }
            scores = interests(text, data().whole, data().impressions, weights)
            measured(data().impressions, scores, METRICS).save(folder)

        depends = {"text": trained.name, "code": cache.code((*TEXT, "evaluation"), _OURS), **which}
        runs.append(Values.load(run.cache.step(f"{name}-cold-score", depends, work)))

    def work_of_bars(folder: Path) -> None:
        shown, log = data().impressions, data().whole.log
        measured(shown, bars(log, data().whole.texts, shown), METRICS).save(folder)

    code = cache.code(("evaluation", "text", "model/collaborative.py", "ranking/log.py"), _OURS)
    depends = {"files": files(run, name), "code": code, **which}
    known = Values.load(run.cache.step(f"{name}-cold-bars", depends, work_of_bars))
    found, seeds = averaged([*runs, known])
    pairs = [
        (model, bar)
        for model in ("CNN-RNN alone", "interest")
        for bar in ("wide path", "ridge TF-IDF -> EASE (top 10)")
    ]
    return rows(name, protocol(run), found, known.users, seeds, differences=pairs)


def interests(
    text: TextModel, data: Data, impressions: Impressions, weights: Mapping[str, tuple[float, ...]]
) -> dict[str, NDArray[np.float32]]:
    """The interest, float32[P], under each of some weights of the model's parts; rounded as a bundle rounds it."""
    log = data.log
    items = text.items(data.texts, log.item_ids)
    history_NH = histories(log, impressions.user, impressions.time, clicks_read(text.settings))
    return {
        name: np.round(
            dots(
                replace(text, weights=weight).users(items, history_NH),
                items.candidate,
                impressions.item,
                impressions.offsets,
            ),
            4,
        )
        for name, weight in weights.items()
    }
