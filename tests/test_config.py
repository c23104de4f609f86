from datetime import timedelta
from pathlib import Path

import pytest

from recsys_text.config import load
from recsys_text.errors import ConfigError

MINIMAL = """
[project]
name = "shop"
[sources.items]
kind = "file"
path = "items.parquet"
[sources.events]
kind = "file"
path = "s3://bucket/clicks/*.parquet"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recsys.toml"
    path.write_text(text)
    return path


def test_relative_paths_start_at_the_file_and_urls_stay(tmp_path: Path) -> None:
    settings = load(write(tmp_path, MINIMAL))
    assert settings.project.root == tmp_path / "var"
    assert settings.sources.items.path == str(tmp_path / "items.parquet")
    assert settings.sources.events.path == "s3://bucket/clicks/*.parquet"
    assert settings.store_path == tmp_path / "var" / "store"


def test_defaults_and_durations(tmp_path: Path) -> None:
    settings = load(write(tmp_path, MINIMAL + '[candidates]\nactive = "90m"\n'))
    assert settings.candidates.active == timedelta(minutes=90)
    assert settings.training.seed == 7


def test_environment_overrides_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_TEXT_TRAINING__EPOCHS", "9")
    monkeypatch.setenv("RECSYS_TEXT_PROJECT__ROOT", str(tmp_path / "elsewhere"))
    settings = load(write(tmp_path, MINIMAL + "[training]\nepochs = 2\nseed = 3\n"))
    assert (settings.training.epochs, settings.training.seed) == (9, 3)
    assert settings.project.root == tmp_path / "elsewhere"
    assert settings.project.name == "shop"


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ("[training]\nepoch = 4\n", r"unknown key 'training.epoch'; did you mean 'training.epochs'\?"),
        ("[trainnig]\nepochs = 4\n", r"unknown key 'trainnig'; did you mean 'training'\?"),
        ("[training]\nepochs = 'x'\n", r"'training.epochs' = 'x': Input should be a valid integer"),
        ("[training]\nepochs = 0\n", r"'training.epochs' = 0: .*greater than 0"),
        ("[candidates]\nactive = '24 hours'\n", r"'24 hours' is not a duration"),
        ("[model]\nrnn = 'lstn'\n", r"'model.rnn' = 'lstn': .*'lstm'"),
        ("[store]\nurl = '${NOT_SET_ANYWHERE}'\n", r"no environment variable NOT_SET_ANYWHERE is set"),
        ("[training\n", r"not readable as TOML"),
    ],
)
def test_a_fault_is_named_in_one_line(tmp_path: Path, extra: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load(write(tmp_path, MINIMAL + extra))
    assert "\n" not in str(caught.value).removesuffix("\n") or "TOML" in message


def test_a_source_without_its_query_is_refused(tmp_path: Path) -> None:
    text = MINIMAL.replace('kind = "file"\npath = "s3://bucket/clicks/*.parquet"', 'kind = "sql"\nuri = "sqlite:x.db"')
    with pytest.raises(ConfigError, match="needs a query"):
        load(write(tmp_path, text))


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="recsys-text init"):
        load(tmp_path / "nowhere.toml")


def test_settings_are_frozen(tmp_path: Path) -> None:
    settings = load(write(tmp_path, MINIMAL))
    with pytest.raises(ValueError, match="frozen"):
        settings.training.epochs = 3  # type: ignore[misc]
