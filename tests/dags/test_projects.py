"""What a run of the extract DAG extracts, which configs are found, and which failures are not tried again."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from recsys_text.errors import ConfigError, ContractError, UnavailableError
from recsys_text.provider import dags_folder, get_provider_info
from recsys_text.provider.projects import CONFIGS, Project, problems, projects, step

CONFIG = """
[project]
name = "{name}"
[sources.items]
kind = "file"
path = "items.parquet"
[sources.events]
kind = "file"
path = "events.parquet"
[windows]
length = "{length}"
"""
NOON = datetime(2017, 7, 2, 12, 30, tzinfo=UTC)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def write(file: str, name: str = "books", length: str = "1d") -> Path:
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(CONFIG.format(name=name, length=length))
        return path

    return write


@pytest.fixture
def project(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Project]:
    def project(length: str = "1d") -> Project:
        monkeypatch.setenv(CONFIGS, str(write("one.toml", length=length)))
        return projects()[0]

    return project


def keys(project: Project, key: str | None = None, **given: Any) -> list[str]:
    known: dict[str, Any] = {"start": None, "end": None, "run_after": NOON}
    return [window.key for window in project.windows(key, **(known | given))]


def test_partition_is_its_window(project: Callable[..., Project]) -> None:
    assert keys(project(), "2017-07-01") == ["2017-07-01"]
    assert keys(project("1h"), "2017-07-01T05") == ["2017-07-01T05"]


def test_without_partition_the_newest_closed_window(project: Callable[..., Project]) -> None:
    assert keys(project()) == ["2017-07-01"]
    assert keys(project("1h")) == ["2017-07-02T11"]
    assert keys(project("7d")) == ["2017-W25"], "2017-W26 ends with that day"


def test_span_is_half_open_and_wins(project: Callable[..., Project]) -> None:
    assert keys(project(), "2017-01-01", start="2017-07-01", end="2017-07-03") == ["2017-07-01", "2017-07-02"]


@pytest.mark.parametrize("given", [{"start": "2017-07-01"}, {"end": "2017-07-01"}])
def test_half_a_span_is_refused(project: Callable[..., Project], given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="both 'from' and 'to'"):
        keys(project(), **given)


def test_partition_keys_are_window_keys(project: Callable[..., Project]) -> None:
    for length, key in (("1d", "2017-07-01"), ("1h", "2017-07-01T00")):
        made = project(length)
        assert datetime(2017, 7, 1, tzinfo=UTC).strftime(made.key_format) == key == keys(made, key)[0]
    weekly = project("7d")
    assert (weekly.cron, keys(weekly, "2017-W26")) == ("0 0 * * 1", ["2017-W26"])
    assert datetime(2017, 6, 26, tzinfo=UTC).strftime(weekly.key_format) == "2017-W26"


def test_files_folders_and_globs(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write("a.toml", "a"), write("folder/b.toml", "b"), write("folder/c.toml", "c"), write("x/d.toml", "d")
    entries = [tmp_path / "a.toml", tmp_path / "folder", tmp_path / "*" / "d.toml", tmp_path / "folder" / "c.toml"]
    monkeypatch.setenv(CONFIGS, os.pathsep.join(map(str, entries)))
    assert [project.name for project in projects()] == ["a", "b", "c", "d"]
    assert problems() == []


def test_a_broken_config_is_named_and_alone(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good, twin, broken = write("a.toml", "a"), write("twin.toml", "a"), tmp_path / "broken.toml"
    broken.write_text("[projekt]\n")
    entries = [good, twin, broken, tmp_path / "none.toml"]
    monkeypatch.setenv(CONFIGS, os.pathsep.join(map(str, entries)))
    assert [project.path for project in projects()] == [good]
    taken, unknown, missing = problems()
    assert str(twin) in taken
    assert str(good) in taken
    assert str(broken) in unknown
    assert "'project'" in unknown
    assert "none.toml" in missing


def test_a_link_to_nowhere_is_named_and_alone(
    write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    good = write("folder/a.toml", "a")
    (tmp_path / "folder" / "gone.toml").symlink_to(tmp_path / "nowhere.toml")
    (tmp_path / "folder" / ".#a.toml").symlink_to("somebody@host.1234")  # as Emacs locks a file
    monkeypatch.setenv(CONFIGS, os.pathsep.join([str(tmp_path / "folder"), "/" + "x" * 300]))
    assert [project.path for project in projects()] == [good]
    gone, unreadable = problems()
    assert gone == f"{tmp_path / 'folder' / 'gone.toml'} cannot be read: No such file or directory"
    assert unreadable.startswith(f"{CONFIGS} names '/xxx")


def test_without_configs_the_problem_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIGS, raising=False)
    assert projects() == []
    assert CONFIGS in problems()[0]


@pytest.mark.parametrize("error", [ConfigError("a wrong key"), ContractError("a missing column")])
def test_a_users_mistake_is_not_tried_again(error: Exception) -> None:
    with pytest.raises(AirflowFailException, match=str(error)):
        step(_raiser(error))()


@pytest.mark.parametrize("error", [UnavailableError("the store is down"), OSError("disk")])
def test_anything_else_may_be_tried_again(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        step(_raiser(error))()


def test_a_step_keeps_its_signature_and_result() -> None:
    def score(plan: dict[str, Any], bucket: int) -> dict[str, Any]:
        return {"plan": plan, "bucket": bucket}

    assert step(score)({}, bucket=3) == {"plan": {}, "bucket": 3}
    assert step(score).__name__ == "score"


def test_provider_names_the_distribution() -> None:
    assert get_provider_info()["package-name"] == "recsys-text"


def test_dags_folder_of_a_checkout_holds_the_dags() -> None:
    assert dags_folder() == Path(__file__).resolve().parents[2] / "dags"
    assert {"extract.py", "train.py", "publish.py", "monitor.py"} <= {path.name for path in dags_folder().iterdir()}


def _raiser(error: Exception) -> Callable[[], dict[str, Any]]:
    def raise_it() -> dict[str, Any]:
        raise error

    return raise_it
