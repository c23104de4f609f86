"""A real Airflow on this machine: `airflow standalone` with its own home and free ports, driven over REST and its CLI.

Knows the project's DAGs by name and nothing of what they compute.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import processes
import psutil
from ports import free_ports

NAME = "airflow"
HOME = processes.ROOT / "var" / "airflow"
STEPS = ("extract", "train", "publish", "monitor")
START_LIMIT_S = 300
POLL_S = 1.0  # an answer of Airflow's API costs a tenth of a second of one core
# Between a task's success and the run that its asset event starts; longer without any run means that none comes.
QUIET_S = 10
BAD_STATES = ("failed", "upstream_failed")

Say = Callable[[str], None]
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
        self.api = httpx.Client()
        self.seen: set[tuple[str, str, int]] = set()
        self.ended: Counter[tuple[str, str]] = Counter()  # what had succeeded when the last wait ended

    def start(self, configs: str, projects: list[str], **env: str) -> None:
        """Starts Airflow, with more in its environment, and waits until it has parsed every project's DAGs."""
        self.env, address = environment(configs, self.home)
        self.env |= env
        self.home.mkdir(parents=True, exist_ok=True)
        self.record = processes.start(self.name, ["airflow", "standalone"], self.env, address=address)
        self.say(f"Airflow starts at {address}")
        wanted = {f"{project}_{step}" for project in projects for step in STEPS}
        self.until(START_LIMIT_S, lambda: self._reached(address), "Airflow's API to answer")
        self.until(START_LIMIT_S, lambda: wanted <= self._dags(), "Airflow to parse the DAGs")
        self.say("Airflow is up, its DAGs are parsed")

    def stop(self) -> None:
        """Ends Airflow and all that it started, a scheduler that took the place of a killed one too."""
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
        self.until(10, lambda: all(one.status() == psutil.STATUS_ZOMBIE for one in schedulers), "the scheduler to die")
        self.say(f"kill -9 {', '.join(str(process.pid) for process in schedulers)}: the scheduler is gone")

    def start_scheduler(self) -> None:
        """A new scheduler for the one that was killed."""
        processes.start(f"{self.name}-scheduler", ["airflow", "scheduler"], self.env)

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Starts one run of a DAG, of no partition, and returns its id."""
        answer = self.api.post(f"/api/v2/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf})
        if answer.is_error:
            raise StackError(f"Airflow refused to run {dag_id}: {answer.text}")
        return str(answer.json()["dag_run_id"])

    def clear(self, dag_id: str, run_id: str) -> None:
        """Has a run done again, as the button does."""
        body = {"dry_run": False}
        self.api.post(f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/clear", json=body).raise_for_status()

    def backfill(self, dag_id: str, first: str, last: str) -> None:
        """Asks Airflow's command line, as an operator would, for a run of each partition; both ends belong to it."""
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

    def wait(self, goals: list[tuple[str, str]], limit_s: float) -> None:
        """Waits until nothing runs any more, printing each task's end.

        `goals` are (DAG, task): by then one more run of each must have succeeded than at the end of the last wait.
        Raises StackError with the log of a task that failed or skipped instead, or at the time limit.
        """
        deadline, quiet_since = time.monotonic() + limit_s, time.monotonic()
        while True:
            tasks = self._tasks()
            self._report(tasks)
            now = _succeeded(tasks)
            missing = [goal for goal in goals if now[goal] <= self.ended[goal]]
            if self.active():
                quiet_since = time.monotonic()
            elif not missing or time.monotonic() - quiet_since > QUIET_S:
                break
            if time.monotonic() > deadline:
                raise StackError(f"the runs did not end within {limit_s:.0f} s; Airflow's last lines:\n{self.log()}")
            self._check_alive()
            time.sleep(POLL_S)
        self.ended = now
        if missing:
            raise StackError("\n".join(self._why_not(tasks, *goal) for goal in missing))

    def log(self) -> str:
        return processes.tail(Path(self.record["log"]))

    def _reached(self, address: str) -> bool:
        try:
            answer = httpx.get(f"{address}/auth/token")
        except httpx.TransportError:
            return False
        if answer.is_success:
            bearer = {"Authorization": f"Bearer {answer.json()['access_token']}"}
            self.api.close()
            self.api = httpx.Client(base_url=address, headers=bearer, timeout=30)
        return answer.is_success

    def _get(self, path: str, **query: Any) -> Any:
        return self.api.get(f"/api/v2/{path}", params=query).raise_for_status().json()

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

    def _report(self, tasks: list[Task]) -> None:
        """Prints each task instance that has ended since the last call; raises StackError when one failed.

        A scheduled run may fail: nobody here asked for it, and last night has no window in a sample that ended before.
        """
        for task in reversed(tasks):
            name = f"{task['dag_id']}.{task['task_id']}" + (f"[{task['map_index']}]" if task["map_index"] >= 0 else "")
            scheduled = task["dag_run_id"].startswith("scheduled__")
            if task["state"] in BAD_STATES and not scheduled:
                raise StackError(
                    f"{name}: {task['state']}; the end of its log ({self.log_of(task)}):\n{self._tail(task)}"
                )
            event = (task["id"], task["state"], task["try_number"])
            if task["state"] == "up_for_retry" and event not in self.seen:
                self.seen.add(event)
                self.say(
                    f"{name}: failed and will be tried again; the end of its log ({self.log_of(task)}):\n"
                    f"{self._tail(task)}"
                )
            if task["state"] in ("success", "skipped", *BAD_STATES) and event not in self.seen:
                self.seen.add(event)
                by = " (scheduled by Airflow itself)" if scheduled else ""
                self.say(f"{name}{by}: {task['state']}" + (f" in {task['duration']:.1f} s" if task["duration"] else ""))

    def _why_not(self, tasks: list[Task], dag_id: str, task_id: str) -> str:
        of_dag = [task for task in tasks if task["dag_id"] == dag_id]
        if not of_dag:
            return f"{dag_id} never ran; Airflow's last lines:\n{self.log()}"
        states = ", ".join(f"{task['task_id']} {task['state']}" for task in of_dag)
        return f"{dag_id}.{task_id} did not succeed ({states}); the end of a log:\n{self._tail(of_dag[0])}"

    def _check_alive(self) -> None:
        if not processes.alive(self.record):
            raise StackError(f"Airflow ended by itself; its last lines:\n{self.log()}")

    def until(self, limit_s: float, done: Callable[[], bool], what: str) -> None:
        """Waits for something to come true. Raises StackError at the time limit, or when Airflow ends by itself."""
        deadline = time.monotonic() + limit_s
        while not done():
            self._check_alive()
            if time.monotonic() > deadline:
                raise StackError(f"waited {limit_s:.0f} s for {what}; its last lines:\n{self.log()}")
            time.sleep(POLL_S)

    def log_of(self, task: Task) -> Path:
        """The log of a task's last try."""
        folder = self.home / "logs" / f"dag_id={task['dag_id']}" / f"run_id={task['dag_run_id']}"
        folder /= f"task_id={task['task_id']}"
        if task["map_index"] >= 0:
            folder /= f"map_index={task['map_index']}"
        return folder / f"attempt={max(task['try_number'], 1)}.log"

    def _tail(self, task: Task) -> str:
        """The end of a task's log: the messages of its JSON lines, and the exceptions."""
        lines = []
        for line in processes.tail(self.log_of(task)).splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                lines.append(line)
                continue
            lines.append(f"  {entry.get('event', '')}")
            lines += [f"  {fault['exc_type']}: {fault['exc_value']}" for fault in entry.get("error_detail") or []]
        return "\n".join(lines)


def _succeeded(tasks: list[Task]) -> Counter[tuple[str, str]]:
    return Counter((task["dag_id"], task["task_id"]) for task in tasks if task["state"] == "success")
