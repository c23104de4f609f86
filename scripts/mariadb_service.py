"""The MariaDB that tests talk to. Knows nothing of the package; needs only Python."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from packages import install
from scratch_server import ScratchServer

USER = "recsys"


class MariaDB(ScratchServer):
    """A MariaDB with one user and one database."""

    name = "MariaDB"
    program = "mariadbd"
    start_seconds = 60

    def install(self) -> str:
        if _found() is None:
            install("mariadb-server")
        return _found() or sys.exit("services: no MariaDB found; install it with `apt-get install mariadb-server`")

    def folder(self) -> Path:
        # In the temporary folder, as the path of a socket may have no more than 107 letters.
        return Path(tempfile.mkdtemp(prefix="recsys-text-mariadb-"))

    def prepare(self, folder: Path, password: str) -> None:
        """Writes the server's own tables, and what it does first: the user and the database of the tests."""
        done = subprocess.run(
            ["mariadb-install-db", "--no-defaults", *_as_user(), f"--datadir={folder / 'data'}", "--skip-test-db"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"services: mariadb-install-db failed: {(done.stderr or done.stdout).strip()}")
        first = folder / "init.sql"
        first.touch(mode=0o600)
        first.write_text(
            f"CREATE DATABASE IF NOT EXISTS recsys CHARACTER SET utf8mb4;\n"
            f"CREATE OR REPLACE USER '{USER}'@'%' IDENTIFIED BY '{password}';\n"
            f"GRANT ALL ON *.* TO '{USER}'@'%';\n"
        )

    def command(self, program: str, folder: Path, port: int, password: str) -> list[str]:
        """Starts with none of the machine's own settings, little memory and no safety of the disk."""
        return [
            program,
            "--no-defaults",
            *_as_user(),
            f"--datadir={folder / 'data'}",
            f"--socket={folder / 'socket'}",
            f"--pid-file={folder / 'server.pid'}",
            "--bind-address=127.0.0.1",
            "--innodb-buffer-pool-size=32M",
            "--innodb-flush-log-at-trx-commit=0",
            "--performance-schema=OFF",
            f"--port={port}",
            f"--init-file={folder / 'init.sql'}",
        ]

    def answers(self, folder: Path, port: int, password: str) -> bool:
        """It writes its process after its first statements, once it takes connections."""
        log = (folder / "log").read_text(errors="replace")
        return (folder / "server.pid").exists() and "ready for connections" in log

    def uri(self, port: int, password: str) -> str:
        return f"mysql+pymysql://{USER}:{password}@127.0.0.1:{port}/recsys"


def _found() -> str | None:
    return shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/libexec")


def _as_user() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []
