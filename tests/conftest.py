"""A small project whose clicks follow its texts, for the tests that need a whole pipeline, and where Redis is."""

import os
import shutil
from collections.abc import Iterator

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import prometheus_client  # noqa: F401 - before Feast, which makes all that is counted later that of several processes
import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# How long an example takes is the machine's, not the code's.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

REDIS_URI_FILE = Path(__file__).parents[1] / "var/services/redis.uri"
START = datetime(2024, 5, 1, tzinfo=UTC)
DAYS = 6
TOPICS = ("sailing boat harbour", "garden rose compost", "violin opera concert", "rocket moon orbit")

CONFIG = """
[project]
name = "small"
[sources.items]
kind = "file"
path = "items.parquet"
[sources.events]
kind = "file"
path = "events.parquet"
[candidates]
pool = "all"
[model]
vocabulary = 400
max_tokens = 8
embedding = 8
channels = 4
hidden = 4
dim = 8
history = 5
[training]
epochs = 1
pretrain_epochs = 1
negatives = 4
blend_candidates = 10
[blend]
kind = "both"
[evaluation]
resamples = 50
[publish]
top_k = 10
buckets = 1
"""


def write_small_project(folder: Path, *, users: int = 40, items: int = 48, seed: int = 3) -> Path:
    """Writes sources and config; returns the config. Each user clicks items of one topic, and some of any."""
    random = np.random.default_rng(seed)
    topic = np.arange(items) % len(TOPICS)
    words = [random.permutation(TOPICS[kind].split()) for kind in topic]
    pl.DataFrame(
        {
            "item_id": [f"i{number:03d}" for number in range(items)],
            "title": [f"{' '.join(order)} {number}" for number, order in enumerate(words)],
            "tags": [[order[0]] for order in words],
            "published_at": [START - timedelta(days=1)] * items,
        },
        schema_overrides={"published_at": pl.Datetime("us", "UTC")},
    ).write_parquet(folder / "items.parquet")
    rows = []
    for user in range(users):
        own = np.flatnonzero(topic == user % len(TOPICS))
        clicks = np.concatenate([random.permutation(own)[:8], random.integers(0, items, 3)])
        times = np.sort(random.uniform(0, DAYS * 86_400, len(clicks)))
        rows += [
            (f"u{user:03d}", f"i{item:03d}", "click", START + timedelta(seconds=float(second)))
            for item, second in zip(clicks, times, strict=True)
        ]
    schema = {
        "user_id": pl.String,
        "item_id": pl.String,
        "event_type": pl.String,
        "occurred_at": pl.Datetime("us", "UTC"),
    }
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / "events.parquet")
    config = folder / "recsys.toml"
    config.write_text(CONFIG)
    return config


@pytest.fixture
def small_config(tmp_path: Path) -> Path:
    """The config of a small project of its own, nothing extracted yet."""
    return write_small_project(tmp_path)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """A real Chromium without a window."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - few tests look at pages

    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here; `python scripts/browser.py` brings it")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The Redis that `make services` starts; what tests write there is under keys of their own."""
    url = os.environ.get("RECSYS_TEXT_REDIS_URI") or (REDIS_URI_FILE.read_text() if REDIS_URI_FILE.exists() else None)
    if url is None:
        pytest.skip("no Redis runs; `make services` starts one")
    return url
