"""The gate on real bundles: what it decides, what it keeps of a verdict, and what is told of it later."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import polars as pl
import pytest

from recsys_text.bundle import Bundle, Floats
from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError
from recsys_text.ranking.features import COUNTS
from recsys_text.ranking.log import Impressions
from recsys_text.sections import Gate
from recsys_text.steps import gate as module
from recsys_text.steps.evaluate import simple_methods
from recsys_text.steps.gate import explain, gate
from recsys_text.steps.inputs import tracker
from tests.pipeline.conftest import LAST, run_cli

GOOD, BAD = "3", "2"


def asking(settings: Settings, **keys: float) -> Settings:
    """The same project with other bounds; how long scoring takes is this machine's, and counts in no verdict here."""
    return settings.model_copy(update={"gate": Gate.model_validate({"max_slowdown": 1e9} | keys)})


@pytest.fixture
def challenged(published: Settings, tmp_path: Path) -> Settings:
    """A project with the challenger BAD, which orders everything the other way round, and GOOD, like the champion 1."""
    registry = tracker(published)
    champion = Bundle.load(registry.bundle("1"))
    first, second = champion.blend.spreads
    for version, spreads in ((BAD, (-first, -second)), (GOOD, (first, second))):
        folder = tmp_path / f"bundle-{version}"
        replace(champion, blend=replace(champion.blend, spreads=spreads)).save(folder)
        with registry.run(params={}, datasets={}):
            assert registry.register(folder, {"history": ["boat"], "candidates": ["rose"]}, COUNTS) == version
    registry.set_alias("challenger", BAD)
    return published


def aliases(settings: Settings) -> tuple[str | None, str | None]:
    registry = tracker(settings)
    return registry.version("champion"), registry.version("challenger")


def without_clock(verdict: dict[str, Any]) -> dict[str, Any]:
    guards = [guard for guard in verdict["guards"] if guard["key"] != "max_slowdown"]
    return verdict | {"guards": guards, "at": ""}


