"""What a task of the training DAG does when it is tried again."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from recsys_text.config import Settings
from recsys_text.steps.inputs import tracker
from tests.pipeline.conftest import published, published_template  # noqa: F401 - fixtures
from tests.pipeline.test_cli import config_of
from tests.pipeline.test_schedule import trained

DAG = Path(__file__).parents[2] / "dags" / "train.py"


def tried(settings: Settings, monkeypatch: pytest.MonkeyPatch, number: int) -> dict[str, Any]:
    """What a scheduled try of the task returns."""
    monkeypatch.setenv("RECSYS_TEXT_CONFIGS", config_of(settings))
    spec = importlib.util.spec_from_file_location("dag_of_training", DAG)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    [project] = module.projects()
    context = {
        "ti": SimpleNamespace(try_number=number, get_dr_count=lambda **_: 0),
        "dag": SimpleNamespace(dag_id="small_train"),
        "dag_run": SimpleNamespace(run_type="asset_triggered"),
        "params": {"cutoff": None, "seed": None, "warm_start": False},
    }
    monkeypatch.setattr(module, "get_current_context", lambda: context)
    found: dict[str, Any] = module.build(project).get_task("train").python_callable()
    return found


def test_a_try_after_one_that_was_stopped_behind_its_registration_leaves_the_gate_to_be_asked(
    published: Settings,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(AirflowSkipException, match="version 1 is 0 of 7 windows behind"):
        tried(published, monkeypatch, 1)
    version = trained(published, "2024-05-05")
    tracker(published).set_alias("challenger", version)
    assert tried(published, monkeypatch, 2)["version"] == version
    with pytest.raises(AirflowSkipException):  # what somebody trained by hand is theirs to judge
        tried(published, monkeypatch, 1)
