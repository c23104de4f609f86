import os
from pathlib import Path

import mlflow
import pytest

from recsys_text.errors import ConfigError, UnavailableError
from recsys_text.tracking import Tracker


def a_tracker(folder: Path) -> Tracker:
    folder.mkdir(exist_ok=True)
    return Tracker(f"sqlite:///{folder}/mlflow.db", "shop", folder)


def test_two_projects_of_one_process_do_not_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    first, second = a_tracker(tmp_path / "a"), a_tracker(tmp_path / "b")
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "bundle.json").write_text("{}")
    with first.run(params={"a": {"b": 1}}, datasets=[("items", "ab" * 32)]):
        version = first.register(bundle, {"history": ["x"], "candidates": ["y"]}, ["clicks_2h"])
    first.set_alias("champion", version)
    first.tag(version, {"cutoff": "2024-05-01"})
    assert (first.version("champion"), second.version("champion")) == ("1", None)
    assert first.tags(version)["cutoff"] == "2024-05-01"
    assert [path.name for path in first.bundle(version).iterdir()] == ["bundle.json"]
    assert "MLFLOW_TRACKING_URI" not in os.environ
    with pytest.raises(ConfigError, match="no version '77'"):
        first.bundle("77")


def test_a_failed_run_is_marked_failed(tmp_path: Path) -> None:
    tracker = a_tracker(tmp_path / "a")
    with pytest.raises(OSError, match="not MLflow's"), tracker.run(params={}, datasets=[]) as run:
        raise OSError("not MLflow's")
    assert mlflow.MlflowClient(f"sqlite:///{tmp_path}/a/mlflow.db").get_run(run).info.status == "FAILED"


def test_a_database_that_cannot_be_opened_is_out_of_reach(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").mkdir()
    with pytest.raises(UnavailableError, match=r"mlflow\.db is out of reach"):
        Tracker(f"sqlite:///{tmp_path}/mlflow.db", "shop", tmp_path)
