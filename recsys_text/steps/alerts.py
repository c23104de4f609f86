"""Alerts: the rules of the config against the table `quality`, and which of them were told. Knows no notifier."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import polars as pl

from recsys_text.config import Settings
from recsys_text.evaluation.alerts import state
from recsys_text.lake.windows import parse_window
from recsys_text.sections import Alert
from recsys_text.steps.drift import NULLS, REJECTS
from recsys_text.steps.inputs import the_lake, write_whole
from recsys_text.tables import TABLES

#: Figures of the challenger's scores: no rule without a slice is about them.
_SHADOW = "shadow"


def alerts(settings: Settings, window: str | None = None) -> list[dict[str, Any]]:
    """The state of each rule and slice after `window`, the newest by default, from the whole table `quality`.

    Each is {"alert", "metric", "slice", "fires", "changed", "since", "value", "line"}: `changed` where that window
    began or ended it, `line` says it for people. It follows from the table alone: measuring a window again changes it.
    """
    lake = the_lake(settings)
    keys = [key for key in lake.keys("quality") if window is None or key <= window]
    table = lake.read("quality", keys)
    return [found for name, rule in sorted(settings.alerts.items()) for found in _judge(name, rule, table, keys)]


def tell_once(settings: Settings, tell: Callable[[str], bool]) -> None:
    """Tells the line of each alert that fires after the newest measured window, once for as long as it fires.

    tell: whether anybody heard the line; if nobody did, the next call tells it again. What was heard is kept in
    `metrics/PROJECT.told.json` under the project's root, as the newest window when it was, so that it does not matter
    in which order windows are measured, how often, and whether that moves the begin of what fires. Raises
    UnavailableError where the file cannot be written.
    """
    path = settings.project.root / "metrics" / f"{settings.project.name}.told.json"
    told: dict[str, dict[str, str]] = json.loads(path.read_bytes()) if path.exists() else {}
    for found in (found for found in alerts(settings) if found["fires"]):
        of_rule = told.setdefault(found["alert"], {})
        if of_rule.get(found["slice"], "") >= found["since"] or tell(found["line"]):
            of_rule[found["slice"]] = the_lake(settings).keys("quality")[-1]
            write_whole(path, lambda partial: partial.write_text(json.dumps(told, indent=1, sort_keys=True)))


def asks_for_training(settings: Settings, cutoff: datetime, next_cutoff: datetime) -> str | None:
    """Why a fired alert with `train` asks for a training, or None.

    cutoff: of the newest model; next_cutoff: of one trained now. It asks once, for a model that learns from the window
    that made the alert fire: not before that window is old enough to learn from, and not where a model has.
    """
    for found in alerts(settings):
        if found["fires"] and settings.alerts[found["alert"]].train:
            begun = parse_window(found["since"], settings.windows.span)
            if cutoff < begun.end <= next_cutoff:
                return str(found["line"])
    return None


def _judge(name: str, rule: Alert, table: pl.DataFrame, keys: list[str]) -> list[dict[str, Any]]:
    found = _values(table.filter(pl.col("metric") == rule.metric))
    judged = []
    for part in [rule.slice] if rule.slice else _parts(rule, found):
        values = found.get(part, {})
        if rule.metric == REJECTS and part not in TABLES:
            # A rule of the contract that nothing broke has no figure, where its table has.
            values = dict.fromkeys(found.get(part.partition(":")[0], {}), 0.0) | values
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


def _parts(rule: Alert, found: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The slices that a rule is about that names none: of nulls, those of the columns that were ever filled."""
    empty = {part for part, values in found.items() if rule.metric == NULLS and min(values.values()) == 1}
    return sorted(found.keys() - empty - {_SHADOW})


def _values(figures: pl.DataFrame) -> dict[str, dict[str, float]]:
    """The value in each window, by slice."""
    found: dict[str, dict[str, float]] = {}
    for part, window, value in figures.select("slice", "window", "value").iter_rows():
        found.setdefault(part, {})[window] = value
    return found
