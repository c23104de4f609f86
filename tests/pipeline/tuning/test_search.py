"""What a search finds, writes and logs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import polars as pl
import pytest

from recsys_text.config import load
from tests.pipeline.conftest import run_cli
from tests.pipeline.tuning.conftest import Recorder, runs_of, search, settings_of, told


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


def test_a_variable_that_overrides_the_written_file_is_told(
    project: Path, quick: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("RECSYS_TEXT_MODEL__DROPOUT", "0.0")
    assert search(project, trials=3).best.values["model.dropout"] > 0
    assert "environment variables change what" in caplog.text
