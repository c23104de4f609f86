"""The projects that RECSYS_TEXT_CONFIGS names and what their DAGs share. Knows Airflow; imports no step.

RECSYS_TEXT_CONFIGS holds TOML files, folders (their *.toml) and globs, separated like PATH. Each config
gives a DAG of its own in every file of `dags/`.

RECSYS_TEXT_TRAIN_POOL and RECSYS_TEXT_STORE_POOL name the Airflow pools of the tasks that train and
that write scores. They default to `default_pool`, because a task of a missing pool never runs.
"""

import functools
import glob
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow.sdk import Asset

from recsys_text import config
from recsys_text.errors import ConfigError
from recsys_text.lake.windows import (
    DAY,
    HOUR,
    KEY_FORMATS,
    WEEK,
    Window,
    parse_time,
    parse_window,
    window_of,
    windows_between,
)
from recsys_text.provider.running import FIRST_DELAY, LONGEST_DELAY, Backoff, Notify, hide_secrets, notifiers, step

__all__ = ["STORE_POOL", "TRAIN_POOL", "Project", "problems", "projects", "step"]

CONFIGS = "RECSYS_TEXT_CONFIGS"
TRAIN_POOL = os.environ.get("RECSYS_TEXT_TRAIN_POOL", "default_pool")
STORE_POOL = os.environ.get("RECSYS_TEXT_STORE_POOL", "default_pool")

DEFAULT_ARGS: dict[str, Any] = {
    "owner": "recsys-text",
    "retries": 8,  # for about an hour: as long as a database is away for its upkeep
    "retry_policy": Backoff(),
    # Where a task was killed, so that no policy of its own could decide:
    "retry_delay": FIRST_DELAY,
    "retry_exponential_backoff": 2,
    "max_retry_delay": LONGEST_DELAY,
}


@dataclass(frozen=True, kw_only=True)
class Project:
    """A project as its DAGs see it: the settings, the assets that connect the DAGs, and whom to tell of failures."""

    path: Path
    settings: config.Settings
    notifiers: tuple[Notify, ...] = ()

    @property
    def name(self) -> str:
        return self.settings.project.name

    @property
    def items(self) -> Asset:
        return _asset(f"lake://{self.name}/items")

    @property
    def events(self) -> Asset:
        return _asset(f"lake://{self.name}/events")

    @property
    def news(self) -> Asset:
        """What the project's own DAGs listen to: told once when the lake is not what it was, not for each window."""
        return _asset(f"lake://{self.name}/news")

    @property
    def champion(self) -> Asset:
        return _asset(f"model://{self.name}/champion")

    @property
    def scores(self) -> Asset:
        return _asset(f"store://{self.name}/user_scores")

    @property
    def refreshed(self) -> Asset:
        """Of its own, as what is published between two windows is of none: who listens to `scores` hears of windows."""
        return _asset(f"store://{self.name}/refreshed_scores")

    @property
    def quality(self) -> Asset:
        return _asset(f"lake://{self.name}/quality")

    @property
    def cron(self) -> str:
        """Fires when a window closes, in UTC."""
        return {HOUR: "0 * * * *", DAY: "0 0 * * *", WEEK: "0 0 * * 1"}[self.settings.windows.span]

    @property
    def key_format(self) -> str:
        """The format of the window keys, which are the partition keys too."""
        return KEY_FORMATS[self.settings.windows.span]

    def windows(self, key: str | None, *, start: str | None, end: str | None, run_after: datetime) -> list[Window]:
        """What a run extracts: [start, end) where it is given, else the window `key`.

        With neither, `key` is the newest window that had closed at `run_after`. Raises ConfigError for a key or
        time that is none, and for a span without its other half.
        """
        length = self.settings.windows.span
        if start and end:
            return windows_between(parse_time(start), parse_time(end), length)
        if start or end:
            raise ConfigError("a span needs both 'from' and 'to'")
        return [parse_window(key, length) if key else window_of(run_after - length, length)]

    def dag_args(self, step: str, doc: str) -> dict[str, Any]:
        """The arguments that every DAG of the project shares; `doc` is its page."""
        return {
            "dag_id": f"{self.name}_{step}",
            "doc_md": doc,
            "description": doc.partition("\n")[0],
            "default_args": DEFAULT_ARGS
            | {"on_execute_callback": hide_secrets(self.settings), "on_failure_callback": list(self.notifiers)},
            "catchup": False,
            "max_active_runs": 1,
            "tags": ["recsys-text", self.name],
        }


def projects() -> list[Project]:
    """Every project whose config loads; `problems` tells of the others."""
    return _load()[0]


def problems() -> list[str]:
    """One line for each config that gives no DAGs: it does not load, is missing or repeats a name."""
    return _load()[1]


def _asset(uri: str) -> Asset:
    return Asset(name=uri, uri=uri, group="recsys-text")


@functools.cache
def _settings(path: Path, changed: int, environment: tuple[tuple[str, str], ...]) -> config.Settings:
    """Loads a config once for all DAG files of a process, while neither it nor the environment changes."""
    return config.load(path)


def _load() -> tuple[list[Project], list[str]]:
    named = os.environ.get(CONFIGS, "")
    if not named.strip():
        return [], [f"{CONFIGS} is not set; let it name the TOML file of each project"]
    found: dict[str, Project] = {}
    lines = []
    for entry in filter(None, named.split(os.pathsep)):
        try:
            paths = _expand(entry)
        except OSError as error:
            lines.append(f"{CONFIGS} names '{entry}', which cannot be looked at: {error}")
            continue
        if not paths:
            lines.append(f"{CONFIGS} names '{entry}', and no TOML file is there")
        for path in paths:
            try:
                settings = _settings(path, path.stat().st_mtime_ns, tuple(sorted(os.environ.items())))
                told = tuple(notifiers(settings, path))
                project = Project(path=path, settings=settings, notifiers=told)
            except ConfigError as error:
                lines.append(str(error))
                continue
            except OSError as error:
                lines.append(f"{path} cannot be read: {error.strerror}")
                continue
            other = found.setdefault(project.name, project)
            if other.path != path:
                lines.append(f"{path}: the project name '{project.name}' is taken by {other.path}")
    return list(found.values()), lines


def _expand(entry: str) -> list[Path]:
    path = Path(entry).expanduser()
    if path.is_dir():
        # Not `path.glob`, which finds names with a dot before them, too: editors lock a file by such a link to nowhere.
        matches = [path / name for name in glob.glob("*.toml", root_dir=path)]
    else:
        matches = [Path(match) for match in glob.glob(str(path), recursive=True)]
    return sorted(match.absolute() for match in matches)
