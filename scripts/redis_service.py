"""The Redis that tests talk to: starts and stops it. Knows nothing of the package; needs only Python.

It keeps nothing on disk, listens on 127.0.0.1 alone, on a free port, behind a random password.
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
URI_FILE = SERVICES / "redis.uri"
FOLDER_FILE = SERVICES / "redis.folder"
START_SECONDS = 30


def server() -> str:
    """The server's program; installs Debian's package where root has none."""
    if shutil.which("redis-server") is None:
        install("redis-server")
    return shutil.which("redis-server") or sys.exit(
        "services: no Redis found; install it with `apt-get install redis-server`"
    )


def process() -> int | None:
    """The process that runs, or None."""
    with suppress(OSError, ValueError):
        pid = int((Path(FOLDER_FILE.read_text()) / "pid").read_text())
        if b"redis-server" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    return None


def start() -> None:
    if URI_FILE.exists() and process() is not None:
        print(f"services: Redis already runs; its address is in {URI_FILE}")
        return
    stop()
    program = server()
    SERVICES.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="redis-", dir=SERVICES))
    FOLDER_FILE.write_text(str(folder))
    password = secrets.token_hex(16)
    for _ in range(3):  # another process may take the port between the probe and the server's start
        (port,) = free_ports(1)
        configure(folder, port, password)
        command = [program, str(folder / "redis.conf")]
        # In a session of its own, so that it outlives the terminal and `make`, and with no pipe of ours.
        nothing = subprocess.DEVNULL
        running = subprocess.Popen(command, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True)
        (folder / "pid").write_text(str(running.pid))
        if answers(running, port, password):
            break
    else:
        sys.exit(f"services: Redis did not start; its log is {folder / 'log'}")
    URI_FILE.touch(mode=0o600)
    URI_FILE.write_text(f"redis://:{password}@127.0.0.1:{port}/0")
    print(f"services: Redis listens on 127.0.0.1:{port}; its address is in {URI_FILE}")


def configure(folder: Path, port: int, password: str) -> None:
    # In a file, as the words of a command line are seen by everybody on the machine.
    config = folder / "redis.conf"
    config.touch(mode=0o600)
    config.write_text(
        f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\nappendonly no\n'
        f'dir "{folder}"\nlogfile "{folder / "log"}"\n'
    )


def answers(running: subprocess.Popen[bytes], port: int, password: str) -> bool:
    """Waits for the server; False where it ended, which it does at once on a taken port."""
    ask = ["redis-cli", "-p", str(port), "ping"]
    environment = {**os.environ, "REDISCLI_AUTH": password}
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        done = subprocess.run(ask, env=environment, capture_output=True, text=True, check=False)
        if done.stdout.strip() == "PONG":
            return True
        if running.poll() is not None:
            return False
        time.sleep(0.1)
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
    print("services: Redis stopped")
