"""What is told while long work runs. Knows no screen, no log and no model, so that whatever runs may import it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """Means of one epoch. `loss` is the listwise cross-entropy in nats, without the distillation;
    `valid_ndcg` is nDCG@10 among a row's candidates; both `valid` figures are NaN without such rows.
    """

    epoch: int
    loss: float
    valid_loss: float
    valid_ndcg: float
    samples_per_second: float
    best: bool


class Progress(Protocol):
    """What a caller may show while `fit` runs; `stage` is 'pretrain' (texts) or 'train' (clicks)."""

    def on_step(self, stage: str, loss: float, samples_per_second: float, step: int, steps: int) -> None: ...

    def on_epoch(self, result: EpochResult) -> None: ...


class Stages(Progress, Protocol):
    """Shows the progress of a whole training, or of a publication."""

    def stage(self, name: str) -> None:
        """A new part of the work begins; what stands before a colon is its short name."""

    def advance(self, done: int, total: int) -> None:
        """So much of the present part is done."""


class Silent:
    """Shows nothing."""

    def stage(self, name: str) -> None: ...

    def advance(self, done: int, total: int) -> None: ...

    def on_step(self, stage: str, loss: float, samples_per_second: float, step: int, steps: int) -> None: ...

    def on_epoch(self, result: EpochResult) -> None: ...


SILENT = Silent()


def part_of(progress: Stages, before: int, total: int) -> Callable[[int], None]:
    """Shows how much is done of the present stage, of which `before` of `total` was done when this part of it began."""
    return lambda done: progress.advance(before + done, total)
