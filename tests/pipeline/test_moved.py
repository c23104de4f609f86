"""A project's folder is moved, copied or named anything at all; what it holds is found there, and nowhere else."""

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from recsys_text.config import Settings, load
from recsys_text.sqlite import sqlite_file, sqlite_url
from recsys_text.steps.inputs import bundle_path, tracker
from tests.pipeline.conftest import run_cli

#: Each has letters that mean something to a glob, an address, SQLite's addresses or a shell.
NAMES = ("plain", "with space", "100%", "a%20b", "what?", "a#b", "[x]", "{a,b}", "*", "küche-日本", "a&b=c;d", "file:x")


def moved(project: Settings, target: Path) -> Settings:
    """The project under another folder, without the copies of its bundles; nothing is left at the old place."""
    folder = project.project.root.parent
    shutil.rmtree(folder / "var" / "bundles")
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(target)
    return load(target / "recsys.toml")


def test_a_moved_project_goes_on_and_makes_no_old_folder_anew(published: Settings, tmp_path: Path) -> None:
    tracker(published)  # it is a copy of the template, whose artifacts it has as its own from now on
    old, settings = published.project.root.parent, moved(published, tmp_path / "elsewhere" / "project")
    config = str(settings.project.root.parent / "recsys.toml")
    assert bundle_path(settings, "champion")[1].is_relative_to(settings.project.root)
    assert run_cli("extract", "-c", config, "--window", "2024-05-06") == 0
    for command in (["monitor"], ["publish"], ["report"], ["train"], ["gate", "2"], ["rollback"]):
        assert run_cli(*command, "-c", config) in (0, 4), command
    assert not old.exists()


def test_a_copy_has_its_own_artifacts(published: Settings) -> None:
    run = tracker(published).run_id("1")
    client = MlflowClient(published.tracking_uri, published.tracking_uri)
    assert client.get_run(run).info.artifact_uri.startswith((published.project.root / "mlartifacts").as_uri())


def test_a_bundle_that_is_gone_for_good_is_said_to_be_gone(
    published: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(published.project.root / "bundles")
    shutil.rmtree(published.project.root / "mlartifacts")
    config = str(published.project.root.parent / "recsys.toml")
    assert run_cli("publish", "-c", config) == 3
    told = capsys.readouterr().err.replace("\n", " ")
    assert "the bundle of version 1 is gone" in told
    assert "train again" in told


def test_artifacts_that_somebody_put_elsewhere_stay_there(published: Settings, tmp_path: Path) -> None:
    settings = published.model_copy(update={"project": published.project.model_copy(update={"name": "other"})})
    client = MlflowClient(settings.tracking_uri, settings.tracking_uri)
    place = (tmp_path / "nas").as_uri()
    client.create_experiment("other", artifact_location=place)
    tracker(settings)
    assert client.get_experiment_by_name("other").artifact_location == place


@pytest.mark.parametrize("name", NAMES)
def test_the_address_of_a_file_is_read_back(name: str) -> None:
    path = Path("/", name, "mlflow.db")
    assert sqlite_file(sqlite_url(path)) == path


@pytest.mark.parametrize("url", ["postgresql://host/db", "sqlite://", "sqlite:///:memory:", "file:mlruns"])
def test_what_is_no_sqlite_file_has_no_path(url: str) -> None:
    assert sqlite_file(url) is None


@pytest.mark.parametrize("name", ["a%20b? 100%#[x]", "*{a,b}&c=d;küche-日本", "file:x"])
def test_a_folder_of_any_name_is_published_and_read(landed: Settings, tmp_path: Path, name: str) -> None:
    settings = moved(landed, tmp_path / "any" / name)
    config = str(settings.project.root.parent / "recsys.toml")
    for command in ("monitor", "publish", "rollback", "versions"):
        assert run_cli(command, "-c", config) == 0, command
    assert {path.name for path in (tmp_path / "any").iterdir()} == {name}
    assert not (tmp_path / "project").exists()
