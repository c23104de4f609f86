"""The progress of training and tuning. Knows no step."""

from math import isnan
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from recsys_text.model.fit import EpochResult
    from recsys_text.steps.trial import Outcome


class TrainingProgress:
    """A live bar on a terminal, a plain line per epoch elsewhere."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=out,
            transient=True,
            disable=not out.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def stage(self, name: str) -> None:
        """A new part of the work begins."""
        self._out.print(name)

    def on_step(self, stage: str, loss: float, samples_per_second: float, step: int, steps: int) -> None:
        """Moves the bar of `stage`, which is 'pretrain' (texts) or 'train' (clicks)."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=steps, figures="")
        figures = f"loss {loss:.4f}, {samples_per_second:,.0f} samples/s"
        self._bar.update(self._tasks[stage], completed=step, figures=figures)

    def on_epoch(self, result: "EpochResult") -> None:
        mark = " (best)" if result.best else ""
        valid = "" if isnan(result.valid_loss) else f"validation loss {result.valid_loss:.4f}, "
        speed = f"{result.samples_per_second:,.0f} samples/s"
        self._out.print(f"  epoch {result.epoch}: loss {result.loss:.4f}, {valid}{speed}{mark}")


class TuningProgress(TrainingProgress):
    """A live bar of the present trial on a terminal, and a line for each trial that ended."""

    def say(self, line: str) -> None:
        self._out.print(line, soft_wrap=True)

    def stage(self, name: str) -> None: ...

    def on_epoch(self, result: "EpochResult") -> None: ...

    def on_trial(self, outcome: "Outcome") -> None:
        for task in self._tasks.values():
            self._bar.remove_task(task)
        self._tasks.clear()
        figures = outcome.reason
        if outcome.state == "complete":
            figures = f"nDCG@10 {outcome.ndcg:.4f}, gain {outcome.gain:+.4f} [{outcome.low:+.4f}, {outcome.high:+.4f}]"
        self._out.print(f"trial {outcome.number}: {outcome.state} {figures}".rstrip(), soft_wrap=True, markup=False)
