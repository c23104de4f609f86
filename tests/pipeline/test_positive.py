"""Which event types say that a user wanted an item is the project's to say, for whatever looks at events."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError
from recsys_text.lake.clicks import found_clicks
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import Window
from recsys_text.steps.drift import drift
from recsys_text.steps.inputs import inputs
from recsys_text.steps.repeat import repeat
from tests.conftest import START
from tests.pipeline.conftest import Quiet, run_cli


def wants_views(config: Path) -> Settings:
    """The project in which a view is what says yes, and all events are views."""
    events = config.parent / "events.parquet"
    pl.read_parquet(events).with_columns(event_type=pl.lit("view")).write_parquet(events)
    text = config.read_text()
    config.write_text(text.replace('path = "events.parquet"', 'path = "events.parquet"\npositive = ["view"]'))
    return load(config)


def test_types_that_a_project_names_are_learned_from_and_watched(small_config: Path) -> None:
    settings, path = wants_views(small_config), str(small_config)
    assert run_cli("extract", "-c", path, "--from", "2024-05-01", "--to", "2024-05-04") == 0
    assert run_cli("check", "-c", path) == 0
    assert inputs(settings).log.positive.all()
    window = Window(start=START, end=START + timedelta(days=1))
    slices = {
        name for _, name, _ in drift(Lake(settings.lake), window, ["2024-05-02"], settings.sources.events.positive)
    }
    assert "clicks_per_user" in slices


def test_impressions_are_labelled_by_the_types_that_a_project_names() -> None:
    time = pl.Datetime("us", "UTC")
    shown = pl.DataFrame(
        {"impression_id": ["x"], "user_id": ["u"], "shown_at": [START], "candidates": [["a", "b"]]},
        schema_overrides={"shown_at": time},
    )
    events = pl.DataFrame(
        {"user_id": ["u"], "item_id": ["a"], "event_type": ["view"], "occurred_at": [START + timedelta(minutes=1)]},
        schema_overrides={"occurred_at": time},
    )
    hour = timedelta(hours=1)
    assert found_clicks([shown], events, hour).is_empty()
    assert found_clicks([shown], events, hour, positive=("view",)).rows() == [("x", "a")]


def test_a_training_is_not_repeated_with_other_types(published: Settings) -> None:
    config = published.project.root.parent / "recsys.toml"
    config.write_text(
        config.read_text().replace('path = "events.parquet"', 'path = "events.parquet"\npositive = ["view"]')
    )
    with pytest.raises(ConfigError, match=r"sources\.events\.positive was"):
        repeat(load(config), "1", progress=Quiet())
