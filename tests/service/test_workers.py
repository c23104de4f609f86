"""Several worker processes on one socket: what they share, who replaces them, how they all stop."""

import signal
from contextlib import suppress

import httpx
import psutil
import pytest

from recsys_text.service.server import listen
from tests.service.conftest import process, wait_for


@pytest.fixture
def two(publish_all, toml):
    """A service with two workers: the supervisor, its address and the processes of the workers."""
    publish_all()
    with process(toml, RECSYS_TEXT_SERVICE__WORKERS="2") as (server, url):
        supervisor = psutil.Process(server.pid)
        wait_for(lambda: len(workers(supervisor)) == 2)
        started = workers(supervisor)
        try:
            yield server, url, started
        finally:
            for worker in [*started, *workers(supervisor)] if server.poll() is None else started:
                with suppress(psutil.NoSuchProcess):
                    worker.kill()


def workers(supervisor: psutil.Process) -> list[psutil.Process]:
    """Those that hold the listening socket, and so not the one that tracks what multiprocessing shares."""
    found = []
    for child in supervisor.children():
        with suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def ask(url: str, timeout: float = 20) -> int:
    # A connection of its own: the workers take turns, as the system likes.
    return httpx.get(f"{url}/users/ann/items", timeout=timeout).status_code


def answered(url: str) -> float:
    text = httpx.get(f"{url}/metrics", timeout=20).text
    start = 'recsys_text_request_seconds_count{route="/users/{user_id}/items",status="200"} '
    return sum(float(line.removeprefix(start)) for line in text.splitlines() if line.startswith(start))


def test_metrics_are_those_of_all_workers(two):
    _, url, _ = two
    for _ in range(40):
        assert ask(url) == 200
    # Whichever worker is asked, it counts what both of them answered; an answer is counted once it has left.
    wait_for(lambda: answered(url) == 40)
    assert [answered(url) for _ in range(10)] == [40.0] * 10
    text = httpx.get(f"{url}/metrics", timeout=20).text
    assert 'recsys_text_scores_info{version="v1"} 1.0' in text


def test_a_worker_that_dies_is_replaced(two):
    server, url, (dead, other) = two
    dead.kill()
    supervisor = psutil.Process(server.pid)
    wait_for(lambda: len(set(workers(supervisor)) - {dead}) == 2)
    (new,) = set(workers(supervisor)) - {dead, other}
    # The new one alone can answer now, and needs a while to start.
    other.suspend()
    try:
        assert ask(url, timeout=120) == 200
    finally:
        other.resume()
    assert new.is_running()
    assert not dead.is_running()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_all_gracefully(two, stop):
    server, url, started = two
    assert ask(url) == 200
    server.send_signal(stop)
    _, said = server.communicate(timeout=30)
    assert server.returncode == 0
    assert "Traceback" not in said
    assert not any(worker.is_running() for worker in started)
    listen("127.0.0.1", int(url.rsplit(":", 1)[-1])).close()


def test_workers_end_with_a_supervisor_that_is_killed(two):
    server, url, started = two
    server.kill()
    server.wait(timeout=20)
    _, alive = psutil.wait_procs(started, timeout=30)
    assert alive == []
    listen("127.0.0.1", int(url.rsplit(":", 1)[-1])).close()
