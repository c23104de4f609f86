"""Starts and stops the real services that tests talk to: PostgreSQL, here, Redis and MariaDB. Needs only Python.

    python scripts/services.py start | stop | env

`start` writes the addresses into var/services/postgres.uri, redis.uri and mariadb.uri, which the tests read; `env`
prints them as shell exports. The server keeps all its files in one scratch folder and listens on 127.0.0.1 alone, on
a free port, behind a random password.
"""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from mariadb_service import MariaDB
from packages import install
from ports import free_ports
from redis_service import Redis
from scratch_server import SERVICES

URI_FILE = SERVICES / "postgres.uri"
FOLDER_FILE = SERVICES / "postgres.folder"
USER = "postgres"
redis, mariadb = Redis(), MariaDB()
# A test server may lose its data when the machine does: without fsync it is several times faster.
SERVER_OPTIONS = "-c fsync=off -c full_page_writes=off -c listen_addresses=127.0.0.1 -c unix_socket_directories="


def binaries() -> Path:
    """The newest PostgreSQL's folder of programs; installs Debian's package where root has none."""
    for attempt in (1, 2):
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: float(path.parts[-3]))
        if found:
            return found[-1].parent
        on_path = shutil.which("pg_ctl")
        if on_path and shutil.which("initdb"):
            return Path(on_path).resolve().parent
        if attempt == 1:
            install("postgresql")
    sys.exit("services: no PostgreSQL found; install it with `apt-get install postgresql`")


def as_server(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a command as the user the server runs as: PostgreSQL refuses root."""
    words = [str(word) for word in command]
    if os.geteuid() == 0:
        words = ["runuser", "-u", USER, "--", *words]
    # pg_ctl's server inherits the pipes and would keep them open, so its output goes to a file.
    with tempfile.TemporaryFile("w+") as output:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", check=False)
        output.seek(0)
        return subprocess.CompletedProcess(words, done.returncode, output.read())


def must(*command: str | Path) -> None:
    done = as_server(*command)
    if done.returncode:
        sys.exit(f"services: {command[0]} failed: {done.stdout.strip()}")


def scratch_folder() -> Path:
    """An empty folder that the server's user can reach: under var/services, else in the temporary folder."""
    SERVICES.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir=SERVICES))
    if os.geteuid() == 0:
        shutil.chown(folder, USER)
        if as_server("test", "-w", folder).returncode:
            folder.rmdir()
            folder = Path(tempfile.mkdtemp(prefix="recsys-text-postgres-"))
            shutil.chown(folder, USER)
    return folder


def running() -> bool:
    if not (URI_FILE.exists() and FOLDER_FILE.exists()):
        return False
    return as_server(binaries() / "pg_ctl", "-D", Path(FOLDER_FILE.read_text()) / "data", "status").returncode == 0


def start() -> None:
    if running():
        print(f"services: PostgreSQL already runs; its address is in {URI_FILE}")
        return
    stop()
    programs = binaries()
    folder = scratch_folder()
    FOLDER_FILE.write_text(str(folder))
    password = secrets.token_hex(16)
    password_file = folder / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(password)
    if os.geteuid() == 0:
        shutil.chown(password_file, USER)
    data = folder / "data"
    must(programs / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", f"--pwfile={password_file}", "-E", "UTF8")
    for _ in range(3):  # another process may take the port between the probe and the server's start
        (port,) = free_ports(1)
        options = f"{SERVER_OPTIONS} -p {port}"
        done = as_server(programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
        if done.returncode == 0:
            break
    else:
        sys.exit(f"services: PostgreSQL did not start: {done.stdout.strip()}; its log is {folder / 'log'}")
    URI_FILE.touch(mode=0o600)
    URI_FILE.write_text(f"postgresql://{USER}:{password}@127.0.0.1:{port}/postgres")
    print(f"services: PostgreSQL listens on 127.0.0.1:{port}; its address is in {URI_FILE}")


def stop() -> None:
    URI_FILE.unlink(missing_ok=True)
    if not FOLDER_FILE.exists():
        return
    folder = Path(FOLDER_FILE.read_text())
    if (folder / "data").exists():
        as_server(binaries() / "pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")
    shutil.rmtree(folder, ignore_errors=True)
    FOLDER_FILE.unlink()
    print("services: PostgreSQL stopped")


def env() -> None:
    files = {"POSTGRES": URI_FILE, "REDIS": redis.uri_file, "MARIADB": mariadb.uri_file}
    if not all(file.exists() for file in files.values()):
        sys.exit("services: nothing runs; call `start` first")
    for name, file in files.items():
        print(f"export RECSYS_TEXT_{name}_URI='{file.read_text()}'")


if __name__ == "__main__":
    verbs = {
        "start": (start, redis.start, mariadb.start),
        "stop": (stop, redis.stop, mariadb.stop),
        "env": (env,),
    }
    if len(sys.argv) != 2 or sys.argv[1] not in verbs:
        sys.exit("usage: services.py start | stop | env")
    for act in verbs[sys.argv[1]]:
        act()
