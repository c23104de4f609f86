"""Ending a process ends its whole session, whatever groups its children made, and never a stranger."""

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest

# A child in a process group of its own, as Airflow gives to each task; it ignores the polite signal.
PARENT = """
import subprocess, sys, time
child = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
running = subprocess.Popen([sys.executable, "-c", child], process_group=0, stdout=subprocess.PIPE)
running.stdout.readline()
open(sys.argv[1], "w").write(str(running.pid))
time.sleep(60)
"""


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "scripts")
    module = importlib.import_module("processes")
    monkeypatch.setattr(module, "RUN", tmp_path / "run")
    monkeypatch.setattr(module, "GRACE_S", 0.5)
    yield module
    for name in module.names():
        module.end(name)


def test_end_takes_the_children_along(processes: ModuleType, tmp_path: Path) -> None:
    told = tmp_path / "child"
    record = processes.start("one", [sys.executable, "-c", PARENT, told], os.environ, address="here")
    deadline = time.monotonic() + 30
    while not (told.exists() and told.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    child = psutil.Process(int(told.read_text()))
    assert processes.alive(record)
    assert processes.recorded("one")["address"] == "here"
    assert processes.end("one")
    assert not processes.alive(record)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert processes.recorded("one") is None
    assert not processes.end("one")


def test_a_stranger_with_the_pid_is_left_alone(processes: ModuleType) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        processes.RUN.mkdir()
        (processes.RUN / "old.json").write_text(f'{{"pid": {stranger.pid}, "started": 1.0, "log": ""}}')
        assert not processes.alive(processes.recorded("old"))
        assert not processes.end("old")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
