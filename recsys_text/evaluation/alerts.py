"""Whether an alert fires, from its figure window by window. Knows no table, no store and no notifier."""

from collections.abc import Sequence
from dataclasses import dataclass

from recsys_text.sections import Alert


@dataclass(frozen=True, kw_only=True)
class State:
    """An alert after the last of some windows: whether it fires, `since` which window it does or doesn't (None: it
    never fired), and whether that last window changed it.
    """

    fires: bool
    since: str | None
    changed: bool


def state(rule: Alert, windows: Sequence[str], values: Sequence[float | None]) -> State:
    """The state after these windows, oldest first, each with its figure or None.

    Hysteresis: `rule.windows` bad ones one after the other begin it, as many good ones end it. In between, and
    where the figure is missing, it stays as it is. It starts quiet.
    """
    fires, since, changed, run = False, None, False, 0
    for window, value in zip(windows, values, strict=True):
        changed = False
        if value is None:
            continue
        run = run + 1 if (rule.good(value) if fires else rule.bad(value)) else 0
        if run == rule.windows:
            fires, since, changed, run = not fires, window, True, 0
    return State(fires=fires, since=since, changed=changed)
