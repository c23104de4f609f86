"""Trials and searches that fail, are stopped, run out of time or cannot begin."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from numpy.typing import NDArray

from recsys_text.config import load
from recsys_text.errors import ConfigError, ContractError, UnavailableError
from recsys_text.steps import trial as trials_of_a_search
from recsys_text.steps.trial import Task
from recsys_text.steps.tune import tune
from tests.pipeline.tuning.conftest import Recorder, epoch, runs_of, search, settings_of, told


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
