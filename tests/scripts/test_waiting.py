"""A demonstration waits while anything goes on, and then says which task is at what."""

import importlib
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The time of the scripts, which passes only in their sleep."""
    passed = {"now": 0.0}
    monkeypatch.setattr("time.monotonic", lambda: passed["now"])
    monkeypatch.setattr("time.sleep", lambda seconds: passed.update(now=passed["now"] + seconds))
    return passed


@pytest.fixture
def stack(clock: dict[str, float], monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = importlib.import_module("airflow_stack")
    monkeypatch.setattr(module.processes, "alive", lambda record: True)
    return module


def task(state: str = "running", **more: Any) -> dict[str, Any]:
    began = (datetime.now(UTC) - timedelta(minutes=7)).isoformat()
    named = {"dag_id": "books_train", "task_id": "train", "dag_run_id": "r", "map_index": -1, "try_number": 1}
    times = {"start_date": began, "queued_when": began, "scheduled_when": began, "duration": 3.0}
    return {"id": "t", "state": state} | named | times | more


class Told:
    """An Airflow whose API answers what a test says, and the lines that were printed."""

    def __init__(self, stack: ModuleType, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tasks: list[dict[str, Any]] = []
        self.lines: list[tuple[str, ...]] = []
        self.airflow = stack.Airflow(lambda *lines: self.lines.append(lines), home=home)
        self.airflow.api = object()
        self.airflow.record = {"log": str(home / "airflow.log")}
        monkeypatch.setattr(self.airflow, "_tasks", lambda: self.tasks)
        monkeypatch.setattr(self.airflow, "_get", lambda path, **query: {"total_entries": 4, "dag_runs": []})

    def logs(self, of: dict[str, Any], *entries: dict[str, Any]) -> Path:
        path: Path = self.airflow.log_of(of)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as log:
            log.writelines(json.dumps(entry) + "\n" for entry in entries)
        return path


@pytest.fixture
def told(stack: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(stack, tmp_path, monkeypatch)


def test_it_waits_for_as_long_as_a_running_task_writes(told: Told, clock: dict[str, float]) -> None:
    told.tasks = [task()]

    def an_hour_later() -> bool:
        if clock["now"] % 200 == 0:
            told.logs(told.tasks[0], {"event": f"epoch {clock['now']}", "logger": "task.stdout"})
        return clock["now"] >= 3600

    told.airflow.until(an_hour_later, "an hour to pass")
    assert clock["now"] == 3600


def test_it_waits_for_as_long_as_states_change(told: Told, clock: dict[str, float]) -> None:
    states = ["scheduled", "queued", "running", "up_for_retry"]

    def an_hour_later() -> bool:
        told.tasks = [task(states[int(clock["now"] // 250) % 4])]
        return clock["now"] >= 3600

    told.airflow.until(an_hour_later, "an hour to pass")
    assert clock["now"] == 3600


def test_where_nothing_progresses_it_says_which_task_is_at_what(
    told: Told, stack: ModuleType, clock: dict[str, float]
) -> None:
    told.tasks = [task(), task("success", task_id="extract", id="e")]
    path = told.logs(
        told.tasks[0], {"event": "epoch 3 of 5", "logger": "task.stdout"}, {"event": "heartbeat", "logger": "airflow"}
    )
    with pytest.raises(stack.StackError) as caught:
        told.airflow.until(lambda: False, "the runs to end")
    assert str(caught.value) == (
        "waited for the runs to end, and nothing progressed for 5 min: books_train.train is running for 7 min, "
        f"and its log ends with: epoch 3 of 5 ({path})"
    )
    assert 300 <= clock["now"] <= 310


def test_where_no_task_began_airflow_speaks_without_its_http(told: Told, stack: ModuleType, tmp_path: Path) -> None:
    lines = ['api-server | INFO: 127.0.0.1:1 - "GET /api/v2/dags HTTP/1.1" 200'] * 40
    (tmp_path / "airflow.log").write_text("\n".join([*lines, "scheduler | no such table: dag", *lines]))
    with pytest.raises(stack.StackError, match="no task has begun") as caught:
        told.airflow.until(lambda: False, "the runs to end")
    assert str(caught.value).splitlines()[1:] == ["scheduler | no such table: dag"]


def test_each_task_is_told_of_once_with_what_it_did(told: Told) -> None:
    done, skipped, after, mapped = (task(state, id=state + name, task_id=name) for state, name in (
        ("success", "train"), ("skipped", "begin"), ("skipped", "items"), ("skipped", "late")
    ))  # fmt: skip
    told.logs(
        done,
        {"event": "hello from Airflow", "logger": "airflow.task"},
        {"event": "Training: there is no model yet", "logger": "recsys_text"},
        {"event": "Trained version 1", "logger": "recsys_text"},
    )
    told.logs(skipped, {"event": "Skipping task.", "reason": "there is no champion yet", "logger": "task"})
    for _ in range(2):
        told.airflow._report([mapped, after, skipped, done])
    assert told.lines == [
        ("books_train.train (3.0 s)", "Training: there is no model yet", "Trained version 1"),
        ("books_train.begin has nothing to do: there is no champion yet",),
    ]


def test_a_failed_task_is_told_by_the_end_of_its_log(told: Told, stack: ModuleType) -> None:
    failed = task("failed")
    told.logs(
        failed, {"event": "Task failed", "error_detail": [{"exc_type": "ConfigError", "exc_value": "no such key"}]}
    )
    with pytest.raises(stack.StackError, match=r"books_train\.train: failed(.|\n)*ConfigError: no such key"):
        told.airflow._report([failed])


@pytest.mark.parametrize("broken", ["hangs up", "locked"])
@pytest.mark.parametrize(("faults", "answered"), [(0, True), (3, True), (9, True), (10, False)])
def test_an_api_that_breaks_off_is_asked_again(
    stack: ModuleType, tmp_path: Path, broken: str, faults: int, answered: bool
) -> None:
    left = [faults]

    def answer(request: httpx.Request) -> httpx.Response:
        left[0] -= 1
        if left[0] < 0:
            return httpx.Response(200, json={"dags": []})
        if broken == "hangs up":
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        return httpx.Response(500)

    airflow = stack.Airflow(print, home=tmp_path)
    airflow.api = httpx.Client(base_url="http://airflow", transport=httpx.MockTransport(answer))
    if answered:
        assert airflow._get("dags") == {"dags": []}
    else:
        with pytest.raises(httpx.HTTPError):
            airflow._get("dags")


def test_what_airflow_has_not_done_yet_is_told_now_and_then(told: Told, clock: dict[str, float]) -> None:
    told.airflow.until(lambda: clock["now"] >= 25, "its API", tell=True)
    assert told.lines == [("Waiting for its API, 11 s so far",), ("Waiting for its API, 21 s so far",)]


def test_a_backfill_waits_for_the_end_of_the_former_one(
    told: Told, clock: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def get(path: str, **query: Any) -> dict[str, Any]:
        ended = None if clock["now"] < 31 else "2026-01-01T00:00:31Z"
        return {"backfills": [{"completed_at": ended}], "total_entries": 1, "dag_runs": []}

    def create(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        asked.append(clock["now"])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(told.airflow, "_get", get)
    monkeypatch.setattr("subprocess.run", create)
    told.airflow.backfill("books_extract", "2017-08-29", "2017-08-29")
    assert asked == [31]
