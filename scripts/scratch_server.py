"""A server of the tests that keeps all its files in one scratch folder. Knows no server; needs only Python.

It listens on 127.0.0.1 alone, on a free port, behind a random password, and outlives the terminal that started it.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from ports import free_ports

SERVICES = Path(__file__).resolve().parent.parent / "var" / "services"
_TRIES = 3  # another process may take the port between the probe and the server's start


class ScratchServer(ABC):
    """One server of a kind: what is the same of all kinds to start, find and stop it.

    name: as messages say it; in small letters that of its files under var/services. program: a word of its command.
    start_seconds: so long it may take until it answers.
    """

    name: ClassVar[str]
    program: ClassVar[str]
    start_seconds: ClassVar[int]

    def __init__(self) -> None:
        self.uri_file = SERVICES / f"{self.name.lower()}.uri"
        self.folder_file = SERVICES / f"{self.name.lower()}.folder"

    @abstractmethod
    def install(self) -> str:
        """The path of the server's program; installs Debian's package where root has none."""

    @abstractmethod
    def prepare(self, folder: Path, password: str) -> None:
        """Writes into the folder what the server needs before it starts on any port."""

    @abstractmethod
    def command(self, program: str, folder: Path, port: int, password: str) -> list[str]:
        """The command that starts the server, and what it needs of files for this port."""

    @abstractmethod
    def answers(self, folder: Path, port: int, password: str) -> bool:
        """Whether the server takes connections."""

    @abstractmethod
    def uri(self, port: int, password: str) -> str:
        """The address that tests use."""

    def folder(self) -> Path:
        """An empty folder for all files of the server."""
        return Path(tempfile.mkdtemp(prefix=f"{self.name.lower()}-", dir=SERVICES))

    def start(self) -> None:
        """Starts the server unless it runs; ends this process with a line where it does not start."""
        if self.uri_file.exists() and self.process() is not None:
            print(f"services: {self.name} already runs; its address is in {self.uri_file}")
            return
        self.stop()
        program = self.install()
        SERVICES.mkdir(parents=True, exist_ok=True)
        folder, password = self.folder(), secrets.token_hex(16)
        self.folder_file.write_text(str(folder))
        self.prepare(folder, password)
        for _ in range(_TRIES):
            (port,) = free_ports(1)
            with (folder / "log").open("ab") as log:
                # In a session of its own, so that it outlives the terminal and `make`, and with no pipe of ours.
                running = subprocess.Popen(
                    self.command(program, folder, port, password),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            (folder / "pid").write_text(str(running.pid))
            if self._waited_for(running, folder, port, password):
                break
        else:
            sys.exit(f"services: {self.name} did not start; its log is {folder / 'log'}")
        self.uri_file.touch(mode=0o600)
        self.uri_file.write_text(self.uri(port, password))
        print(f"services: {self.name} listens on 127.0.0.1:{port}; its address is in {self.uri_file}")

    def stop(self) -> None:
        """Ends the server, where one runs, and removes its files."""
        self.uri_file.unlink(missing_ok=True)
        if not self.folder_file.exists():
            return
        pid = self.process()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)  # there is nothing that it would have to save
        shutil.rmtree(Path(self.folder_file.read_text()), ignore_errors=True)
        self.folder_file.unlink()
        print(f"services: {self.name} stopped")

    def process(self) -> int | None:
        """The process that runs, or None."""
        with suppress(OSError, ValueError):
            pid = int((Path(self.folder_file.read_text()) / "pid").read_text())
            if self.program.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
        return None

    def _waited_for(self, running: subprocess.Popen[bytes], folder: Path, port: int, password: str) -> bool:
        """Waits for the server; False where it ended, which it does at once on a taken port."""
        deadline = time.monotonic() + self.start_seconds
        while time.monotonic() < deadline:
            if self.answers(folder, port, password):
                return True
            if running.poll() is not None:
                return False
            time.sleep(0.1)
        running.kill()
        return False
