"""Calibration that goes with the clicks since a bundle's cutoff."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.following import EVERY, followed
from recsys_text.ranking.candidates import pools
from recsys_text.ranking.log import micros
from recsys_text.sections import Evaluation
from recsys_text.steps.inputs import Inputs, bundle_path, inputs, the_store
from tests.pipeline.conftest import run_cli

HOUR = timedelta(hours=1)


def later(bundle: Bundle, data: Inputs, *hours: float, at: str = "click") -> tuple[tuple[int, float, float], ...]:
    """What holds from when on, for scores so many hours after the cutoff."""
    time_N = np.array([micros(bundle.cutoff + HOUR * hour) for hour in hours], np.int64)
    items = bundle.text.items(data.texts, data.log.item_ids)
    evaluation = Evaluation.model_validate({"at": at})
    return followed(bundle, data.log, items, time_N, windows=data.spans, evaluation=evaluation).calibrator.later


def test_each_three_hours_since_the_cutoff_are_looked_at(trained: tuple[Bundle, Inputs]) -> None:
    found = later(*trained, 23.9)
    steps = [(time - micros(trained[0].cutoff)) / (EVERY / timedelta(microseconds=1)) for time, _, _ in found]
    assert set(steps) <= {1, 2, 3, 4, 5, 6, 7}
    assert len(steps) >= 5, "only hours without a click have nothing to follow"
    assert len({(level, slope) for _, level, slope in found}) == len(found)


def test_without_a_click_since_the_cutoff_all_stays(trained: tuple[Bundle, Inputs]) -> None:
    assert later(*trained, 2.9) == later(*trained, -30) == later(*trained) == ()


def test_what_else_is_scored_is_no_matter(trained: tuple[Bundle, Inputs]) -> None:
    some, more = later(*trained, 12), later(*trained, 5, 23.9)
    assert some == more[: len(some)]


def test_clicks_of_more_than_a_day_before_are_not_looked_at(trained: tuple[Bundle, Inputs]) -> None:
    begin = micros(trained[0].cutoff)
    times = [(time - begin) / (HOUR / timedelta(microseconds=1)) for time, _, _ in later(*trained, 36)]
    assert times
    assert all(12 < hours <= 36 for hours in times)


def test_windows_are_followed_when_they_have_ended(trained: tuple[Bundle, Inputs]) -> None:
    assert later(*trained, 23.9, at="window") == ()
    ended = later(*trained, 24, at="window")
    assert [time for time, _, _ in ended] == [micros(trained[0].cutoff + 24 * HOUR)]


def test_what_is_published_is_what_rank_says(published: Settings, tmp_path: Path) -> None:
    config = str(published.project.root.parent / "recsys.toml")
    assert run_cli("extract", "-c", config, "--window", "2024-05-06") == 0
    assert run_cli("publish", "-c", config) == 0
    data, bundle = inputs(published), Bundle.load(bundle_path(published, "champion")[1])
    as_of = data.windows[-1].end
    assert later(bundle, data, (as_of - bundle.cutoff) / HOUR), "the bundle is older than the newest clicks"
    user = data.log.user_codes(pl.Series(["u001"]))
    _, pool = pools(data.log, np.array([micros(as_of)]), user, bundle.candidates)
    shown = {
        "impression_id": ["a"],
        "user_id": ["u001"],
        "shown_at": [as_of],
        "candidates": [[data.log.item_ids[item] for item in pool]],
    }
    pl.DataFrame(shown).write_parquet(tmp_path / "shown.parquet")
    assert (
        run_cli("rank", str(tmp_path / "shown.parquet"), "--out", str(tmp_path / "scores.parquet"), "-c", config) == 0
    )
    said = dict(pl.read_parquet(tmp_path / "scores.parquet").select("item_id", "score").iter_rows())
    with the_store(published) as store:
        row = store.reader("user_scores").get("u001")
    assert row is not None
    assert row["score"] == pytest.approx([said[item] for item in row["item_id"]], rel=1e-5)
