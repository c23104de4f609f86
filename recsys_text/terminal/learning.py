"""What a warm start and a repeated training print. Knows no step."""

from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from recsys_text.steps.repeat import Repeated
    from recsys_text.steps.train import Trained


def continued(out: Console, result: "Trained") -> None:
    """Where a warm start began and what it forgot; nothing of a whole training."""
    if result.parent is None:
        return
    line = f"It went on from version {result.parent}, with {result.trainable:.1%} of the network's weights trained"
    if result.forgotten:
        change, low, high = (
            result.forgotten[f"old_windows/{name}"] for name in ("change", "change_low", "change_high")
        )
        line += f"; nDCG@10 on older windows changed by {change:+.4f} [{low:+.4f}, {high:+.4f}]"
    out.print(line, soft_wrap=True)


def repeated(out: Console, result: "Repeated") -> None:
    """Whether the bundle came out the same; where not, which files differ, the metrics of both, and what changed."""
    what = f"the bundle of version {result.version} (run {result.run_id})"
    if not result.differs:
        out.print(f"Repeated {what}: every byte is the same; nothing was registered", soft_wrap=True)
        return
    out.print(f"Repeated {what}: other bytes in {', '.join(result.differs)}; nothing was registered", soft_wrap=True)
    for name, (then, now) in result.metrics.items():
        out.print(f"  {name}: {then:.4f} then, {now:.4f} now", soft_wrap=True)
    for name, (before, after) in result.changed.items():
        out.print(f"  {name} was {before} and is {after}", soft_wrap=True)
