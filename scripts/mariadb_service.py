"""The MariaDB that tests talk to: starts and stops it. Knows nothing of the package; needs only Python.

It keeps all its files in one scratch folder and listens on 127.0.0.1 alone, on a free port, behind a random password.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from packages import install
from ports import free_ports

SERVICES = Path(__file__).resolve().parent.parent / "var" / "services"
URI_FILE = SERVICES / "mariadb.uri"
FOLDER_FILE = SERVICES / "mariadb.folder"
USER = "recsys"
START_SECONDS = 60


def server() -> str:
    """The server's program; installs Debian's package where root has none."""
    if found() is None:
        install("mariadb-server")
    return found() or sys.exit("services: no MariaDB found; install it with `apt-get install mariadb-server`")


def found() -> str | None:
    return shutil.which("mariadbd") or shutil.which("mariadbd", path="/usr/sbin:/usr/libexec")


def process() -> int | None:
    """The process that runs, or None."""
    with suppress(OSError, ValueError):
        pid = int((Path(FOLDER_FILE.read_text()) / "pid").read_text())
        if b"mariadbd" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return None


def start() -> None:
    if URI_FILE.exists() and process() is not None:
        print(f"services: MariaDB already runs; its address is in {URI_FILE}")
        return
    stop()
    program = server()
    SERVICES.mkdir(parents=True, exist_ok=True)
    # In the temporary folder, as the path of a socket may have no more than 107 letters.
    folder = Path(tempfile.mkdtemp(prefix="recsys-text-mariadb-"))
    FOLDER_FILE.write_text(str(folder))
    password = secrets.token_hex(16)
    prepare(folder, password)
    for _ in range(3):  # another process may take the port between the probe and the server's start
        (port,) = free_ports(1)
        with (folder / "log").open("ab") as log:
            # In a session of its own, so that it outlives the terminal and `make`, and with no pipe of ours.
            running = subprocess.Popen(
                [program, *options(folder), f"--port={port}", f"--init-file={folder / 'init.sql'}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if answers(running, folder):
            break
    else:
        sys.exit(f"services: MariaDB did not start; its log is {folder / 'log'}")
    (folder / "pid").write_text(str(running.pid))
    URI_FILE.touch(mode=0o600)
    URI_FILE.write_text(f"mysql+pymysql://{USER}:{password}@127.0.0.1:{port}/recsys")
    print(f"services: MariaDB listens on 127.0.0.1:{port}; its address is in {URI_FILE}")


def options(folder: Path) -> list[str]:
    """What the server starts with: none of the machine's own settings, little memory and no safety of the disk."""
    user = ["--user=root"] if os.geteuid() == 0 else []
    return [
        "--no-defaults",
        *user,
        f"--datadir={folder / 'data'}",
        f"--socket={folder / 'socket'}",
        f"--pid-file={folder / 'server.pid'}",
        "--bind-address=127.0.0.1",
        "--innodb-buffer-pool-size=32M",
        "--innodb-flush-log-at-trx-commit=0",
        "--performance-schema=OFF",
    ]


def prepare(folder: Path, password: str) -> None:
    """Writes the server's own tables, and what it does first: the user and the database of the tests."""
    user = ["--user=root"] if os.geteuid() == 0 else []
    done = subprocess.run(
        ["mariadb-install-db", "--no-defaults", *user, f"--datadir={folder / 'data'}", "--skip-test-db"],
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


def answers(running: subprocess.Popen[bytes], folder: Path) -> bool:
    """Waits for the server; False where it ended, which it does at once on a taken port."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        # It writes its process after its first statements, once it takes connections.
        if (folder / "server.pid").exists() and "ready for connections" in (folder / "log").read_text(errors="replace"):
            return True
        if running.poll() is not None:
            return False
        time.sleep(0.1)
    running.kill()
    return False


def stop() -> None:
    URI_FILE.unlink(missing_ok=True)
    if not FOLDER_FILE.exists():
        return
    pid = process()
    if pid is not None:
        os.kill(pid, signal.SIGKILL)  # there's nothing that it would have to save
    shutil.rmtree(Path(FOLDER_FILE.read_text()), ignore_errors=True)
    FOLDER_FILE.unlink()
    print("services: MariaDB stopped")
