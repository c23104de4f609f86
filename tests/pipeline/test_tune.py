import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import optuna
import polars as pl
import pytest
from numpy.typing import NDArray

from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError, ContractError, UnavailableError
from recsys_text.model.fit import EpochResult
from recsys_text.model.search import Choice, Range
from recsys_text.steps import trial as trials_of_a_search
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


def test_a_search_writes_the_best_and_says_what_it_gained(
    project: Path, quick: None, capsys: pytest.CaptureFixture[str]
) -> None:
    config = str(project / "recsys.toml")
    assert run_cli("tune", "-c", config, "--trials", "4") == 0
    printed = capsys.readouterr().out
    before, after = load(project / "recsys.toml"), load(project / "recsys.tuned.toml")
    assert before.sources == after.sources
    assert before.project == after.project
    assert (before.model, before.training) != (after.model, after.training)
    written = (project / "recsys.tuned.toml").read_text()
    assert 'path = "items.parquet"' in written, "paths stay as their author wrote them"
    trials = optuna.load_study(study_name=None, storage=f"sqlite:///{project}/var/tune.db").get_trials()
    best = max((trial for trial in trials if trial.value is not None), key=lambda trial: trial.value)
    chosen = after.model_dump()
    assert {key: chosen[key.split(".")[0]][key.split(".")[1]] for key in best.params} == best.params
    figures = f"gain {best.user_attrs['gain']:+.4f} [{best.user_attrs['low']:+.4f}, {best.user_attrs['high']:+.4f}]"
    assert best.user_attrs["gain"] == pytest.approx(best.value - trials[0].value)
    assert best.user_attrs["low"] <= best.user_attrs["gain"] <= best.user_attrs["high"]
    assert figures in " ".join(printed.split())
    assert figures in written
    assert run_cli("tune", "-c", config, "--trials", "4") == 2
    assert "exists; give --force" in capsys.readouterr().err
    assert run_cli("tune", "-c", config, "--trials", "4", "--force") == 0
    assert "has 4 trials" in capsys.readouterr().out, "and nothing is left to do"
    assert (project / "recsys.tuned.toml").read_text() == written


def test_each_trial_is_a_nested_run(project: Path, quick: None) -> None:
    progress = Recorder()
    search(project, progress)
    search(project, trials=3)
    parent, *trials = runs_of(project)
    assert parent.info.status == "FINISHED"
    assert [run.data.tags["mlflow.parentRunId"] for run in trials] == [parent.info.run_id] * 3
    assert [run.info.run_name for run in trials] == ["trial 0", "trial 1", "trial 2"]
    for run, outcome in zip(trials, progress.outcomes, strict=False):
        assert run.data.metrics["ndcg"] == pytest.approx(outcome.ndcg)
        assert run.data.metrics["gain"] == pytest.approx(outcome.gain)
        assert {key: run.data.params[key] for key in outcome.values} == {k: str(v) for k, v in outcome.values.items()}
        assert "valid_ndcg_at_10" in run.data.metrics
    assert parent.data.metrics["ndcg"] >= parent.data.metrics["present_ndcg"] == progress.outcomes[0].ndcg


def test_trial_0_is_the_present_configuration_even_outside_the_space(project: Path, quick: None) -> None:
    progress = Recorder()
    tuned = search(project, progress, trials=1)
    settings = settings_of(project)
    assert progress.outcomes[0].values["training.learning_rate"] == settings.training.learning_rate == 1e-5
    assert progress.outcomes[0].gain == 0
    assert tuned.best == tuned.present
    chosen = load(tuned.path)
    assert (chosen.model, chosen.training) == (settings.model, settings.training)


def change_events(project: Path, day: int, changed: Callable[[pl.DataFrame], pl.DataFrame]) -> None:
    """Extracts a window again, of other events."""
    events = pl.read_parquet(project / "events.parquet")
    of_day = pl.col("occurred_at").dt.day() == day
    pl.concat([events.filter(~of_day), changed(events.filter(of_day))]).write_parquet(project / "events.parquet")
    assert run_cli("extract", "-c", str(project / "recsys.toml"), "--window", f"2024-05-{day:02d}") == 0


def test_the_test_windows_are_never_read(project: Path) -> None:
    other = Path(shutil.copytree(project, project.with_name("other")))
    change_events(other, 6, lambda events: events.with_columns(pl.col("item_id").shuffle(seed=1)).head(30))
    progress, again = Recorder(), Recorder()
    search(project, progress)
    search(other, again)
    assert told(again.outcomes) == told(progress.outcomes)


def test_other_data_before_the_test_windows_make_another_search(project: Path, quick: None) -> None:
    first, same, other = Recorder(), Recorder(), Recorder()
    search(project, first)
    change_events(project, 6, lambda events: events.head(5))
    search(project, same)
    change_events(project, 5, lambda events: events.head(-1))
    search(project, other)
    assert first.lines[0].endswith("begins")
    assert "has 2 trials" in same.lines[0]
    assert other.lines[0].startswith("Other data or settings")
    assert [len(each.outcomes) for each in (first, same, other)] == [2, 0, 2]


