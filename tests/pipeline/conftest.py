"""A small project that is extracted, trained and published once, and copies of it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from recsys_text.bundle import Bundle
from recsys_text.cli import main
from recsys_text.config import Settings, load
from recsys_text.progress import Silent
from recsys_text.steps.inputs import Inputs, bundle_path, inputs
from tests.conftest import write_small_project

Run = Callable[..., int]
#: The window that has not been there when the scores were published.
LAST = "2024-05-06"


class Quiet(Silent):
    """Shows nothing of a whole training."""

    def stage(self, name: str) -> None: ...


def run_cli(*arguments: str) -> int:
    """The exit code of a command, run in this process."""
    try:
        main(list(arguments))
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def store_folder(settings: Settings) -> Path:
    """Where the store of a small project lies."""
    return Path(settings.store_url.removeprefix("file:"))


@pytest.fixture(scope="session")
def published_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project with five of six windows extracted, a champion, and its scores published."""
    folder = tmp_path_factory.mktemp("published")
    config = str(write_small_project(folder))
    assert run_cli("run", "-c", config, "--from", "2024-05-01", "--to", "2024-05-06") == 0
    return folder


@pytest.fixture
def published(published_template: Path, tmp_path: Path) -> Settings:
    """A copy of the published project, free to be changed; MLflow's artifacts stay with the template."""
    folder = tmp_path / "project"
    shutil.copytree(published_template, folder)
    return load(folder / "recsys.toml")


@pytest.fixture(scope="module")
def trained(published_template: Path) -> tuple[Bundle, Inputs]:
    project = load(published_template / "recsys.toml")
    return Bundle.load(bundle_path(project, "champion")[1]), inputs(project)


@pytest.fixture
def landed(published: Settings) -> Settings:
    """The window after the publication is in the lake."""
    assert run_cli("extract", "-c", str(published.project.root.parent / "recsys.toml"), "--window", LAST) == 0
    return published
