"""Calibration that goes with the clicks since a bundle's cutoff."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import pytest

from recsys_text import following
from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.following import EVERY, followed
from recsys_text.ranking.candidates import pools
from recsys_text.ranking.log import Impressions, Log, build_log, micros
from recsys_text.ranking.logged import take
from recsys_text.steps.evaluate import measure
from recsys_text.steps.inputs import Inputs, bundle_path, inputs, the_store
from tests.pipeline.conftest import run_cli

HOUR = timedelta(hours=1)
Held = dict[float, list[float]]


def held(
    bundle: Bundle,
    data: Inputs,
    *hours: float,
    at: Literal["click", "window"] = "click",
    log: Log | None = None,
    windows: tuple[tuple[int, int], ...] = ((0, 24),),
) -> Held:
    """What holds after each look, for scores and windows so many hours after the cutoff."""
    log, spans = log or data.log, [(bundle.cutoff + start * HOUR, bundle.cutoff + end * HOUR) for start, end in windows]
    time_N = np.array([micros(bundle.cutoff + HOUR * hour) for hour in hours], np.int64)
    items = bundle.text.items(data.texts, log.item_ids)
    found = followed(replace(bundle, at=at), log, items, time_N, windows=spans, refresh=None, seed=7)
    later = found.calibrator.later
    return {(time - micros(bundle.cutoff)) / micros_of(HOUR): [level, slope] for time, level, slope in later}


def micros_of(span: timedelta) -> float:
    return span / timedelta(microseconds=1)


def usual(bundle: Bundle) -> list[float]:
    return [bundle.calibrator.level, bundle.calibrator.slope]


def test_clicks_are_looked_at_every_three_hours_since_the_cutoff(trained: tuple[Bundle, Inputs]) -> None:
    found = held(*trained, 3, 11.9, 23.9, 23.95)
    assert list(found) == [3, 9, 21]
    assert found[9] != found[21]
    assert usual(trained[0]) not in found.values()


def test_without_a_click_since_the_cutoff_and_within_a_day_all_stays(trained: tuple[Bundle, Inputs]) -> None:
    assert held(*trained, 2.9) == held(*trained, -30) == held(*trained) == {}
    assert held(*trained, 24 * 30) == {24 * 30: usual(trained[0])}


@pytest.mark.parametrize("at", ["click", "window"])
def test_what_else_is_scored_is_no_matter(
    trained: tuple[Bundle, Inputs], published_template: Path, at: Literal["click", "window"]
) -> None:
    bundle, data = trained
    events = pl.read_parquet(published_template / "events.parquet")
    quiet = (pl.col("occurred_at") >= bundle.cutoff + 11 * HOUR) & (pl.col("occurred_at") < bundle.cutoff + 20 * HOUR)
    log = build_log(data.items, events.filter(~quiet))
    hours = (3.5, 12, 18.2, 24, 33, 34, 46, 24 * 9)
    windows = (-24, 0), (0, 12), (24, 36), (36, 48)
    together = held(bundle, data, *hours, at=at, log=log, windows=windows)
    assert len({tuple(each) for each in together.values()}) >= 3
    for hour in hours:
        alone = held(bundle, data, hour, at=at, log=log, windows=windows)
        assert together | alone == together


def test_windows_are_followed_when_they_have_ended(trained: tuple[Bundle, Inputs]) -> None:
    assert held(*trained, 23.9, at="window") == {}
    found = held(*trained, 24, 30, at="window")
    assert list(found) == [24]
    assert usual(trained[0]) not in found.values()


def test_pools_do_not_stand_in_for_lists_once_lists_are_logged(trained: tuple[Bundle, Inputs]) -> None:
    bundle, data = trained
    hours = [6 * HOUR, 12 * HOUR, 18 * HOUR]
    lists = Impressions(
        user=np.zeros(2, np.int32),
        time=np.array([micros(bundle.cutoff + hours[0]), micros(bundle.cutoff + hours[2]) - 1]),
        offsets=np.array([0, 3, 6]),
        item=np.tile(np.arange(3, dtype=np.int32), 2),
        clicked=np.array([True, False, False] * 2),
    )

    def looked_at(log: Log, start: timedelta) -> list[int]:
        span = bundle.cutoff + start, bundle.cutoff + start + EVERY
        return np.diff(following._clicked(bundle, log, span, 7).offsets).tolist()

    whole = replace(data.log, logged=lists)
    assert looked_at(whole, hours[0]) == looked_at(whole, hours[2] - EVERY) == [3]
    assert looked_at(whole, hours[1] - EVERY) == []
    assert max(looked_at(whole, hours[0] - EVERY)) > 3, "pools, from before anything was logged"
    assert max(looked_at(replace(data.log, logged=take(lists, np.array([1]))), hours[1] - EVERY)) > 3


def test_few_impressions_are_looked_at_where_pools_are_large(
    trained: tuple[Bundle, Inputs], monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, data = trained
    span = bundle.cutoff, bundle.cutoff + 24 * HOUR
    assert len(following._clicked(bundle, data.log, span, 7)) > 20
    monkeypatch.setattr(following, "PAIRS", 20 * len(data.log.item_ids))
    assert len(following._clicked(bundle, data.log, span, 7)) == 20
    monkeypatch.setattr(following, "MOST", 8)
    assert len(following._clicked(bundle, data.log, (span[0], span[0] + 12 * HOUR), 7)) == 4
    shown = Impressions(
        user=np.zeros(1, np.int32),
        time=np.array([micros(bundle.cutoff + HOUR)]),
        offsets=np.array([0, 2]),
        item=np.arange(2, dtype=np.int32),
        clicked=np.array([True, False]),
    )
    monkeypatch.setattr(following, "PAIRS", 5 * len(data.log.item_ids))
    windows = following._clicked(replace(bundle, at="window"), replace(data.log, logged=shown), span, 7)
    assert len(windows) == 5, "users of a window are ranked among pools, also where lists are logged"


def test_evaluation_follows_and_keeps_the_order(published: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.load(bundle_path(published, "champion")[1])

    def value(table: pl.DataFrame, metric: str) -> float:
        found = table.filter(method="score, fresh", slice="all", metric=metric)["value"].item()
        assert isinstance(found, float)
        return found

    with_it = measure(published, bundle).table
    monkeypatch.setattr("recsys_text.steps.served.followed", lambda bundle, *_, **__: bundle)
    without = measure(published, bundle).table
    assert value(with_it, "ndcg@10") == value(without, "ndcg@10")
    assert value(with_it, "calibration_error") != value(without, "calibration_error")


def test_what_is_published_is_what_the_followed_bundle_says_for_a_day(published: Settings) -> None:
    config = str(published.project.root.parent / "recsys.toml")
    assert run_cli("extract", "-c", config, "--window", "2024-05-06") == 0
    assert run_cli("publish", "-c", config) == 0
    data, bundle = inputs(published), Bundle.load(bundle_path(published, "champion")[1])
    as_of = np.array([micros(data.windows[-1].end)])
    user = data.log.user_codes(pl.Series(["u001"]))
    offsets, pool = pools(data.log, as_of, user, bundle.candidates)
    impression = Impressions(
        user=user,
        time=as_of,
        offsets=offsets,
        item=pool,
        clicked=np.zeros(len(pool), np.bool_),
        horizon=round(micros_of(24 * HOUR)),
    )
    items = bundle.text.items(data.texts, data.log.item_ids)
    following_it = followed(bundle, data.log, items, as_of, windows=data.spans, refresh=None, seed=7)
    (_, now), (_, unfollowed) = (each.score(data.log, items, impression) for each in (following_it, bundle))
    said = dict(zip((data.log.item_ids[item] for item in pool), now.tolist(), strict=True))
    with the_store(published) as store:
        row = store.reader("user_scores").get("u001")
    assert row is not None
    assert row["score"] == pytest.approx([said[item] for item in row["item_id"]], rel=1e-5)
    assert unfollowed.tolist() != pytest.approx(now.tolist(), rel=1e-3)
