"""How much the blend learns from, and what need not be fitted again."""

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.config import Settings, load
from recsys_text.errors import ContractError
from recsys_text.fitting import fit_text, ranker
from recsys_text.fitting import text as text_module
from recsys_text.fitting.ranker import blend_windows
from recsys_text.fitting.teachable import check_teachable
from recsys_text.model.text_model import TextModel
from recsys_text.model.wide import Wide
from recsys_text.ranking.candidates import pool_sizes
from recsys_text.ranking.log import Log, micros
from recsys_text.sections import Candidates
from recsys_text.steps.inputs import inputs
from tests.conftest import DAYS, START, write_small_project
from tests.pipeline.conftest import Quiet, run_cli

BOUNDS = [START + timedelta(days=day) for day in range(DAYS + 1)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    config = write_small_project(tmp_path_factory.mktemp("fitting"))
    assert run_cli("extract", "-c", str(config), "--from", f"{START:%Y-%m-%d}", "--to", f"{BOUNDS[-1]:%Y-%m-%d}") == 0
    return load(config)


@pytest.fixture(scope="module")
def log(project: Settings) -> Log:
    return inputs(project).log


def at_windows(project: Settings, room: int) -> Settings:
    training = project.training.model_copy(update={"blend_clicks": room, "blend_windows": 2})
    evaluation = project.evaluation.model_copy(update={"at": "window"})
    sections = {"training": training, "evaluation": evaluation, "candidates": Candidates(pool="all")}
    return project.model_copy(update=sections)


def test_whole_windows_are_taken_from_the_newest_on_until_there_are_enough(project: Settings, log: Log) -> None:
    newest = log.time >= micros(BOUNDS[-2])
    active = len(np.unique(log.user[newest & log.positive]))
    assert blend_windows(log, BOUNDS, at_windows(project, active // 2)) == 1
    assert blend_windows(log, BOUNDS, at_windows(project, active // 2 + 1)) == 2


def test_so_are_windows_of_clicks_a_fifth_of_which_calibrates(project: Settings, log: Log) -> None:
    clicks = int(np.sum((log.time >= micros(BOUNDS[-2])) & log.positive))
    for room, expected in ((clicks * 4 // 5, 1), (clicks * 4 // 5 + 1, 2)):
        chosen = at_windows(project, room).model_copy(update={"evaluation": project.evaluation})
        assert blend_windows(log, BOUNDS, chosen) == expected


def test_several_windows_teach_where_items_age_or_windows_hold_little(
    project: Settings, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = at_windows(project, 1)
    assert blend_windows(log, BOUNDS, few) == 1
    assert blend_windows(log, BOUNDS, few.model_copy(update={"candidates": Candidates(pool="alive")})) == 2
    monkeypatch.setattr(ranker, "_CLICKS_SHARE", 0.9)
    assert blend_windows(log, BOUNDS, few) == 2


def test_fewer_impressions_where_pools_are_large(project: Settings, log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    assert pool_sizes(log, np.array([micros(START)]), project.candidates).tolist() == [48]
    monkeypatch.setattr(ranker, "_FEWEST", 2)
    monkeypatch.setattr(ranker, "_PAIRS", 48 * 5)
    for at in ("click", "window"):
        evaluation = project.evaluation.model_copy(update={"at": at})
        chosen = project.model_copy(update={"evaluation": evaluation})
        room = ranker.room(log, BOUNDS[-3:], chosen)
        assert room == 5
        assert len(ranker.newest_impressions(log, BOUNDS[-3:], chosen, 2 * room)) == 10


def test_a_wide_path_that_was_fitted_before_is_not_fitted_again(
    project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = inputs(project)

    def trained(wide: Wide | None = None) -> TextModel:
        return fit_text(
            known.log, known.texts, BOUNDS[:4], end=BOUNDS[4], settings=project, progress=Quiet(), wide=wide
        )[0]

    first = trained()
    monkeypatch.setattr(text_module, "fit_wide", None)
    again = trained(first.wide)
    np.testing.assert_array_equal(
        again.items(known.texts, known.log.item_ids).candidate, first.items(known.texts, known.log.item_ids).candidate
    )


@given(st.lists(st.integers(0, 300), min_size=2, max_size=12))
def test_as_few_of_the_newest_windows_stop_it_as_hold_clicks_enough(sizes: list[int]) -> None:
    starts = [START + timedelta(days=day) for day in range(len(sizes))]
    times = np.repeat([micros(start) for start in starts], sizes)
    log = cast(Log, SimpleNamespace(time=times, positive=np.ones(len(times), np.bool_)))
    kept = text_module.merged_to_stop(log, starts, starts[-1] + timedelta(days=1))
    assert list(kept) == starts[: len(kept)]
    assert len(kept) >= 2
    enough = min(500, 0.2 * sum(sizes))
    assert sum(sizes[len(kept) - 1 :]) >= enough or len(kept) == 2
    assert len(kept) == len(starts) or sum(sizes[len(kept) :]) < enough


class Captured(Exception):
    pass


def test_the_blend_learns_the_same_rows_however_many_parts_they_come_in(
    project: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = inputs(project)
    text, items, _ = fit_text(known.log, known.texts, BOUNDS[:4], end=BOUNDS[3], settings=project, progress=Quiet())
    seen: list[tuple[np.ndarray, np.ndarray]] = []

    def capture(features: np.ndarray, clicked: np.ndarray, *_: object, **__: object) -> None:
        seen.append((features, clicked))
        raise Captured

    monkeypatch.setattr(ranker, "fit_blend", capture)
    for pairs in (10**6, 100):
        monkeypatch.setattr("recsys_text.bundle.CHUNK", pairs)
        with pytest.raises(Captured):
            ranker.fit_ranker(text, known.log, items, BOUNDS[3:], project)
    (whole, clicked), (parts, again) = seen
    assert len(whole) > 300
    # The last bits of a product depend on how many stand beside it, and rounding may turn one into a ten-thousandth.
    np.testing.assert_allclose(parts, whole, rtol=0, atol=2e-4)
    np.testing.assert_array_equal(again, clicked)


def test_a_single_user_cannot_teach_and_calibrate(project: Settings) -> None:
    known = inputs(project)
    log = known.log
    text, _, _ = fit_text(log, known.texts, BOUNDS[:4], end=BOUNDS[3], settings=project, progress=Quiet())
    alone = replace(log, positive=log.positive & ((log.user == log.user[-1]) | (log.time < micros(BOUNDS[3]))))
    with pytest.raises(ContractError, match="have clicks of 1 users: too few"):
        ranker.fit_ranker(text, alone, text.items(known.texts, log.item_ids), BOUNDS[3:], project)


@pytest.mark.parametrize(
    ("length", "advice"),
    [
        ("7d", "or set windows.length = '1d', or give"),
        ("1d", "or set windows.length = '1h', or give"),
        ("1h", "or give"),
    ],
)
def test_too_few_windows_may_be_cut_into_the_next_shorter_ones(
    project: Settings, log: Log, length: str, advice: str
) -> None:
    windows = project.windows.model_copy(update={"length": length})
    settings = project.model_copy(update={"windows": windows})
    with pytest.raises(ContractError, match=f"extract older windows, {advice} a later --cutoff"):
        check_teachable(log, BOUNDS[:2], BOUNDS[-1], [], settings)
