"""Whoever `schedule.notify` names is told each message by itself, also of a task that could not say why it failed."""

import logging
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from airflow.api_fastapi.execution_api.datamodels.taskinstance import DagRun, TaskInstance, TIRunContext
from airflow.callbacks.callback_requests import TaskCallbackRequest
from airflow.dag_processing.dagbag import DagBag
from airflow.dag_processing.processor import _execute_task_callbacks
from airflow.sdk import BaseNotifier

from recsys_text.config import load
from recsys_text.provider import dags_folder
from recsys_text.provider.projects import CONFIGS
from recsys_text.provider.running import KILLED, Notify, notifiers, notify
from tests.conftest import write_small_project

MESSAGE = "{{ ti.task_id }} of {{ dag_run.partition_key }}: {{ exception }}"


class Broken(BaseNotifier):
    """Stands for a mail server that is out of reach."""

    def notify(self, context: Any) -> None:
        raise ConnectionRefusedError("no mail server")


def named(*classes: str, told: Path) -> str:
    made = (
        f'{{ class = "{name}"' + (f', path = "{told}", message = "{MESSAGE}"' if "File" in name else "") + " }"
        for name in classes
    )
    return f"[schedule]\nnotify = [{', '.join(made)}]\n"


FILE, BROKEN = "tests.dags.live.notifier.FileNotifier", "tests.dags.test_notifiers.Broken"


@pytest.fixture
def told(tmp_path: Path) -> Path:
    return tmp_path / "told.txt"


def of_config(folder: Path, told: Path, *classes: str) -> list[Notify]:
    config = write_small_project(folder)
    config.write_text(config.read_text() + named(*classes, told=told))
    return notifiers(load(config), config)


def context(**more: Any) -> dict[str, Any]:
    return {"ti": {"task_id": "monitor"}, "dag_run": {"partition_key": "2024-05-06"}, **more}


def test_each_message_is_its_own(tmp_path: Path, told: Path) -> None:
    callbacks = of_config(tmp_path, told, FILE, FILE)
    given = context()
    assert notify(callbacks, given, "nDCG fell")
    assert notify(callbacks, given, "coverage fell")
    for callback in callbacks:
        callback(context(exception=ValueError("broken")))
    texts = [text for text in ("nDCG fell", "coverage fell", "broken") for _ in callbacks]
    assert told.read_text().splitlines() == [f"monitor of 2024-05-06: {text}" for text in texts]
    assert given == context(), "what is rendered for one is not there for the next"


def test_a_notifier_that_fails_keeps_nothing_from_the_others(
    tmp_path: Path, told: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "recsys_text"):
        assert notify(of_config(tmp_path, told, BROKEN, FILE), context(), "nDCG fell")
    assert told.read_text() == "monitor of 2024-05-06: nDCG fell\n"
    assert "does not tell: nDCG fell" in caplog.text
    assert "no mail server" in caplog.text


def test_whether_anybody_heard(tmp_path: Path, told: Path) -> None:
    assert not notify(of_config(tmp_path, told, BROKEN), context(), "nDCG fell")
    assert notify([], context(), "nDCG fell"), "nobody is to be told, and the log has it"


def test_a_task_that_was_killed_is_told(tmp_path: Path, told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the DAG processor does it, whose context has no exception."""
    config = write_small_project(tmp_path)
    config.write_text(config.read_text() + named(FILE, told=told))
    monkeypatch.setenv(CONFIGS, str(config))
    now, run = datetime(2024, 5, 7, tzinfo=UTC), {"dag_id": "small_extract", "run_id": "night"}
    times = dict.fromkeys(("logical_date", "data_interval_start", "data_interval_end", "end_date"))
    request = TaskCallbackRequest(
        filepath="extract.py",
        bundle_name="recsys-text",
        bundle_version=None,
        ti=TaskInstance(**run, id=uuid.uuid4(), task_id="extract", try_number=4, dag_version_id=uuid.uuid4()),
        context_from_server=TIRunContext(
            dag_run=DagRun(
                **run,
                **times,
                run_after=now,
                start_date=now,
                run_type="scheduled",
                state="running",
                consumed_asset_events=[],
                partition_key="2024-05-06",
            ),
            max_tries=3,
        ),
    )
    _execute_task_callbacks(DagBag(dags_folder()), request, structlog.get_logger())
    assert told.read_text() == f"extract of 2024-05-06: {KILLED}\n"
