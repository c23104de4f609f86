"""A real Airflow on this machine: `airflow standalone` with its own home and free ports, driven over REST and its CLI.

Knows the project's DAGs by name and nothing of what they compute.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import processes
import psutil
import task_logs
from patience import STALLED_S, Patience
from ports import free_ports

NAME = "airflow"
HOME = processes.ROOT / "var" / "airflow"
STEPS = ("extract", "train", "publish", "monitor")
SERVER_TRIES = 10
POLL_S = 1.0  # an answer of Airflow's API costs a tenth of a second of one core
# Between a task's success and the run that its asset event starts; longer without any run means that none comes.
QUIET_S = 10
BAD_STATES = ("failed", "upstream_failed")
END_STATES = ("success", "skipped", *BAD_STATES)
SAY_S = 15.0  # between two lines about a task that goes on
WAITING_S = 10  # between two lines about what Airflow has not done yet
_HTTP = re.compile(r'"(GET|POST|PATCH|PUT|DELETE|HEAD) /')

Say = Callable[..., None]  # a line, and more of what it tells
Task = dict[str, Any]  # a task instance as the REST API gives it


class StackError(Exception):
    """A failure that is already explained, with the tail of the log that tells why."""


def environment(configs: str, home: Path = HOME) -> tuple[dict[str, str], str]:
    """The environment of an Airflow that serves the configs, and the address it will listen on."""
    port, task_logs, trigger_logs = free_ports(3)
    address = f"http://127.0.0.1:{port}"
    settings = {
        "AIRFLOW_HOME": home,
        "AIRFLOW__API__BASE_URL": address,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": False,
        "AIRFLOW__CORE__DAGS_FOLDER": processes.ROOT / "dags",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{address}/execution/",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__LOAD_EXAMPLES": False,
        "AIRFLOW__CORE__PARALLELISM": 2,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": True,  # nobody but this machine reaches 127.0.0.1
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": 1,
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": trigger_logs,
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": task_logs,
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": 0.2,
        "MLFLOW_DISABLE_TELEMETRY": True,
        "NO_COLOR": 1,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "RECSYS_TEXT_CONFIGS": configs,
    }
    return {**os.environ, **{key: str(value) for key, value in settings.items()}}, address


class Airflow:
    """A running Airflow. `say` prints one line of progress."""

    def __init__(self, say: Say, *, home: Path = HOME, name: str = NAME) -> None:
        self.say = say
        self.home = home
        self.name = name
        self.record: dict[str, Any] = {}
        self.env: dict[str, str] = {}
        self.api: httpx.Client | None = None
        self.seen: set[tuple[str, str, int]] = set()
        self.heard: dict[str, tuple[float, str]] = {}  # of a task that goes on: when it was last told of, and what
        self.ended: Counter[tuple[str, str]] = Counter()  # what had succeeded when the last wait ended

    def start(self, configs: str, projects: list[str], **env: str) -> None:
        """Starts Airflow, with more in its environment, and waits until it has parsed every project's DAGs."""
        self.env, address = environment(configs, self.home)
        self.env |= env
        self.home.mkdir(parents=True, exist_ok=True)
        self.record = processes.start(self.name, ["airflow", "standalone"], self.env, address=address)
        self.say(f"Airflow starts at {address}")
        wanted = {f"{project}_{step}" for project in projects for step in STEPS}
        self.until(lambda: self._reached(address), "Airflow's API to answer", tell=True)
        self.until(lambda: wanted <= self._dags(), "Airflow to parse the DAGs", tell=True)
        self.say("Airflow is up, its DAGs are parsed")

    def stop(self) -> None:
        """Ends Airflow and all that it started, a scheduler that took the place of a killed one too."""
        if self.api is not None:
            self.api.close()
        for name in (f"{self.name}-scheduler", self.name):
            processes.end(name)

    def kill_scheduler(self) -> None:
        """kill -9 for the scheduler alone; its workers stay behind, as on a machine that is out of memory."""
        schedulers = [
            process for process in psutil.Process(self.record["pid"]).children() if "scheduler" in process.cmdline()
        ]
        for process in schedulers:
            process.send_signal(signal.SIGKILL)
        # Nobody collects it, so it stays a zombie.
        self.until(lambda: all(one.status() == psutil.STATUS_ZOMBIE for one in schedulers), "the scheduler to die")
        self.say(f"kill -9 {', '.join(str(process.pid) for process in schedulers)}: the scheduler is gone")

    def start_scheduler(self) -> None:
        """A new scheduler for the one that was killed."""
        processes.start(f"{self.name}-scheduler", ["airflow", "scheduler"], self.env)

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Starts one run of a DAG, of no partition, and returns its id."""
        answer = self._client().post(f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
        if answer.is_error:
            raise StackError(f"Airflow refused to run {dag_id}: {answer.text}")
        return str(answer.json()["dag_run_id"])

    def clear(self, dag_id: str, run_id: str) -> None:
        """Has a run done again, as the button does."""
        body = {"dry_run": False}
        self._client().post(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/clear", json=body).raise_for_status()

    def backfill(self, dag_id: str, first: str, last: str) -> None:
        """Asks Airflow's command line, as an operator would, for a run of each partition; both ends belong to it.

        Waits for a former backfill of the DAG first: Airflow refuses a second one until its scheduler, which looks
        every 30 s, has seen that the first one ended.
        """
        self.until(lambda: not self._backfilling(dag_id), f"the former backfill of {dag_id} to end")
        command = ["airflow", "backfill", "create", "--dag-id", dag_id, "--from-date", first, "--to-date", last]
        done = subprocess.run(
            command, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        self.say(f"{' '.join(command)}: exit code {done.returncode}")
        if done.returncode:
            raise StackError(f"Airflow refused to backfill {dag_id}:\n{done.stdout}{done.stderr}")

    def runs(self, dag_id: str) -> list[tuple[str, str | None]]:
        """The runs of a DAG, the oldest first: type and partition key of each."""
        return [(run["run_type"], run["partition_key"]) for run in self.all_of(f"dags/{dag_id}/dagRuns")]

    def all_of(self, path: str, **query: Any) -> list[dict[str, Any]]:
        """Everything of a listing of the REST API, the oldest first."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._get(path, limit=100, offset=len(found), **{"order_by": "id"} | query)
            (rows,) = (value for value in page.values() if isinstance(value, list))
            found += rows
            if len(found) >= page["total_entries"]:
                return found

    def wait(self, goals: list[tuple[str, str]]) -> None:
        """Waits until nothing runs any more, printing each task's end.

        `goals` are (DAG, task): by then one more run of each must have succeeded than at the end of the last wait.
        Raises StackError with the log of a task that failed or skipped instead, or where nothing progresses.
        """
        quiet_since, missing, tasks = time.monotonic(), goals, list[Task]()

        def ended() -> bool:
            nonlocal quiet_since, missing, tasks
            tasks = self._tasks()
            self._report(tasks)
            now = _succeeded(tasks)
            missing = [goal for goal in goals if now[goal] <= self.ended[goal]]
            if self.active():
                quiet_since = time.monotonic()
                return False
            return not missing or time.monotonic() - quiet_since > QUIET_S

        self.until(ended, "the runs to end")
        self.ended = _succeeded(tasks)
        if missing:
            raise StackError("\n".join(self._why_not(tasks, *goal) for goal in missing))

    def until(self, done: Callable[[], bool], what: str, *, tell: bool = False) -> None:
        """Waits for something to come true, and says so now and then where it is to `tell`.

        Raises StackError where nothing progresses, or Airflow ends by itself.
        """
        patience, began, told = Patience(self._progress), time.monotonic(), 0
        while not done():
            waited = time.monotonic() - began
            if tell and waited > (told + 1) * WAITING_S:
                told += 1
                self.say(f"Waiting for {what}, {waited:.0f} s so far")
            if not processes.alive(self.record):
                raise StackError(f"Airflow ended by itself; its last lines:\n{self.log()}")
            if patience.over():
                raise StackError(
                    f"waited for {what}, and nothing progressed for {_minutes(STALLED_S)}: {self._stuck()}"
                )
            time.sleep(POLL_S)

    def log(self) -> str:
        """The end of Airflow's own log, without what its API was asked."""
        return "\n".join(self._own_lines()[-15:])

    def _own_lines(self) -> list[str]:
        lines = processes.tail(Path(self.record["log"]), lines=1000).splitlines()
        return [line for line in lines if not _HTTP.search(line)]

    def _progress(self) -> object:
        """What changes while anything goes on: the DAGs, the states of tasks, and the logs of those that run."""
        if self.api is None:
            return self._own_lines()
        tasks = self._tasks()
        running = [task for task in tasks if task["state"] == "running"]
        return (
            self._get("dags", limit=1)["total_entries"],
            [(task["id"], task["state"], task["try_number"]) for task in tasks],
            [task_logs.size(self.log_of(task)) for task in running],
        )

    def _stuck(self) -> str:
        """Which tasks have not ended, and where they are."""
        waiting = [task for task in self._tasks() if task["state"] not in (*END_STATES, None)] if self.api else []
        if not waiting:
            return f"no task has begun; Airflow's last lines:\n{self.log()}"
        return "; ".join(self._where(task) for task in waiting)

    def _where(self, task: Task) -> str:
        began = task["start_date"] or task["queued_when"] or task["scheduled_when"]
        since = f" for {_minutes((datetime.now(UTC) - datetime.fromisoformat(began)).total_seconds())}" if began else ""
        path = self.log_of(task)
        last = task_logs.said(path) or task_logs.end(path).splitlines()[-1].strip()
        return f"{_name(task)} is {task['state']}{since}, and its log ends with: {last} ({path})"

    def _reached(self, address: str) -> bool:
        try:
            answer = httpx.get(f"{address}/auth/token")
        except httpx.TransportError:
            return False
        if answer.is_success:
            bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
            self.api = httpx.Client(base_url=address, headers=bearer, timeout=30)
        return answer.is_success

    def _client(self) -> httpx.Client:
        assert self.api is not None, "start comes first"
        return self.api

    def _get(self, path: str, **query: Any) -> Any:
        tries_left = SERVER_TRIES
        while True:
            tries_left -= 1
            try:
                answer = self._client().get(f"/api/v2/{path}", params=query)
                if not (answer.is_server_error and tries_left):
                    return answer.raise_for_status().json()
            except httpx.TransportError:
                if not tries_left:
                    raise
            time.sleep(POLL_S)  # on a busy machine its SQLite file is locked now and then, or it hangs up

    def _dags(self) -> set[str]:
        errors = self._get("importErrors")["import_errors"]
        if errors:
            raise StackError("\n".join(f"{error['filename']}:\n{error['stack_trace']}" for error in errors))
        return {dag["dag_id"] for dag in self._get("dags", limit=100)["dags"]}

    def _tasks(self) -> list[Task]:
        """The task instances, the newest first; a demonstration has fewer than a page of them."""
        found: list[Task] = self._get("dags/~/dagRuns/~/taskInstances", limit=100, order_by="-start_date")[
            "task_instances"
        ]
        return found

    def active(self) -> bool:
        """Whether any run is queued or goes on."""
        return bool(self._get("dags/~/dagRuns", state=["queued", "running"], limit=1)["dag_runs"])

    def _backfilling(self, dag_id: str) -> bool:
        backfills = self._get("backfills", dag_id=dag_id, order_by="-id", limit=1)["backfills"]
        return bool(backfills) and backfills[0]["completed_at"] is None

    def _report(self, tasks: list[Task]) -> None:
        """Prints the end of each task since the last call, with what it said, and now and then how far others are.

        Raises StackError when one failed.
        """
        for task in reversed(tasks):
            path, event = self.log_of(task), (task["id"], task["state"], task["try_number"])
            if task["state"] == "running":
                self._how_far(task)
            if event in self.seen:
                continue
            if task["state"] in BAD_STATES:
                raise StackError(f"{_name(task)}: {task['state']}; the end of its log ({path}):\n{task_logs.end(path)}")
            if task["state"] == "up_for_retry":
                self.seen.add(event)
                self.say(
                    f"{_name(task)} failed, and will be tried again: {task_logs.end(path).splitlines()[-1].strip()}"
                )
            if task["state"] in END_STATES:
                self.seen.add(event)
                if task["state"] == "success":
                    self.say(f"{_name(task)} ({task['duration']:.1f} s)", *task_logs.told(path))
                elif reason := task_logs.reason(path):
                    self.say(f"{_name(task)} has nothing to do: {reason}")

    def _how_far(self, task: Task) -> None:
        """Prints the last line of a task that goes on, where it is another one than before."""
        now, key = time.monotonic(), f"{task['id']}-{task['try_number']}"
        at, former = self.heard.setdefault(key, (now, ""))
        last = task_logs.said(self.log_of(task))
        if last != former and now - at >= SAY_S:
            self.heard[key] = (now, last)
            self.say(f"{_name(task)} ... {last}")

    def _why_not(self, tasks: list[Task], dag_id: str, task_id: str) -> str:
        of_dag = [task for task in tasks if task["dag_id"] == dag_id]
        if not of_dag:
            return f"{dag_id} never ran; Airflow's last lines:\n{self.log()}"
        states = ", ".join(f"{task['task_id']} {task['state']}" for task in of_dag)
        path = self.log_of(of_dag[0])
        return f"{dag_id}.{task_id} did not succeed ({states}); the end of a log ({path}):\n{task_logs.end(path)}"

    def log_of(self, task: Task) -> Path:
        """The log of a task's last try."""
        folder = self.home / "logs" / f"dag_id={task['dag_id']}" / f"run_id={task['dag_run_id']}"
        folder /= f"task_id={task['task_id']}"
        if task["map_index"] >= 0:
            folder /= f"map_index={task['map_index']}"
        return folder / f"attempt={max(task['try_number'], 1)}.log"


def _name(task: Task) -> str:
    return f"{task['dag_id']}.{task['task_id']}" + (f"[{task['map_index']}]" if task["map_index"] >= 0 else "")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"


def _succeeded(tasks: list[Task]) -> Counter[tuple[str, str]]:
    return Counter((task["dag_id"], task["task_id"]) for task in tasks if task["state"] == "success")
