"""A small project with something to see of everything: data, models, versions, quality."""

from pathlib import Path

import mlflow
import polars as pl
import pyarrow as pa

import feature_store
from recsys_text.config import Settings, load
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import DAY, window_of, windows_between
from recsys_text.steps.extract import extract
from recsys_text.tracking import CHALLENGER, CHAMPION, Tracker
from tests.conftest import START, write_small_project

VERSIONS = ("20240504T000000Z-m1-0123456789ab", "20240505T000000Z-m1-0123456789ab", "20240506T000000Z-m2-0123456789ab")
REFUSED = "20240507T000000Z-m2-0123456789ab"
HOSTILE = "</td><script>alert(1)</script>{{ 7 * 7 }}"


def make_shop(folder: Path) -> Path:
    """Writes a project and all that its steps would have left; returns its config."""
    config = write_small_project(folder)
    _break_some_events(folder / "events.parquet")
    settings = load(config)
    extract(settings, windows_between(START, START + 6 * DAY, DAY))
    _publish(settings.store_url)
    _measure(settings)
    _register(settings)
    return config


def _break_some_events(path: Path) -> None:
    """Two events of the last window have no user, fewer than a window may reject."""
    frame = pl.read_parquet(path).sort("occurred_at")
    at = pl.int_range(pl.len())
    nobody = pl.when(at >= pl.len() - 2).then(pl.lit("")).otherwise("user_id").alias("user_id")
    frame.with_columns(nobody).write_parquet(path)


def _publish(url: str) -> None:
    store = feature_store.open_store(url)
    batch = pa.record_batch({"user_id": ["ann", "bob"], "item_id": pa.array([["i1"], ["i2"]])})
    for day, name in enumerate((*VERSIONS, REFUSED)):
        with store.begin("user_scores", name).writer("part") as writer:
            writer.write(batch)
        told = {"as_of": (START + (3 + day) * DAY).isoformat(), "model_version": name[18]}
        checks = feature_store.Checks(min_ratio=9.0) if name == REFUSED else None
        try:
            store.commit("user_scores", name, expect_parts=["part"], metadata=told, checks=checks)
        except feature_store.RefusedVersion:
            assert name == REFUSED


def _measure(settings: Settings) -> None:
    for day in range(6):
        window = window_of(START + day * DAY, DAY)
        figures = {
            "ndcg@10": (0.1 + day / 100, 0.05, 0.2),
            "hit_rate@10": (0.3, 0.2, 0.4),
            "coverage": (0.9, None, None),
        }
        rows = [
            {"window": window.key, "version": VERSIONS[0], "metric": metric, "slice": part}
            | dict(zip(("value", "low", "high"), values, strict=True))
            for metric, values in figures.items()
            for part in ("all", "new users")
        ]
        frame = pl.DataFrame(rows, schema_overrides={"low": pl.Float64, "high": pl.Float64})
        Lake(settings.lake).write("quality", window, [frame], source="test", max_rejected=0.0, min_rows=0)


def _register(settings: Settings) -> None:
    registry = Tracker(settings.tracking_uri, settings.project.name, settings.project.root)
    client = mlflow.MlflowClient(settings.tracking_uri)
    client.create_registered_model(settings.project.name)
    for alias, gain in ((CHAMPION, 0.0123), (CHALLENGER, -0.0042)):
        made = client.create_model_version(settings.project.name, source=str(settings.project.root))
        registry.set_alias(alias, str(made.version))
        registry.tag(
            str(made.version),
            {
                "cutoff": (START + 4 * DAY).isoformat(),
                "gate.reason": HOSTILE if alias == CHALLENGER else "it beats the champion",
                "gate.gain": gain,
                "gate.low": gain - 0.003,
                "gate.high": gain + 0.003,
            },
        )
