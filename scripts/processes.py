"""Starts long-running processes, remembers them in var/run, and ends them with all their children.

Each gets a session of its own: Airflow puts every task into a process group of its own, which ending
one group would leave behind. Knows nothing of what it runs.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / "var" / "run"
GRACE_S = 5

# The processes that this one started, so that it can collect them when they end.
_children: dict[int, subprocess.Popen[bytes]] = {}


def start(name: str, command: Sequence[str | Path], env: Mapping[str, str], **facts: Any) -> dict[str, Any]:
    """Starts `command` in the background, its output in var/run/<name>.log; returns what is remembered of it."""
    RUN.mkdir(parents=True, exist_ok=True)
    log = RUN / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[process.pid] = process
    started = psutil.Process(process.pid).create_time()
    record = {"pid": process.pid, "started": started, "log": str(log), **facts}
    _file(name).write_text(json.dumps(record, indent=2))
    return record


def recorded(name: str) -> dict[str, Any] | None:
    """What is remembered of a process, or None when it was ended or never started."""
    with suppress(FileNotFoundError):
        record: dict[str, Any] = json.loads(_file(name).read_text())
        return record
    return None


def names() -> list[str]:
    return sorted(path.stem for path in RUN.glob("*.json"))


def alive(record: Mapping[str, Any]) -> bool:
    """Whether the process itself still runs; a stranger with its old pid does not count."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(record["pid"])
        return process.create_time() == record["started"] and process.status() != psutil.STATUS_ZOMBIE
    return False


def end(name: str) -> bool:
    """Ends a process and everything in its session; returns whether anything was running."""
    record = recorded(name)
    if record is None:
        return False
    found = members = _session(record)
    _signal(members, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    while (members := _session(record)) and time.monotonic() < deadline:
        time.sleep(0.1)
    while members:
        _signal(members, signal.SIGKILL)
        time.sleep(0.1)
        members = _session(record)
    _file(name).unlink(missing_ok=True)
    return bool(found)


def tail(path: Path, lines: int = 30) -> str:
    with suppress(OSError):
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    return f"(no log at {path})"


def _session(record: Mapping[str, Any]) -> list[psutil.Process]:
    """The live processes of the session. Where its leader's pid went to a stranger, it has none."""
    leader = record["pid"]
    if leader in _children:
        _children[leader].poll()
    with suppress(psutil.NoSuchProcess):
        if psutil.Process(leader).create_time() != record["started"]:
            return []
    found = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _file(name: str) -> Path:
    return RUN / f"{name}.json"
