"""The progress of whatever may take long: extraction, training, tuning, publishing, measuring. Knows no step.

Whatever runs is told: live on a terminal, elsewhere in a plain line every ten seconds, also while a library computes
that tells nothing itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isnan
from threading import Event, Lock, Thread
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from recsys_text.progress import EpochResult
    from recsys_text.steps.trial import Outcome

#: Seconds from one plain line to the next.
EVERY_S = 10.0
#: How often the thread that writes them looks whether one is due.
_LOOK_S = 0.5
_PARTS = {"pretrain": "pretraining", "train": "epochs"}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of the work: `done` of `total`, 0 where nobody knows how much there is."""

    name: str
    begun: float
    done: int = 0
    total: int = 0
    figures: str = ""

    def line(self, now: float) -> str:
        """What it is, how far, and how long still."""
        spent = now - self.begun
        if not self.done or not self.total:
            return f"  {self.name}: still running, {_time(spent)} so far"
        if self.done >= self.total:
            return f"  {self.name}: all {self.total:,} done, the work goes on, {_time(spent)} so far"
        left = spent * (self.total - self.done) / self.done
        figures = f", {self.figures}" if self.figures else ""
        return f"  {self.name}: {self.done / self.total:.0%}{figures}, {_time(spent)} so far, {_time(left)} left"


class Pace:
    """The present stage, and when a line of it is due: `every` seconds after it began or was told."""

    def __init__(self, clock: Callable[[], float] = monotonic, every: float = EVERY_S) -> None:
        self._clock, self._every, self._lock = clock, every, Lock()
        self._told = clock()
        self.stage: Stage | None = None

    def begin(self, name: str) -> None:
        with self._lock:
            self._told = self._clock()
            self.stage = Stage(name=name, begun=self._told)

    def advance(self, done: int, total: int, figures: str = "") -> None:
        """So much of the present stage is done."""
        with self._lock:
            if self.stage is not None:
                name, begun = self.stage.name, self.stage.begun
                self.stage = Stage(name=name, begun=begun, done=done, total=total, figures=figures)

    def due(self) -> str | None:
        """The line of the present stage, or None where it is too soon for one."""
        with self._lock:
            now = self._clock()
            if self.stage is None or now - self._told < self._every:
                return None
            self._told = now
            return self.stage.line(now)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class WorkProgress:
    """A live bar on a terminal, plain lines elsewhere.

    `name` is what the work is called until its first stage, if it has any; it is told once it takes long.
    """

    def __init__(self, out: Console, name: str | None = None, *, pace: Pace | None = None) -> None:
        self._out, self._pace = out, pace or Pace()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=out,
            transient=True,
            disable=not out.is_terminal,
        )
        self._task = self._bar.add_task("", total=None, visible=False, figures="")
        self._ended = Event()
        self._beat = Thread(target=self._tell, daemon=True)
        if name is not None:
            self._begin(name)

    def __enter__(self) -> Self:
        self._bar.start()
        if not self._out.is_terminal:
            self._beat.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._beat.is_alive():
            self._beat.join()
        self._bar.stop()

    def stage(self, name: str) -> None:
        """A new part of the work begins."""
        self._out.print(name, soft_wrap=True)
        self._begin(name.partition(":")[0])

    def advance(self, done: int, total: int) -> None:
        """So much of the present stage is done."""
        self._advance(done, total, "")

    def on_step(self, stage: str, loss: float, samples_per_second: float, step: int, steps: int) -> None:
        """Moves on in a part of the text model's stage: 'pretrain' (texts) or 'train' (clicks)."""
        name = f"Text model, {_PARTS[stage]}"
        if self._pace.stage is None or self._pace.stage.name != name:
            self._begin(name)
        self._advance(step, steps, f"loss {loss:.4f}, {samples_per_second:,.0f} samples/s")

    def _begin(self, name: str) -> None:
        self._pace.begin(name)
        self._bar.reset(self._task, total=None, description=name, visible=True, figures="")

    def _advance(self, done: int, total: int, figures: str) -> None:
        self._pace.advance(done, total, figures)
        self._bar.update(self._task, completed=done, total=total, figures=figures)

    def _tell(self) -> None:
        """Writes the lines that are due until the work has ended."""
        while not self._ended.wait(_LOOK_S):
            if (line := self._pace.due()) is not None:
                self._out.print(line, soft_wrap=True, markup=False, highlight=False)

    def on_epoch(self, result: "EpochResult") -> None:
        mark = " (best)" if result.best else ""
        valid = "" if isnan(result.valid_loss) else f"validation loss {result.valid_loss:.4f}, "
        speed = f"{result.samples_per_second:,.0f} samples/s"
        self._out.print(f"  epoch {result.epoch}: loss {result.loss:.4f}, {valid}{speed}{mark}")


class TuningProgress(WorkProgress):
    """A live bar of the present trial on a terminal, and a line for each trial that ended."""

    def say(self, line: str) -> None:
        self._out.print(line, soft_wrap=True)

    def stage(self, name: str) -> None:
        self._begin(name.partition(":")[0])

    def on_epoch(self, result: "EpochResult") -> None: ...

    def on_trial(self, outcome: "Outcome") -> None:
        figures = outcome.reason
        if outcome.state == "complete":
            figures = f"nDCG@10 {outcome.ndcg:.4f}, gain {outcome.gain:+.4f} [{outcome.low:+.4f}, {outcome.high:+.4f}]"
        self._out.print(f"trial {outcome.number}: {outcome.state} {figures}".rstrip(), soft_wrap=True, markup=False)
