"""Search hyperparameters on windows before the test windows: lake to a configuration file. Knows no store."""

import fcntl
import logging
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Protocol

import numpy as np
import optuna
from optuna.trial import TrialState
from sqlalchemy.exc import SQLAlchemyError

from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError, UnavailableError
from recsys_text.fitting import Stages
from recsys_text.lake.disk import locked
from recsys_text.model.search import Choice, Range, Value, changed
from recsys_text.sqlite import sqlite_url
from recsys_text.steps.inputs import tracker
from recsys_text.steps.trial import SEARCHED, Outcome, OutOfTime, Task, Watch, run_trial, task_of
from recsys_text.toml import dumps
from recsys_text.tracking import Tracker

#: nDCG@10 of the interest among a row's candidates only hints at that of the score, so a trial is given up only where
#: its text model is among the worst quarter after as many epochs.
_KEPT = 75.0
_BEFORE_PRUNING = 5
#: Attributes of trials: the one of the present configuration, and its figure of each impression; the one in which the
#: search was stopped, whose values another one takes up again.
_PRESENT, _NDCG, _TAKEN_UP = "present", "ndcg_N", "taken up again"
_FIGURES = ("number", "ndcg", "gain", "low", "high")
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class Search(Stages, Protocol):
    """Shows a whole search: its trainings, and what it says between them."""

    def say(self, line: str) -> None: ...

    def on_trial(self, outcome: Outcome) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """The best configuration beside the present one, where it was written, and on what they were compared."""

    path: Path
    present: Outcome
    best: Outcome
    trials: int
    impressions: int
    windows: str
    interrupted: bool


def tune(
    settings: Settings,
    config: Path,
    out: Path,
    *,
    minutes: float,
    trials: int | None = None,
    force: bool = False,
    progress: Search,
) -> Tuned:
    """Searches for at most `minutes`, until the study has `trials`, or until Ctrl-C; writes the best to `out` as TOML.

    The windows that `evaluate` tests on are never read. Each trial trains before the `evaluation.windows` windows that
    precede them and is scored on those; the goal is nDCG@10 of the score. Trial 0 is the present configuration. A
    search of the same data and settings goes on where the last one ended, with the same trials as if it never had;
    a trial that fails is recorded and costs nothing else. The last trial may overrun the minutes by its blend.

    Raises ConfigError where `out` is in the way or elsewhere than `config`, or no time was left to measure the
    present configuration; ContractError without enough windows; UnavailableError when MLflow or the storage is out of
    reach, or another search of the project runs.
    """
    deadline = monotonic() + 60 * minutes
    if out.absolute().parent != config.absolute().parent:
        raise ConfigError(f"{out} is not beside {config}, whose relative paths start at its folder; write it there")
    if out.exists() and not force:
        raise ConfigError(f"{out} exists; give --force to replace it, or another --out")
    task = task_of(settings)
    registry = tracker(settings)
    with _study(task, progress) as study:
        params, resume = task.params | {"study": task.name}, study.user_attrs.get("run")
        with registry.run(params=params, datasets=task.after.digests, resume=resume) as run_id:
            study.set_user_attr("run", run_id)
            registry.mark({"mlflow.runName": f"tune {task.name}"})
            stop = _search(study, task, registry, deadline=deadline, trials=trials, progress=progress)
            present = _present(study)
            if present is None:
                if stop is not None and not isinstance(stop, OutOfTime):
                    raise stop
                raise ConfigError(
                    f"{minutes:g} minutes ended before the present configuration was measured; give more --minutes: "
                    "it goes on from its last epoch"
                )
            tuned = Tuned(
                path=out,
                present=_outcome(present),
                best=_outcome(study.best_trial),
                trials=_ended(study),
                impressions=len(task.impressions),
                windows=f"{task.windows[0]} to {task.windows[-1]}",
                interrupted=stop is not None and not isinstance(stop, OutOfTime),
            )
            _write(tuned, config, task.name)
            written, meant = load(out), task.with_values(tuned.best.values)
            if any(getattr(written, section) != getattr(meant, section) for section in SEARCHED):
                logging.getLogger("recsys_text").warning(
                    "environment variables change what %s says; unset RECSYS_TEXT_MODEL__... and such",
                    out,
                )
            registry.mark({f"best.{key}": value for key, value in tuned.best.values.items()})
            registry.metrics(
                {"ndcg": tuned.best.ndcg, "present_ndcg": tuned.present.ndcg, "trials": tuned.trials}, tuned.trials
            )
    return tuned


