"""A project whose trials are quick, and what a search says."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from numpy.typing import NDArray

from recsys_text.config import Settings, load
from recsys_text.model.search import Choice, Range
from recsys_text.progress import EpochResult
from recsys_text.steps.inputs import tracker
from recsys_text.steps.trial import Outcome, Task
from recsys_text.steps.tune import Tuned, tune
from tests.conftest import write_small_project
from tests.pipeline.conftest import run_cli

#: Another model of the same small project that is too little trained to be the best.
WEAK = "[training]\nepochs = 1\npretrain_epochs = 0\nnegatives = 4\nblend_candidates = 10\nlearning_rate = 1e-5"


class Recorder:
    """Keeps what a search says; `on_stage(trials so far, name)` may do more at each stage of a training."""

    def __init__(self, on_stage: Callable[[int, str], None] = lambda trials, name: None) -> None:
        self.lines: list[str] = []
        self.outcomes: list[Outcome] = []
        self.epochs: list[tuple[int, int]] = []
        self._on_stage = on_stage

    def say(self, line: str) -> None:
        self.lines.append(line)

    def on_trial(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    def stage(self, name: str) -> None:
        self._on_stage(len(self.outcomes), name)

    def advance(self, done: int, total: int) -> None: ...

    def on_step(self, stage: str, loss: float, samples_per_second: float, step: int, steps: int) -> None: ...

    def on_epoch(self, result: EpochResult) -> None:
        self.epochs.append((len(self.outcomes), result.epoch))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of six windows: four to train on, one to compare trials on, the newest for the test."""
    folder = tmp_path_factory.mktemp("tune")
    config = write_small_project(folder)
    text = config.read_text()
    config.write_text(text[: text.index("[training]")] + WEAK + text[text.index("\n[evaluation]") :])
    assert run_cli("extract", "-c", str(config), "--from", "2024-05-01", "--to", "2024-05-07") == 0
    tracker(load(config))  # MLflow takes seconds to make its tables
    return folder


@pytest.fixture(autouse=True)
def small_space(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shapes and epochs that are quick to train."""
    small = {
        "model.rnn": Choice(values=("rnn", "gru")),
        "model.dim": Choice(values=(8, 16)),
        "model.dropout": Range(low=0.0, high=0.5),
        "training.epochs": Choice(values=(1, 2)),
        "training.learning_rate": Range(low=5e-4, high=8e-3),
    }
    monkeypatch.setattr("recsys_text.model.search.SPACE", small)


@pytest.fixture
def project(template: Path, tmp_path: Path) -> Path:
    """The folder of a copy of its own."""
    return Path(shutil.copytree(template, tmp_path / "project"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials that train nothing: their figures follow from their values, and they pass two stages and one epoch."""

    def ndcg_N(task: Task, values: Mapping[str, Any], progress: Any) -> NDArray[np.float64]:
        progress.stage("Text model")
        progress.on_epoch(epoch(1, values["model.dropout"]))
        progress.stage("Blend")
        return np.random.default_rng(1).uniform(0, 1, len(task.impressions)) + values["model.dropout"]

    monkeypatch.setattr(Task, "ndcg", ndcg_N)


def epoch(number: int, valid_ndcg: float) -> EpochResult:
    return EpochResult(epoch=number, loss=1.0, valid_loss=1.0, valid_ndcg=valid_ndcg, samples_per_second=1.0, best=True)


def settings_of(project: Path) -> Settings:
    return load(project / "recsys.toml")


def search(project: Path, progress: Recorder | None = None, **given: Any) -> Tuned:
    options = {"minutes": 5, "trials": 2, "force": True, "progress": progress or Recorder()} | given
    return tune(settings_of(project), project / "recsys.toml", project / "best.toml", **options)


def told(outcomes: list[Outcome]) -> list[tuple[str, dict[str, Any], str]]:
    return [(one.state, dict(one.values), f"{one.ndcg} {one.gain} {one.low} {one.high}") for one in outcomes]


def runs_of(project: Path) -> list[mlflow.entities.Run]:
    client = mlflow.MlflowClient(settings_of(project).tracking_uri)
    return list(reversed(client.search_runs(["1"], order_by=["attributes.start_time DESC"])))
