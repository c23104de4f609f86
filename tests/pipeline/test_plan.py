"""A training's sizes fit its budget, are kept with the version, and give the same weights again."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.bundle import Bundle
from recsys_text.config import Settings, load
from recsys_text.fitting import fit_bundle, fit_text, sizing
from recsys_text.fitting.sizing import _RankerSpeed, _RankerWork, _TextSpeed, _TextWork, size_text
from recsys_text.model.checkpoint import Checkpoint
from recsys_text.plan import AS_SET, Plan
from recsys_text.sections import Model, Training
from recsys_text.steps.inputs import Inputs, inputs, tracker
from tests.conftest import DAYS, START, write_small_project
from tests.pipeline.conftest import Quiet, run_cli
from tests.pipeline.test_bundle import digests

BOUNDS = [START + timedelta(days=day) for day in range(DAYS + 1)]
#: A machine on which two minutes are short even for the small project.
SLOW = _TextSpeed(products=1e6, rows=2.0, texts=1.0)
ANY = Settings.model_validate(
    {"project": {"name": "any"}, "sources": {name: {"kind": "file", "path": "x"} for name in ("items", "events")}}
)
SLOW_RANKER = _RankerSpeed(pairs=50.0, ranked=50.0, rows=50.0)


class Told(Quiet):
    """Keeps what is said."""

    def __init__(self, stop_at: str | None = None) -> None:
        self.lines: list[str] = []
        self._stop_at = stop_at

    def stage(self, name: str) -> None:
        self.lines.append(name)
        if self._stop_at is not None and name.startswith(self._stop_at):
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A small project that sets no size."""
    config = write_small_project(tmp_path_factory.mktemp("plan"))
    config.write_text(re.sub(r"\n(epochs|pretrain_epochs) = .*", "", config.read_text()))
    assert run_cli("extract", "-c", str(config), "--from", f"{START:%Y-%m-%d}", "--to", f"{BOUNDS[-1]:%Y-%m-%d}") == 0
    return load(config)


@pytest.fixture(scope="module")
def data(project: Settings) -> Inputs:
    return inputs(project, before=BOUNDS[-1])


def with_budget(settings: Settings, minutes: int, **training: object) -> Settings:
    chosen = settings.training.model_copy(update={"budget": timedelta(minutes=minutes)} | training)
    return settings.model_copy(update={"training": chosen})


