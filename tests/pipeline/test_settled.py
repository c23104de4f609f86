"""Impressions without labels: how long their clicks may take reaches training and its checkpoints."""

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError
from recsys_text.steps.inputs import inputs
from recsys_text.steps.train import _fingerprint
from tests.conftest import START
from tests.pipeline.conftest import run_cli

SOURCE = '[sources.impressions]\nkind = "file"\npath = "shown.parquet"\nclicks_within = "{within}"\n'


def with_impressions(config: Path, within: str) -> Path:
    shown = pl.DataFrame(
        {
            "impression_id": ["a", "b"],
            "user_id": ["u001", "u002"],
            "shown_at": [START + timedelta(hours=1)] * 2,
            "candidates": [["i001", "i002"]] * 2,
        }
    )
    shown.write_parquet(config.parent / "shown.parquet")
    config.write_text(config.read_text() + SOURCE.format(within=within))
    return config


def with_clicks_within(settings: Settings, within: timedelta) -> Settings:
    source = settings.sources.impressions
    assert source is not None
    sources = settings.sources.model_copy(update={"impressions": source.model_copy(update={"clicks_within": within})})
    return settings.model_copy(update={"sources": sources})


def test_how_long_a_click_may_take_is_known_to_the_log_and_to_checkpoints(small_config: Path) -> None:
    config = with_impressions(small_config, "2h")
    assert run_cli("extract", "-c", str(config), "--window", "2024-05-01") == 0
    two = load(config)
    three = with_clicks_within(two, timedelta(hours=3))
    data, other = inputs(two), inputs(three)
    assert len(data.log.logged) == 2
    assert (data.log.settle, other.log.settle) == (2 * 3_600_000_000, 3 * 3_600_000_000)
    assert data.digests == other.digests
    assert _fingerprint({}, data) != _fingerprint({}, other), "a training goes on from one on the same impressions only"
    assert _fingerprint({}, data) == _fingerprint({}, inputs(two))


@pytest.mark.parametrize(
    ("within", "length", "told"),
    [("1d", "1d", "1 day, 0:00:00"), ("25h", "1d", "1 day, 1:00:00"), ("1h", "1h", "1:00:00")],
)
def test_clicks_must_be_known_within_a_window(small_config: Path, within: str, length: str, told: str) -> None:
    config = with_impressions(small_config, within)
    config.write_text(f'{config.read_text()}[windows]\nlength = "{length}"\n')
    with pytest.raises(ConfigError) as caught:
        load(config)
    said = str(caught.value)
    assert f"{small_config}: sources.impressions.clicks_within = {told} is not shorter" in said
    assert f"windows.length = {length}" in said
    assert "shorten clicks_within or lengthen the windows" in said
