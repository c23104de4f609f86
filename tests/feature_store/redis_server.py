"""A Redis of a test's own, which it may kill, start again or configure."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class RedisServer:
    """A server in `folder` on a port of 127.0.0.1 that stays the same when it's started again; empty then."""

    def __init__(self, folder: Path, *options: str, scheme: str = "redis", query: str = "") -> None:
        if shutil.which("redis-server") is None:
            pytest.skip("redis-server isn't installed; `make services` installs it")
        self.password = secrets.token_hex(8)
        self.port = free_port()
        self.scheme, self.query = scheme, query
        self._folder = folder
        port = f"port {self.port}" if scheme == "redis" else f"port 0\ntls-port {self.port}"
        lines = (port, "bind 127.0.0.1", f"requirepass {self.password}", 'save ""', f'dir "{folder}"', *options)
        (folder / "redis.conf").write_text("\n".join(lines) + "\n")
        self.start()

    @property
    def url(self) -> str:
        return self.url_as("default", self.password)

    def url_as(self, user: str, password: str, query: str = "") -> str:
        options = "&".join(filter(None, (self.query, query)))
        return f"{self.scheme}://{user}:{password}@127.0.0.1:{self.port}/0?{options}"

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["redis-server", str(self._folder / "redis.conf")], stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        while self.command("ping") != "PONG":
            assert self._process.poll() is None, (self._folder / "log").read_text()
            time.sleep(0.01)

    def follow(self, primary: "RedisServer") -> None:
        """Becomes a replica; returns once it has all that the primary has now."""
        self.command("config", "set", "masterauth", primary.password)
        self.command("replicaof", "127.0.0.1", str(primary.port))
        self.catch_up(primary)

    def catch_up(self, primary: "RedisServer") -> None:
        """Waits until this replica has all that its primary has now."""
        there = int(primary.replication()["master_repl_offset"])
        while True:
            state = self.replication()
            if state["master_link_status"] == "up" and int(state["slave_repl_offset"]) >= there:
                return
            time.sleep(0.01)

    def promote(self) -> None:
        self.command("replicaof", "no", "one")

    def replication(self) -> dict[str, str]:
        lines = self.command("info", "replication").splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def freeze(self) -> None:
        """From now on it takes connections and answers nothing, until `thaw`."""
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def command(self, *words: str) -> str:
        tls = ["--tls", "--insecure"] if self.scheme == "rediss" else []
        environment = {**os.environ, "REDISCLI_AUTH": self.password}
        done = subprocess.run(
            ["redis-cli", "-p", str(self.port), *tls, *words],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout.strip()
