"""Export: the figures of a window to MLflow and to Prometheus. Knows how each names them, measures nothing."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from recsys_text.config import Settings
from recsys_text.lake.windows import Window
from recsys_text.steps.inputs import tracker, write_whole

Rows = Sequence[Mapping[str, Any]]


def to_mlflow(settings: Settings, run_id: str, window: Window, rows: Rows) -> None:
    """Logs figures to the run of a model as `served/METRIC/SLICE`; the step counts the windows since 1970.

    A window that is measured again has two figures at its step, of which MLflow shows the later one.
    """
    values = {_letters(f"served/{row['metric']}/{row['slice']}"): row["value"] for row in rows}
    step = int(window.start.timestamp() // settings.windows.span.total_seconds())
    tracker(settings).served(run_id, values, step=step)


def to_prometheus(settings: Settings, rows: Rows, alerts: Rows) -> None:
    """Writes `metrics/PROJECT.prom` under the project's root, for the textfile collector of Prometheus."""
    registry, project = CollectorRegistry(), settings.project.name
    quality = Gauge(
        "recsys_text_quality",
        "A figure of the newest measured window.",
        ("project", "metric", "slice", "window", "version"),
        registry=registry,
    )
    for row in rows:
        quality.labels(project, row["metric"], row["slice"], row["window"], row["version"]).set(row["value"])
    firing = Gauge(
        "recsys_text_alert", "Whether an alert fires.", ("project", "alert", "metric", "slice"), registry=registry
    )
    for found in alerts:
        firing.labels(project, found["alert"], found["metric"], found["slice"]).set(found["fires"])
    text = generate_latest(registry)
    write_whole(settings.project.root / "metrics" / f"{project}.prom", lambda path: path.write_bytes(text))


def _letters(name: str) -> str:
    """The name in the letters that MLflow allows."""
    return re.sub(r"[^\w\-. :/]", "", name.replace("@", "_at_").replace("%", "_percent"))
