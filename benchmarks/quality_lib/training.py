"""Trains what a protocol measures, once for each cutoff, shape and seed. Knows settings and logs, no metric."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.logs import DAY, Data
from benchmarks.quality_lib import cache
from recsys_text import config
from recsys_text.config import Settings
from recsys_text.fitting import decide, fit_bundle, fit_text, size_text
from recsys_text.model.checkpoint import Checkpoint
from recsys_text.model.wide import Wide
from recsys_text.progress import EpochResult
from recsys_text.sections import Model
from recsys_text.terminal import WorkProgress

#: What decides a text model, a bundle and the baselines, below recsys_text; beside it, what lays out the logs.
TEXT = ("fitting", "model", "text", *(f"ranking/{name}.py" for name in ("candidates", "log", "logged", "timeline")))
BUNDLE = ("fitting", "bundle.py", "evaluation/parts.py", "model", "text", "ranking")
MEASURE = ("bundle.py", "following.py", "evaluation", "model", "text", "ranking")
OURS = ("logs.py",)
_SECTIONS = {"model", "training", "blend", "candidates", "evaluation"}
_BENCHMARKS = Path(__file__).parents[1]


@dataclass(frozen=True, kw_only=True)
class Run:
    """What was asked for: where the data and results are, which seeds, and what a protocol lets one choose."""

    data: Path
    cache: cache.Cache
    seeds: tuple[int, ...]
    cases: Path
    cutoff: datetime | None
    modulus: int
    residue: int


@dataclass(kw_only=True)
class Timed:
    """Shows progress as its inner one does, and keeps the seconds of each stage and the speed of each epoch."""

    inner: WorkProgress
    stages: dict[str, float] = field(default_factory=dict)
    speeds: list[float] = field(default_factory=list)
    _now: str = "before"
    _since: float = field(default_factory=perf_counter)

    def stage(self, name: str) -> None:
        self.end(name.partition(":")[0])
        self.inner.stage(name)

    def end(self, following: str = "after") -> None:
        """Closes the present stage."""
        now = perf_counter()
        self.stages[self._now] = self.stages.get(self._now, 0.0) + now - self._since
        self._now, self._since = following, now

    def advance(self, done: int, total: int) -> None:
        self.inner.advance(done, total)

    def on_step(self, stage: str, loss: float, samples_per_second: float, step: int, steps: int) -> None:
        self.inner.on_step(stage, loss, samples_per_second, step, steps)

    def on_epoch(self, result: EpochResult) -> None:
        self.speeds.append(result.samples_per_second)
        self.inner.on_epoch(result)

    def figures(self) -> dict[str, Any]:
        self.end()
        return {"stages": self.stages, "samples_per_second": float(np.mean(self.speeds)) if self.speeds else None}


def settings_of(name: str) -> Settings:
    """benchmarks/NAME.toml, and what environment variables override of it."""
    return config.load(_BENCHMARKS / f"{name}.toml")


def seeded(settings: Settings, seed: int, model: Mapping[str, Any] | None = None) -> Settings:
    """The settings with another seed and shape of the text model; what they leave open stays open."""
    training = settings.training.model_copy(update={"seed": seed})
    shape = Model.model_validate(settings.model.model_dump(exclude_unset=True) | dict(model or {}))
    return settings.model_copy(update={"training": training, "model": shape})


def decided(settings: Settings, data: Data, starts: Sequence[datetime]) -> Settings:
    """The settings with all that they leave open decided from the daily windows that begin at these times."""
    return decide(data.log, data.texts, [(start, start + DAY) for start in starts], settings).settings


def bundle(
    run: Run, name: str, files: Mapping[str, str], data: Callable[[], Data], cutoff: datetime, settings: Settings
) -> Path:
    """The step that holds a bundle, in the folder `bundle`, of all that `data` knows before the cutoff."""
    depends = _depends(files, settings, cutoff) | {"code": cache.code(BUNDLE, OURS)}

    def fit(folder: Path, checkpoint: Checkpoint, timed: Timed) -> None:
        before = data().before(cutoff)
        starts = before.starts(cutoff)[-settings.training.history :]
        chosen = decided(settings, before, starts)
        found, _ = fit_bundle(
            before.log, before.texts, starts, cutoff=cutoff, settings=chosen, checkpoint=checkpoint, progress=timed
        )
        found.save(folder / "bundle")

    return _fitted(run, f"{name}-bundle", depends, fit)


def text_model(
    run: Run,
    name: str,
    files: Mapping[str, str],
    data: Callable[[], Data],
    end: datetime,
    settings: Settings,
    like: Path | None = None,
    **more: Any,
) -> Path:
    """The step that holds a text model, in the folder `text`, of all of `data`; the last window before `end` stops it.

    like: such a step of the same data, with another network: its wide path is taken. more: what else data depend on.
    """
    depends = _depends(files, settings, end) | {"code": cache.code(TEXT, OURS), "like": like and like.name} | more

    def fit(folder: Path, checkpoint: Checkpoint, timed: Timed) -> None:
        known, starts = data(), data().starts(end)
        chosen = decided(settings, known, starts)
        plan = size_text(known.log, known.texts, starts, end, chosen).plan
        found, _, _ = fit_text(
            known.log,
            known.texts,
            starts,
            end=end,
            settings=plan.applied(chosen),
            checkpoint=checkpoint,
            progress=timed,
            wide=None if like is None else Wide.load(like / "text"),
        )
        (folder / "text").mkdir()
        found.save(folder / "text")

    return _fitted(run, f"{name}-text", depends, fit)


def _fitted(run: Run, step: str, depends: Mapping[str, Any], fit: Callable[[Path, Checkpoint, Timed], None]) -> Path:
    """The step whose folder `fit` fills, with a checkpoint that a later run goes on from; its figures are `Timed`'s."""

    def work(folder: Path) -> Mapping[str, Any]:
        checkpoint = Checkpoint(run.cache.root / "checkpoints" / cache.key(depends))
        with WorkProgress(Console()) as shown:
            timed = Timed(inner=shown)
            fit(folder, checkpoint, timed)
        checkpoint.clear()
        return timed.figures()

    return run.cache.step(step, depends, work)


def _depends(files: Mapping[str, str], settings: Settings, cutoff: datetime) -> dict[str, Any]:
    chosen = settings.model_dump(mode="json", include=_SECTIONS)
    return {"files": dict(files), "settings": chosen, "cutoff": cutoff.isoformat()}