def trained(settings: Settings, data: Inputs, folder: Path, **more: object) -> Bundle:
    arguments = {"checkpoint": Checkpoint(folder), "progress": Quiet()} | more
    return fit_bundle(data.log, data.texts, BOUNDS[:-1], cutoff=BOUNDS[-1], settings=settings, **arguments)[0]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is timed here is told to take long."""
    monkeypatch.setattr(sizing, "_SLOWEST_ROWS", SLOW.rows)
    monkeypatch.setattr(sizing, "_SLOWEST_PAIRS", SLOW_RANKER.pairs)
    monkeypatch.setattr(sizing, "_FEWEST_ROWS", 50)
    monkeypatch.setattr(sizing, "_FEWEST_IMPRESSIONS", 10)
    monkeypatch.setattr(sizing, "_text_speed", lambda *_: SLOW)
    monkeypatch.setattr(sizing, "_ranker_speed", lambda *found: (SLOW_RANKER, found[-1]))


def never(*_: object) -> None:
    raise AssertionError("nothing is timed")


def test_what_the_configuration_sets_is_not_decided() -> None:
    settings = ANY.model_copy(update={"training": Training(epochs=3)})
    plan = Plan.undecided(settings)
    assert plan.epochs is None
    assert plan.match == settings.model.match
    assert Plan.undecided(settings.model_copy(update={"model": Model(match=64)})).match is None
    assert plan.max_clicks == settings.training.max_clicks
    cut = plan.at_most(epochs=1, max_clicks=500, pretrain_epochs=100)
    assert cut == plan.model_copy(update={"max_clicks": 500})
    applied = cut.applied(settings)
    assert (applied.training.epochs, applied.training.max_clicks) == (3, 500)
    assert applied.evaluation == settings.evaluation
    assert AS_SET.applied(settings) == settings


def test_a_log_that_any_machine_learns_in_time_is_not_timed(
    project: Settings, data: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "_text_speed", never)
    monkeypatch.setattr(sizing, "_ranker_speed", never)
    told = Told()
    bundle = trained(project, data, tmp_path / "checkpoint", progress=told)
    assert bundle.plan.epochs == project.training.epochs
    assert bundle.plan.blend_clicks == project.training.blend_clicks
    assert any(
        re.fullmatch(r"Text model: \d+ clicks, 3 epochs .* within the budget of 10 min .*", line) for line in told.lines
    )


@pytest.mark.usefixtures("slow")
def test_a_slow_machine_does_less_and_its_plan_gives_the_same_weights_on_any_other(
    project: Settings, data: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short, told = with_budget(project, 2), Told()
    first = trained(short, data, tmp_path / "one", progress=told)
    plan = first.plan
    assert plan.epochs == 1
    assert plan.max_clicks is not None
    assert plan.max_clicks < 200
    assert plan.blend_clicks is not None
    assert plan.blend_clicks < 100
    said = "\n".join(told.lines)
    took = r"in about [\d.]+ (s|min)(, more than| of) the budget of 2 min \(training.budget\)"
    assert re.search(rf"Text model: [\d,]+ clicks, 1 epoch .*, {took}", said)
    assert re.search(r"Blend: at most [\d,]+ impressions teach it and [\d,]+ measure it, in about", said)
    first.save(tmp_path / "first")
    assert Bundle.load(tmp_path / "first").plan == plan
    monkeypatch.setattr(sizing, "_text_speed", never)
    monkeypatch.setattr(sizing, "_ranker_speed", never)
    trained(short, data, tmp_path / "two", plan=plan).save(tmp_path / "second")
    assert digests(tmp_path / "first") == digests(tmp_path / "second")


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("part", ["Text regression", "Calibration"])
def test_a_training_that_goes_on_keeps_the_plan_that_it_began_with(
    project: Settings, data: Inputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    short, checkpoint = with_budget(project, 2), Checkpoint(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        trained(short, data, tmp_path, progress=Told(stop_at=part))
    begun = checkpoint.begun() or {}
    assert begun.keys() == ({"text"} if part == "Text regression" else {"text", "whole"})
    # A machine that is faster by now would decide otherwise.
    monkeypatch.setattr(sizing, "_text_speed", never)
    if part == "Calibration":
        monkeypatch.setattr(sizing, "_ranker_speed", never)
    plan = trained(short, data, tmp_path).plan
    decided = {"regression_items", "max_clicks", "epochs", "pretrain_epochs"} if part == "Text regression" else None
    last = list(begun.values())[-1]
    assert plan.model_dump(include=decided) == {name: last[name] for name in decided or last}


@pytest.mark.parametrize("task", ["next", "hidden"])
def test_what_is_timed_is_the_real_work(project: Settings, data: Inputs, task: str) -> None:
    clicks = {"next": "text", "hidden": "learned"}[task]
    settings = with_budget(project, 2, task=task)
    settings = settings.model_copy(update={"model": settings.model.model_copy(update={"clicks": clicks})})
    known_I = np.ones(len(data.texts), np.bool_)
    before = np.random.get_state()[1].copy()
    speed = sizing._text_speed(data.log, data.texts, BOUNDS[:4], known_I, settings)
    assert min(speed.products, speed.rows, speed.texts) > 0
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    text, items, _ = fit_text(data.log, data.texts, BOUNDS[:4], end=BOUNDS[4], settings=settings, progress=Quiet())
    found, work = sizing._ranker_speed(
        text, data.log, items, BOUNDS[4:], settings, _RankerWork(pool=48, clicked=1.0, times=2)
    )
    assert min(found.pairs, found.ranked, found.rows) > 0
    assert 1 < work.pool <= 48


@given(
    taught=st.integers(0, 10**6),
    rows=st.integers(1, 10**9),
    products=st.floats(1e9, 1e13),
    rows_a_second=st.floats(10, 1e6),
    texts=st.floats(10, 1e6),
    minutes=st.integers(1, 600),
)
def test_the_text_model_fits_its_share_or_is_as_small_as_it_can_be(
    taught: int, rows: int, products: float, rows_a_second: float, texts: float, minutes: int
) -> None:
    settings = with_budget(ANY, minutes)
    work = _TextWork(taught=taught, items=taught + 1, known=taught + 1, rows=rows)
    speed = _TextSpeed(products=products, rows=rows_a_second, texts=texts)
    plan = sizing._cut_text(Plan.undecided(settings), work, settings, speed)
    chosen = plan.applied(settings)
    smallest = chosen.training.regression_items == sizing._FEWEST_ITEMS or plan.max_clicks == sizing._FEWEST_ROWS
    assert work.seconds(chosen, speed) <= sizing._TEXT_SHARE * 60 * minutes * 1.01 or smallest
    # With twice the time nothing is smaller.
    more = sizing._cut_text(Plan.undecided(settings), work, with_budget(ANY, 2 * minutes), speed).applied(settings)
    assert (
        more.training.epochs * work.rows_of(more.training) >= chosen.training.epochs * work.rows_of(chosen.training) - 3
    )


def test_what_comes_after_the_blend_has_its_part_of_the_budget(
    project: Settings, data: Inputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {key: value for key, value in project.training if key not in ("blend_clicks", "blend_candidates")}
    settings = with_budget(project.model_copy(update={"training": Training(**free)}), 10)
    text, items, _ = fit_text(data.log, data.texts, BOUNDS[:4], end=BOUNDS[4], settings=project, progress=Quiet())
    seen: list[float] = []

    def cut(plan: Plan, work: object, most: int, chosen: Settings, speed: object, left: float) -> Plan:
        seen.append(left)
        return plan

    monkeypatch.setattr(sizing, "_SLOWEST_PAIRS", 1e-3)
    monkeypatch.setattr(sizing, "_cut_ranker", cut)
    for taken in (0.0, 100.0):
        sizing.size_ranker(Plan.undecided(settings), text, data.log, items, BOUNDS[4:], settings, taken)
    assert seen == [600.0, 600.0 - 135.0]


@given(
    pool=st.floats(1, 1e6),
    clicks=st.integers(1, 10**6),
    pairs=st.floats(1e3, 1e7),
    ranked=st.floats(1e3, 1e7),
    rows=st.floats(1e2, 1e6),
    left=st.floats(-100, 1e4),
)
def test_blend_and_measurement_fit_what_is_left_or_are_as_small_as_they_can_be(
    pool: float, clicks: int, pairs: float, ranked: float, rows: float, left: float
) -> None:
    work, speed = _RankerWork(pool=pool, clicked=1.0, times=2), _RankerSpeed(pairs=pairs, ranked=ranked, rows=rows)
    most = min(clicks, ANY.training.blend_clicks)
    plan = sizing._cut_ranker(Plan.undecided(ANY), work, most, ANY, speed, left)
    chosen = plan.applied(ANY)
    fewest = sizing._FEWEST_IMPRESSIONS
    assert chosen.training.blend_clicks >= fewest
    assert chosen.evaluation.max_impressions >= fewest
    assert chosen.training.blend_candidates >= sizing._FEWEST_CANDIDATES
    took = work.blend(min(most, chosen.training.blend_clicks), chosen.training.blend_candidates, speed)
    took += work.measurement(chosen.evaluation.max_impressions, speed)
    smallest = (
        fewest in (chosen.training.blend_clicks, chosen.evaluation.max_impressions)
        or chosen.training.blend_candidates == sizing._FEWEST_CANDIDATES
    )
    assert took <= max(left, 0) * 1.01 or smallest


def test_few_clicks_are_not_worth_many_passes_over_a_catalogue(project: Settings, data: Inputs) -> None:
    """Three hundred clicks beside ten thousand items: one pass over the texts, not ten."""
    many = replace(data.log, known_at=np.zeros(len(data.log.item_ids), np.int64))
    settings = with_budget(project, 10, epochs=1, max_clicks=40)
    assert size_text(many, data.texts, BOUNDS[:4], BOUNDS[4], settings).plan.pretrain_epochs == 1


def test_quick_is_two_minutes_and_told_by_the_version(published: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    config = str(published.project.root.parent / "recsys.toml")
    assert run_cli("train", "-c", config, "--quick", "--cutoff", "2024-05-05") in (0, 4)
    assert "of 2 min (training.budget)" in capsys.readouterr().out.replace("\n", " ")
    registry = tracker(published)
    version = max(registry.versions(), key=int)
    kept = json.loads(registry.attached(version, "plan.json") or "{}")
    assert kept == Bundle.load(registry.bundle(version)).plan.model_dump()
    assert kept["max_clicks"] == published.training.max_clicks
    assert kept["epochs"] is None, "the small project sets it"
    assert json.loads(registry.attached(version, "config.json") or "{}")["training"]["budget"] == "2m"


@pytest.mark.parametrize("other", ["--warm-start", "--like=champion"])
def test_quick_goes_with_a_whole_training_alone(
    published: Settings, capsys: pytest.CaptureFixture[str], other: str
) -> None:
    config = str(published.project.root.parent / "recsys.toml")
    assert run_cli("train", "-c", config, "--quick", other) == 2
    assert "--quick" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (None, "within the budget of 10 min (training.budget)"),
        (45.0, "in about 45 s of the budget of 10 min (training.budget)"),
        (900.0, "in about 15 min, more than the budget of 10 min (training.budget): what is set, or the least that "),
    ],
)
def test_a_training_that_cannot_fit_says_so(seconds: float | None, said: str) -> None:
    assert sizing._within(seconds, ANY).startswith(said)
