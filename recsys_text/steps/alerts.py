"""Alerts: the rules of the config against the table `quality`. Knows no notifier."""

from datetime import datetime
from typing import Any

import polars as pl

from recsys_text.config import Settings
from recsys_text.evaluation.alerts import state
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import parse_window
from recsys_text.sections import Alert

#: Figures of the challenger's scores: no rule without a slice is about them.
_SHADOW = "shadow"


def alerts(settings: Settings, window: str | None = None) -> list[dict[str, Any]]:
    """The state of each rule and slice after `window`, the newest by default, from the whole table `quality`.

    Each is {"alert", "metric", "slice", "fires", "changed", "since", "value", "line"}: `changed` where that window
    began or ended it, `line` says it for people. Nothing is kept but the table: measuring a window again changes what
    follows from it.
    """
    lake = Lake(settings.lake)
    keys = [key for key in lake.keys("quality") if window is None or key <= window]
    table = lake.read("quality", keys)
    return [found for name, rule in sorted(settings.alerts.items()) for found in _judge(name, rule, table, keys)]


def asks_for_training(settings: Settings, cutoff: datetime) -> str | None:
    """Why a fired alert with `train` asks for a training, or None.

    It asks once: a model whose cutoff is at or after the window that made the alert fire is the answer to it.
    """
    for found in alerts(settings):
        if found["fires"] and settings.alerts[found["alert"]].train:
            begun = parse_window(found["since"], settings.windows.span)
            if begun.end > cutoff:
                return str(found["line"])
    return None


def _judge(name: str, rule: Alert, table: pl.DataFrame, keys: list[str]) -> list[dict[str, Any]]:
    mine = table.filter(pl.col("metric") == rule.metric)
    parts = [rule.slice] if rule.slice else sorted(set(mine["slice"]) - {_SHADOW})
    judged = []
    for part in parts:
        values = dict(mine.filter(pl.col("slice") == part).select("window", "value").iter_rows())
        now = state(rule, keys, [values.get(key) for key in keys])
        value = values.get(keys[-1]) if keys else None
        shown = "unknown" if value is None else f"{value:.4g}"
        word = f"fires since {now.since}" if now.fires else f"is quiet since {now.since}" if now.since else "is quiet"
        line = f"{name} {word}: {rule.metric} of {part} is {shown}, {rule.side} {rule.bound:g} is bad"
        judged.append(
            {
                "alert": name,
                "metric": rule.metric,
                "slice": part,
                "fires": now.fires,
                "changed": now.changed,
                "since": now.since,
                "value": value,
                "line": line,
            }
        )
    return judged