def test_a_search_that_was_stopped_goes_on_as_if_it_never_had(project: Path) -> None:
    whole = Recorder()
    search(Path(shutil.copytree(project, project.with_name("other"))), whole, trials=3)

    def stop(trials: int, name: str) -> None:
        if trials == 1 and name.startswith("Blend"):
            raise KeyboardInterrupt

    first, second = Recorder(stop), Recorder()
    tuned = search(project, first, trials=3)
    assert tuned.interrupted
    assert load(tuned.path).model is not None, "the best so far is written"
    assert [run.info.status for run in runs_of(project)] == ["FINISHED", "FINISHED", "KILLED"]
    assert not search(project, second, trials=3).interrupted
    assert "has 1 trials" in second.lines[0]
    assert told(first.outcomes + second.outcomes) == told(whole.outcomes)
    assert [epoch for trial, epoch in second.epochs if trial == 0] == [], "its epochs were kept"


def test_a_trial_that_fails_is_recorded_and_the_search_goes_on(
    project: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = Task.ndcg

    def failing(task: Task, values: Mapping[str, Any], progress: Any) -> NDArray[np.float64]:
        if len(recorder.outcomes) == 1:
            raise MemoryError("no room for 9 GB")
        return sound(task, values, progress)

    monkeypatch.setattr(Task, "ndcg", failing)
    recorder = Recorder()
    tuned = search(project, recorder, trials=3)
    assert [one.state for one in recorder.outcomes] == ["complete", "failed", "complete"]
    assert recorder.outcomes[1].reason == "MemoryError: no room for 9 GB"
    _, *trials = runs_of(project)
    assert [run.info.status for run in trials] == ["FINISHED", "FAILED", "FINISHED"]
    assert trials[1].data.tags["outcome"] == "MemoryError: no room for 9 GB"
    assert tuned.trials == 3


def test_a_present_configuration_that_fails_ends_the_search(
    project: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(task: Task, values: Mapping[str, Any], progress: Any) -> NDArray[np.float64]:
        raise MemoryError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(Task, "ndcg", failing)
        with pytest.raises(MemoryError, match="no room"):
            search(project)
    recorder = Recorder()
    search(project, recorder, trials=2)
    assert [one.values["training.learning_rate"] for one in recorder.outcomes] == [1e-5]


def test_a_trial_whose_text_model_falls_behind_is_pruned(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ndcg_N(task: Task, values: Mapping[str, Any], progress: Any) -> NDArray[np.float64]:
        number = len(recorder.outcomes)
        for each in (1, 2):
            progress.on_epoch(epoch(each, -1.0 if number == 6 else number / 10))
        return np.full(len(task.impressions), float(number))

    monkeypatch.setattr(Task, "ndcg", ndcg_N)
    recorder = Recorder()
    tuned = search(project, recorder, trials=8)
    assert [one.state for one in recorder.outcomes] == ["complete"] * 6 + ["pruned", "complete"]
    assert recorder.epochs[-3:] == [(6, 1), (7, 1), (7, 2)]
    assert tuned.best.number == 7
    pruned = runs_of(project)[7]
    assert (pruned.data.tags["outcome"], pruned.info.status) == ("pruned", "FINISHED")


def test_the_minutes_end_a_search_within_a_trial(project: Path, quick: None, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(trials_of_a_search, "monotonic", lambda: now)

    def late(trials: int, name: str) -> None:
        nonlocal now
        now = 1e12 if name.startswith("Blend") and trials == limit else 0.0

    limit = 0
    with pytest.raises(ConfigError, match="before the present configuration was measured"):
        search(project, Recorder(late), trials=3)
    limit = 1
    progress = Recorder(late)
    tuned = search(project, progress, trials=3)
    assert not tuned.interrupted
    assert len(progress.outcomes) == tuned.trials == 1
    assert progress.outcomes[0].number == 0
    assert search(project, trials=None, minutes=0).trials == 1, "no time, no trial"


def test_an_unfinished_trial_of_a_killed_process_has_failed(project: Path, quick: None) -> None:
    search(project, trials=1)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{project}/var/tune.db")
    study.ask()
    progress = Recorder()
    search(project, progress, trials=3)
    assert [one.number for one in progress.outcomes] == [2], "the killed one counts"


def test_one_search_at_a_time(project: Path, quick: None) -> None:
    errors: list[UnavailableError] = []

    def another(trials: int, name: str) -> None:
        if not errors:
            with pytest.raises(UnavailableError, match="another search") as caught:
                search(project)
            errors.append(caught.value)

    search(project, Recorder(another), trials=1)
    assert errors


def test_a_variable_that_overrides_the_written_file_is_told(
    project: Path, quick: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RECSYS_TEXT_MODEL__DROPOUT", "0.0")
    assert search(project, trials=3).best.values["model.dropout"] > 0
    assert "environment variables change what" in caplog.text


def test_what_a_user_can_do_wrong(project: Path, tmp_path: Path) -> None:
    settings, config = settings_of(project), project / "recsys.toml"
    with pytest.raises(ConfigError, match="not beside"):
        tune(settings, config, tmp_path / "best.toml", minutes=1, progress=Recorder())
    evaluation = settings.evaluation.model_copy(update={"windows": 2})
    short = settings.model_copy(update={"evaluation": evaluation})
    with pytest.raises(ContractError, match="the lake has 6"):
        tune(short, config, project / "best.toml", minutes=1, progress=Recorder())
    (project / "var" / "tune.db").write_text("no database" * 100)
    with pytest.raises(UnavailableError, match=r"tune\.db is out of reach"):
        search(project)


def test_without_optuna_it_says_what_to_install(project: Path) -> None:
    arguments = ["tune", "-c", str(project / "recsys.toml")]
    command = f"import sys; sys.modules['optuna'] = None; from recsys_text.cli import main; main({arguments!r})"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'recsys-text[tune]'" in done.stderr