def test_a_refused_challenger_stays_and_its_verdict_is_told(
    challenged: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, config = tracker(challenged), str(challenged.project.root.parent / "recsys.toml")
    registry.tag(BAD, {"gate.guard.of_an_older_release": "pass", "cutoff": "2024-05-05T00:00:00+00:00"})
    monkeypatch.setenv("RECSYS_TEXT_GATE__MAX_SLOWDOWN", "1e9")
    assert run_cli("gate", "-c", config) == 4
    told = capsys.readouterr()
    assert f"\nVersion {BAD} against champion 1: " in told.out
    assert "does not clear gate.min_gain = 0; and gain in slice" in told.err
    assert aliases(challenged) == ("1", BAD)
    tags = registry.tags(BAD)
    assert {key for key in tags if key.startswith("gate.")} == {
        "gate.promoted", "gate.reason", "gate.gain", "gate.low", "gate.high", "gate.champion",
        "gate.champion_run", "gate.window", "gate.at",
        "gate.guard.min_coverage", "gate.guard.max_slice_loss", "gate.guard.max_slowdown",
    }  # fmt: skip
    assert (tags["gate.promoted"], tags["gate.champion"], tags["gate.window"]) == ("false", "1", "2024-05-05")
    assert tags["gate.guard.max_slice_loss"].startswith("FAIL: gain "), "the one that is nearest to refusing"
    assert tags["cutoff"].startswith("2024"), "what is not the gate's stays"
    for version in ((), (BAD,)):  # the challenger by default; nothing is scored, so that no bundle is needed
        for bundle in (challenged.project.root / "bundles").glob("*/bundle.json"):
            bundle.unlink()
        assert run_cli("gate", *version, "--explain", "-c", config) == 0
        assert f"\n{capsys.readouterr().out}" == told.out[told.out.index(f"\nVersion {BAD} against") :]


def test_a_better_one_becomes_champion_and_its_verdict_lies_with_its_run(challenged: Settings) -> None:
    registry = tracker(challenged)
    registry.set_alias("champion", BAD)
    registry.set_alias("challenger", GOOD)
    verdict = gate(asking(challenged))
    assert (verdict["promoted"], verdict["version"], verdict["champion"]) == (True, GOOD, BAD)
    assert aliases(challenged) == (GOOD, None)
    assert float(registry.tags(GOOD)["gate.low"]) == verdict["low"] > 0
    client = mlflow.MlflowClient(challenged.tracking_uri)
    run_id = client.get_model_version(challenged.project.name, GOOD).run_id
    assert {file.path for file in client.list_artifacts(run_id, "gate")} == {"gate/report.md", "gate/verdict.json"}
    assert str(registry.attached(GOOD, "gate/report.md")).startswith(f"# Version {GOOD} against champion {BAD}: ")
    assert json.loads(str(registry.attached(GOOD, "gate/verdict.json"))) == verdict == explain(challenged)


def test_a_guard_refuses_what_clears_the_bar(challenged: Settings) -> None:
    refused = gate(asking(challenged, min_gain=-1.0, min_coverage=0.0))
    assert refused["gains"]
    assert not refused["promoted"]
    assert {guard["key"] for guard in refused["guards"] if not guard["passed"]} == {"max_slice_loss"}
    assert aliases(challenged) == ("1", BAD)
    assert gate(asking(challenged, min_gain=-1.0, min_coverage=0.0, max_slice_loss=1.0))["promoted"]


def test_the_same_windows_give_the_same_verdict(challenged: Settings) -> None:
    first = gate(asking(challenged))
    assert without_clock(gate(asking(challenged))) == without_clock(first)


def test_like_the_champion_is_not_better(challenged: Settings) -> None:
    verdict = gate(asking(challenged), GOOD)
    assert (verdict["gain"], verdict["promoted"]) == (0, False)
    assert all(guard["passed"] for guard in verdict["guards"])


def test_an_item_that_came_after_the_scores_is_last_and_no_prediction(
    challenged: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recsys_text.steps.gate.unknown_then", lambda log, shown: shown.item == shown.item[0])
    verdict = gate(asking(challenged), GOOD)
    assert (verdict["gain"], verdict["promoted"]) == (0, False)


def without_a_champion(settings: Settings) -> Settings:
    tracker(settings).drop_alias("champion")
    return settings


def test_the_first_one_is_judged_by_what_its_training_measured(
    published: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And measuring it again on the same windows tells the same."""
    of_training = tracker(published).attached("1", "gate/verdict.json")
    with monkeypatch.context() as without_tag:
        without_tag.setattr(module, "MEASURED_ON", "another tag")
        again = gate(without_a_champion(published), "1")
    monkeypatch.delattr(module, "simple_methods")
    kept = gate(without_a_champion(published), "1")
    for found in (json.loads(str(of_training)), kept):
        assert found.keys() == again.keys()
        for key in again.keys() - {"at", "reason"}:
            assert found[key] == (pytest.approx(again[key], abs=1e-9) if key in ("gain", "low", "high") else again[key])
        assert found["reason"] == again["reason"]
        assert found["impressions"] > 0


@pytest.mark.parametrize(("change", "window"), [("window", LAST), ("lake", "2024-05-05"), ("seed", "2024-05-05")])
def test_the_first_one_is_measured_anew_where_anything_has_changed(
    published: Settings, change: str, window: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = published.project.root.parent / "recsys.toml"
    if change == "window":
        assert run_cli("extract", "-c", str(config), "--window", LAST) == 0
    if change == "lake":
        events = config.with_name("events.parquet")
        pl.read_parquet(events).filter(pl.col("user_id") != "u001").write_parquet(events)
        assert run_cli("extract", "-c", str(config), "--window", "2024-05-03") == 0
    if change == "seed":
        monkeypatch.setenv("RECSYS_TEXT_EVALUATION__SEED", "1")
    measured = []

    def seen(*arguments: Any, **keys: Any) -> Any:
        measured.append(window)
        return simple_methods(*arguments, **keys)

    monkeypatch.setattr(module, "simple_methods", seen)
    assert gate(without_a_champion(load(config)), "1")["window"] == window
    assert measured == [window]


def test_who_was_never_asked_has_no_verdict(challenged: Settings) -> None:
    with pytest.raises(ConfigError, match=f"`recsys-text gate {GOOD}` makes one"):
        explain(challenged, GOOD)
    with pytest.raises(ConfigError, match="of version '99'"):
        explain(challenged, "99")
    tracker(challenged).drop_alias("challenger")
    assert explain(challenged)["version"] == "1", "the champion, where there is no challenger"
    with pytest.raises(ConfigError, match="`recsys-text train` makes one"):
        gate(challenged)


SHOWN = Impressions(
    user=np.zeros(4, np.int32),
    time=np.zeros(4, np.int64),
    offsets=np.arange(5, dtype=np.int64) * 25_000,
    item=np.zeros(100_000, np.int32),
    clicked=np.zeros(100_000, np.bool_),
)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes by work alone, however busy the machine is."""
    monkeypatch.setattr(Work, "now", 0.0)
    monkeypatch.setattr(module.time, "perf_counter", lambda: Work.now)


class Work:
    """Scores by as much work as it is told for each of its turns, and by the last of it from then on."""

    now = 0.0

    def __init__(self, *rounds: int) -> None:
        self.rounds, self.seen = list(rounds), [0]

    def __call__(self, impressions: Impressions) -> Floats:
        self.seen.append(len(impressions.item))
        Work.now += self.rounds.pop(0) if len(self.rounds) > 1 else self.rounds[0]
        return np.zeros(0, np.float32)


@pytest.mark.usefixtures("clock")
def test_a_challenger_of_many_times_the_work_is_refused() -> None:
    slow, quick = Work(60), Work(1)
    assert not module._slowdown([slow, quick], SHOWN, Gate())[0].passed
    assert module._slowdown([quick, slow], SHOWN, Gate())[0].passed
    assert max(slow.seen) == 50_000, "some of the impressions tell as much as all"


@pytest.mark.usefixtures("clock")
def test_where_time_does_not_matter_none_is_spent() -> None:
    slow = Work(60)
    assert module._slowdown([slow, slow], SHOWN, Gate(max_slowdown=float("inf"))) == []
    assert slow.seen == [0]


@pytest.mark.usefixtures("clock")
def test_the_least_time_counts() -> None:
    assert module._slowdown([Work(1, 60), Work(1)], SHOWN, Gate(max_slowdown=10.0))[0].passed


@pytest.mark.usefixtures("clock")
def test_a_machine_that_is_busy_for_a_while_refuses_nobody() -> None:
    busy = Work(*[60] * 5, 1)
    assert module._slowdown([busy, Work(1)], SHOWN, Gate(max_slowdown=10.0))[0].passed
    assert len(busy.seen) == 1 + 5 + 15
