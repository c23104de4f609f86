"""An Airflow that shows a small project, for tests of its page."""

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.provider.conftest import environment, run_python
from tests.provider.shop import make_shop
from tests.provider.test_installed import CONFIGURED


@dataclass(frozen=True, kw_only=True)
class Server:
    """Airflow's API server, without a scheduler: what is started stays queued. `command` runs one of its commands."""

    url: str
    passwords: dict[str, str]
    command: Callable[..., str]

    def token(self, user: str) -> str:
        answer = httpx.post(
            f"{self.url}/auth/token", json={"username": user, "password": self.passwords[user]}, timeout=60
        )
        return str(answer.raise_for_status().json()["access_token"])

    def get(self, path: str, **query: Any) -> Any:
        """What Airflow's own API answers an admin."""
        headers = {"Authorization": f"Bearer {self.token('admin')}"}
        return (
            httpx.get(f"{self.url}/api/v2/{path}", params=query, headers=headers, timeout=60).raise_for_status().json()
        )

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """The runs of a DAG, the newest first."""
        found: list[dict[str, Any]] = self.get(f"dags/{dag_id}/dagRuns", order_by="-id")["dag_runs"]
        return found


@contextmanager
def running(python: Path, home: Path) -> Iterator[Server]:
    """The server over two projects, of one of which nothing is there yet, and a config that is missing."""
    (home / "elsewhere").mkdir()
    config, other = home / "recsys.toml", home / "elsewhere" / "bare.toml"
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    more = {
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin,viewer:viewer",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": CONFIGURED,
        "RECSYS_TEXT_CONFIGS": f"{config}:{other}:{home / 'gone.toml'}",
    }
    with ThreadPoolExecutor() as beside:
        migrated = beside.submit(run_python, python, home, "-m", "airflow", "db", "migrate", **more)
        assert make_shop(home) == config
        migrated.result()
    other.write_text(config.read_text().replace('"small"', '"bare"'))  # nothing of it is anywhere yet
    command = partial(run_python, python, home, "-m", "airflow", **more)
    command("dags", "reserialize")
    with (home / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [python, "-m", "airflow", "api-server", "--workers", "1"],
            env=environment(home, **more),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _until_it_answers(process, url, home / "api.log")
        passwords = json.loads((home / "simple_auth_manager_passwords.json.generated").read_text())
        yield Server(url=url, passwords=passwords, command=command)
    finally:
        process.kill()
        process.wait()


def _until_it_answers(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    for _ in range(1200):
        assert process.poll() is None, log.read_text()
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/api/v2/version", timeout=30).is_success:
                return
        time.sleep(0.1)
    pytest.fail(f"Airflow does not answer:\n{log.read_text()}")
