"""Day by day through caixin: a bundle that stays, one that is trained anew every night, and two that go on.

    RECSYS_TEXT_DATA=FOLDER python benchmarks/continual.py --cache FOLDER [--days 10] [--seed 7]
        [--methods frozen,warm,lora,retrain] [--impressions 1000]

All methods begin with one bundle of the clicks before 10 March 2014. Scored are 11 to 20 March, or the first --days of
them. Before each day `retrain` trains a bundle of all clicks until then, `warm` continues the bundle of the day before
with the newest day and replayed older clicks, `lora` does so with adapters of at most 5% of the network's weights, and
`frozen` does nothing. A day's impressions are at most --impressions of its clicks, each among its pool, by users who
had clicked before. Settings are those of benchmarks/caixin.toml; what else decides a warm start was chosen on days
before 11 March.

gain: in nDCG@10 over frozen on the same impressions; intervals are 95% bootstrap intervals over users, all days
together. seconds: of a night, by the clock and of the processor, which other jobs on the machine do not lengthen.
forgetting: the change in nDCG@10 on 500 impressions of the windows before 10 March, of the last day's bundle from the
first one's; both have seen these clicks. Each night and each day's score is kept below --cache by all that it depends
on: what was stopped goes on where it was.
"""

import argparse
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache as once
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import logs
from benchmarks.logs import DAY, Data
from benchmarks.quality_lib import cache, caixin, report
from benchmarks.quality_lib.training import BUNDLE, MEASURE, OURS, Timed, decided, seeded, settings_of
from benchmarks.quality_lib.values import Values, joined, measured
from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.evaluation.bootstrap import Interval, interval
from recsys_text.fitting import continue_bundle, fit_bundle
from recsys_text.model.checkpoint import Checkpoint
from recsys_text.ranking.candidates import sampled_impressions
from recsys_text.ranking.log import Impressions
from recsys_text.terminal import WorkProgress

BEGIN = datetime(2014, 3, 10, tzinfo=UTC)
MOST_DAYS, OLD = 10, 500
METHODS = ("frozen", "warm", "lora", "retrain")
_SCORE = "score"


class Walk:
    """The nights and the days of one seed."""

    def __init__(self, data: Path, steps: cache.Cache, seed: int, impressions: int) -> None:
        self.steps, self._impressions = steps, impressions
        self._files = cache.files(*(data / caixin.NAME / f"{name}.parquet" for name in ("clicks", "news")))
        self._log: Callable[[], Data] = once(lambda: logs.caixin(data / caixin.NAME))
        before = self._log().before(BEGIN)
        self._settings = decided(seeded(settings_of(caixin.NAME), seed), before, before.starts(BEGIN))

    def bundle(self, method: str, days: int) -> Path:
        """The step of the bundle that scores the day so many days after the first."""
        if days == 0 or method == "frozen":
            return self._fitted("retrain", BEGIN, None)
        parent = None if method == "retrain" else self.bundle(method, days - 1)
        return self._fitted(method, BEGIN + days * DAY, parent)

    def _fitted(self, method: str, cutoff: datetime, parent: Path | None) -> Path:
        settings = self._of(method)
        depends = {
            "files": self._files,
            "settings": settings.model_dump(mode="json", include={"model", "training", "blend", "candidates"}),
            "cutoff": cutoff.isoformat(),
            "parent": parent and parent.name,
            "code": cache.code(BUNDLE, OURS),
        }

        def work(folder: Path) -> Mapping[str, Any]:
            before = self._log().before(cutoff)
            fit = {"log": before.log, "texts": before.texts, "starts": before.starts(cutoff)}
            former = Bundle.load(parent / "bundle") if parent else None
            begun = process_time()
            with WorkProgress(Console()) as shown:
                timed = Timed(inner=shown)
                more = {"cutoff": cutoff, "settings": settings, "progress": timed}
                if former is None:
                    kept = Checkpoint(self.steps.root / "checkpoints" / cache.key(depends))
                    bundle, trainable = fit_bundle(**fit, **more, checkpoint=kept)[0], 1.0
                    kept.clear()
                else:
                    continued = continue_bundle(former, **fit, **more)
                    bundle, trainable = continued.bundle, continued.trainable
            figures = timed.figures() | {"cpu_seconds": process_time() - begun, "trainable": trainable}
            bundle.save(folder / "bundle")
            return figures | {"fit_seconds": sum(timed.stages.values())}

        return self.steps.step(f"continual-{method}", depends, work)

    def _of(self, method: str) -> Settings:
        adapt = "lora" if method == "lora" else "all"
        return self._settings.model_copy(
            update={"training": self._settings.training.model_copy(update={"adapt": adapt})}
        )

    def scored(self, fitted: Path, day: datetime) -> Values:
        """What a bundle is worth on a day."""
        chosen = self._settings.evaluation.model_copy(update={"max_impressions": self._impressions})
        settings = self._settings.model_copy(update={"evaluation": chosen})
        what = {"day": day.isoformat(), "impressions": self._impressions}
        return self._values(fitted, what, lambda: caixin.day_after(self._log(), day, settings))

    def remembered(self, fitted: Path) -> Values:
        """What a bundle is worth on the windows before the first one's cutoff."""

        def old() -> Impressions:
            log, first = self._log(), self._log().starts(BEGIN)[0]
            seed = self._settings.evaluation.seed
            return sampled_impressions(log.log, first, BEGIN, caixin.POOL, max_impressions=OLD, seed=seed)[0]

        return self._values(fitted, {"before": BEGIN.isoformat(), "impressions": OLD}, old)

    def _values(self, fitted: Path, what: Mapping[str, Any], shown: Callable[[], Impressions]) -> Values:
        def work(folder: Path) -> None:
            bundle, log, impressions = Bundle.load(fitted / "bundle"), self._log(), shown()
            items = bundle.text.items(log.texts, log.log.item_ids)
            interest_P, score_P = bundle.score(log.log, items, impressions)
            measured(impressions, {_SCORE: score_P, "interest": interest_P}, ("auc", "ndcg@10")).save(folder)

        depends = {"bundle": fitted.name, "code": cache.code(MEASURE, OURS), **what}
        return Values.load(self.steps.step("continual-values", depends, work))