@contextmanager
def _study(task: Task, progress: Search) -> Iterator[optuna.Study]:
    """The study of this task in the project's storage, for one process at a time."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    root = task.settings.project.root
    path, lock = root / "tune.db", root / ".tune.lock"
    try:
        lock.touch()
        with locked(lock, fcntl.LOCK_EX | fcntl.LOCK_NB) as alone:
            if not alone:
                raise UnavailableError(f"another search uses {path}; wait until it ends")
            try:
                storage = optuna.storages.RDBStorage(sqlite_url(path))
            except RuntimeError as error:  # tables of another version
                raise UnavailableError(f"{path} is of no use to this Optuna: {error}") from None
            try:
                yield _taken_up(storage, task, progress)
            finally:
                storage.remove_session()
                storage.engine.dispose()
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        line = str(error).partition("\n")[0]
        raise UnavailableError(f"{path} is out of reach: {line}; make room, or remove it to begin anew") from error


def _taken_up(storage: optuna.storages.RDBStorage, task: Task, progress: Search) -> optuna.Study:
    known = optuna.get_all_study_names(storage)
    pruner = optuna.pruners.PercentilePruner(_KEPT, n_startup_trials=_BEFORE_PRUNING)
    study = optuna.create_study(
        storage=storage, study_name=task.name, direction="maximize", pruner=pruner, load_if_exists=True
    )
    # Their process died in them, perhaps for want of memory: they have failed, and are not tried again.
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        task.checkpoint(trial.params).clear()
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    if _present(study) is None and not any(_PRESENT in trial.user_attrs for trial in waiting):
        study.enqueue_trial(task.present, user_attrs={_PRESENT: True})
    if task.name in known:
        progress.say(f"Going on with search {task.name}, which has {_ended(study)} trials")
    elif known:
        progress.say(f"Other data or settings than those of the last search: {task.name} begins anew")
    else:
        progress.say(f"Search {task.name} begins")
    return study


def _search(
    study: optuna.Study, task: Task, registry: Tracker, *, deadline: float, trials: int | None, progress: Search
) -> KeyboardInterrupt | None:
    """Runs trials until the time or their number is used up; returns what interrupted one."""
    try:
        while monotonic() < deadline and (trials is None or _ended(study) < trials):
            number = _ended(study)
            # A sampler for each trial: what it draws depends on the trials before, not on when a search was stopped.
            study.sampler = optuna.samplers.TPESampler(seed=task.settings.training.seed * 1_000_003 + number)
            trial = study.ask()
            values = {key: _suggest(trial, key, bounds) for key, bounds in task.space.items()}
            watch, present = Watch(progress, registry, trial, deadline), _present(study)
            present_N = None if present is None else np.asarray(present.user_attrs[_NDCG])
            try:
                outcome, ndcg_N = run_trial(number, values, task, registry, watch, present_N)
            except (KeyboardInterrupt, UnavailableError):
                trial.set_user_attr(_TAKEN_UP, True)
                study.tell(trial, state=TrialState.FAIL)
                study.enqueue_trial(values, user_attrs={_PRESENT: True} if _PRESENT in trial.user_attrs else {})
                raise
            except Exception:
                study.tell(trial, state=TrialState.FAIL)
                raise
            for key in _FIGURES if outcome.state == "complete" else ():
                trial.set_user_attr(key, getattr(outcome, key))
            if _PRESENT in trial.user_attrs:
                trial.set_user_attr(_NDCG, ndcg_N.tolist())
            study.tell(trial, outcome.ndcg if outcome.state == "complete" else None, state=_STATES[outcome.state])
            task.checkpoint(values).clear()
            progress.on_trial(outcome)
    except KeyboardInterrupt as stop:
        return stop
    return None


def _present(study: optuna.Study) -> optuna.trial.FrozenTrial | None:
    """The trial that measured the present configuration."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return next((trial for trial in complete if _PRESENT in trial.user_attrs), None)


def _suggest(trial: optuna.Trial, key: str, bounds: Range | Choice) -> Value:
    if isinstance(bounds, Range):
        return trial.suggest_float(key, bounds.low, bounds.high, log=bounds.low > 0)
    chosen = trial.suggest_categorical(key, bounds.values)
    assert chosen is not None
    return chosen


def _ended(study: optuna.Study) -> int:
    """The trials that came to an end, whichever; not those that another one took up again."""
    trials = study.get_trials(deepcopy=False)
    return sum(trial.state.is_finished() and _TAKEN_UP not in trial.user_attrs for trial in trials)


def _outcome(trial: optuna.trial.FrozenTrial) -> Outcome:
    return Outcome(state="complete", values=trial.params, **{key: trial.user_attrs[key] for key in _FIGURES})


def _write(tuned: Tuned, config: Path, name: str) -> None:
    """The values of `config` as its author wrote them, but for those that the search changed."""
    raw = tomllib.loads(config.read_text(encoding="utf-8"))
    best = {
        key: value
        for key, value in tuned.best.values.items()
        if value != tuned.present.values[key]
        or raw.get(key.partition(".")[0], {}).get(key.partition(".")[2], value) != value
    }
    best_of = f"the best of {tuned.trials} trials of search {name}"
    text = (
        f"# Written by `recsys-text tune` from {config.name}: {best_of}.\n"
        f"# nDCG@10 {tuned.present.ndcg:.4f} -> {tuned.best.ndcg:.4f}, gain {tuned.best.gain:+.4f} "
        f"[{tuned.best.low:+.4f}, {tuned.best.high:+.4f}], on {tuned.windows}, which chose it.\n\n"
    )
    partial = tuned.path.with_name(f".{tuned.path.name}.{os.getpid()}.tmp")
    try:
        partial.write_text(text + dumps(changed(raw, best)), encoding="utf-8")
        partial.replace(tuned.path)
    except OSError as error:
        raise UnavailableError(f"cannot write {tuned.path}: {error}; give another --out or make room") from error
    finally:
        with suppress(OSError):
            partial.unlink()