def options() -> argparse.Namespace:
    """What the command line says. Ends the program where it makes no sense."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--days", type=int, default=MOST_DAYS)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--methods", type=lambda names: names.split(","), default=list(METHODS))
    parser.add_argument("--impressions", type=int, default=1000)
    chosen = parser.parse_args()
    if "RECSYS_TEXT_DATA" not in os.environ:
        parser.error("RECSYS_TEXT_DATA is not set; name the folder that holds caixin")
    if not 1 <= chosen.days <= MOST_DAYS:
        parser.error(f"--days {chosen.days}: the log has {MOST_DAYS} days from 11 March on; give 1 to {MOST_DAYS}")
    if unknown := [name for name in chosen.methods if name not in METHODS]:
        parser.error(f"there is no method '{unknown[0]}'; choose from {', '.join(METHODS)}")
    return chosen


def main() -> None:
    chosen = options()
    walk = Walk(Path(os.environ["RECSYS_TEXT_DATA"]), cache.Cache(root=chosen.cache), chosen.seed, chosen.impressions)
    days = [BEGIN + number * DAY for number in range(1, chosen.days + 1)]
    nights: dict[str, list[Path]] = {name: [] for name in ("frozen", *chosen.methods)}
    values: dict[str, list[Values]] = {name: [] for name in nights}
    # A day of all methods before the next: what is stopped has whole days.
    for number, day in enumerate(days, 1):
        for name, steps in nights.items():
            steps.append(walk.bundle(name, number))
            values[name].append(walk.scored(steps[-1], day))
    last, first = {name: walk.remembered(steps[-1]) for name, steps in nights.items()}, walk.bundle("frozen", 0)
    show(walk, nights, {name: joined(parts) for name, parts in values.items()}, last, walk.remembered(first), first)


def show(
    walk: Walk,
    nights: Mapping[str, list[Path]],
    values: Mapping[str, Values],
    last: Mapping[str, Values],
    before: Values,
    first: Path,
) -> None:
    out = Console(width=None if Console().is_terminal else 160)
    frozen, days = values["frozen"], len(nights["frozen"])
    shown = Table(title=f"caixin, {BEGIN + DAY:%d %B} and on, {days} days, {len(frozen.users):,} impressions")
    for name in ("method", "AUC", "nDCG@10", "gain over frozen", "seconds (clock, processor)", "trained", "forgetting"):
        shown.add_column(name, justify="left" if name == "method" else "right", no_wrap=True)
    of = partial(interval, resamples=1000, seed=7)
    for name, found in values.items():
        about = [cache.about_of(step) for step in nights[name]]
        clock, cpu = (float(np.mean([each[key] for each in about])) for key in ("fit_seconds", "cpu_seconds"))
        gain = of(found.found[_SCORE, "ndcg@10"] - frozen.found[_SCORE, "ndcg@10"], found.users)
        forgot = of(last[name].found[_SCORE, "ndcg@10"] - before.found[_SCORE, "ndcg@10"], before.users)
        shown.add_row(
            name,
            _figure(of(found.found[_SCORE, "auc"], found.users)),
            _figure(of(found.found[_SCORE, "ndcg@10"], found.users)),
            "" if name == "frozen" else _figure(gain, "+"),
            "" if name == "frozen" else f"{clock:.0f}, {cpu:.0f}",
            "" if name == "frozen" else f"{np.mean([each['trainable'] for each in about]):.1%}",
            "" if name == "frozen" else _figure(forgot, "+"),
        )
    out.print(shown)
    one = cache.about_of(first)
    out.print(
        f"The first bundle took {one['fit_seconds']:.0f} s by the clock and {one['cpu_seconds']:.0f} s of processor"
    )
    out.print(report.machine(), soft_wrap=True)


def _figure(found: Interval, sign: str = "") -> str:
    return f"{found.mean:{sign}.4f} [{found.low:{sign}.4f}, {found.high:{sign}.4f}]"


if __name__ == "__main__":
    main()
