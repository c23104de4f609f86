"""Keeps Airflow, MLflow's page and the ranking service running side by side, and ends them.

    python scripts/stack.py up [CONFIG] | down

CONFIG is the project's TOML file, by default the books example. Addresses and pids are in var/run/*.json,
logs in var/run/*.log. Airflow's API, MLflow and the service listen on 127.0.0.1 alone. The two servers through which
Airflow's own processes read each other's logs (`airflow serve-logs`) listen on every address, as Airflow has no setting
for that; they give a file only to who holds a token for it, signed with the secret key of this Airflow.
"""

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import airflow_stack
import httpx
import processes
from patience import STALLED_S, Patience
from ports import free_ports

from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError
from recsys_text.lake.store import Lake

BOOKS = processes.ROOT / "examples" / "books" / "recsys.toml"
BIN = Path(sys.executable).parent


def up(config: Path) -> None:
    if any(processes.alive(processes.recorded(name) or {"pid": -1}) for name in processes.names()):
        addresses()
        return
    settings = load(config)
    try:
        airflow_stack.Airflow(print).start(str(config.absolute()), [settings.project.name])
        mlflow(settings)
        service(config)
        answering("mlflow", "/health")
        answering("service", "/health")
    except BaseException:
        down()
        raise
    addresses()
    name = settings.project.name
    print(f"The DAGs of '{name}' are on. `make down` ends everything.")
    if not Lake(settings.lake).keys("events"):
        print(
            f"Nothing is in it yet: `make demo`, before `make up`, fills it; or trigger {name}_extract in Airflow "
            "with a span (from, to), and the other DAGs follow"
        )


def mlflow(settings: Settings) -> None:
    (port,) = free_ports(1)
    settings.project.root.mkdir(parents=True, exist_ok=True)
    # Without job execution the server starts faster, and nothing here uses it.
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [BIN / "mlflow", "server", "--backend-store-uri", settings.tracking_uri]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    processes.start("mlflow", command, env, address=f"http://127.0.0.1:{port}")


def service(config: Path) -> None:
    (port,) = free_ports(1)
    command = [BIN / "recsys-text", "serve", "--config", config, "--host", "127.0.0.1", "--port", str(port)]
    processes.start("service", command, os.environ, address=f"http://127.0.0.1:{port}")


def answering(name: str, path: str) -> None:
    """Waits until a process answers; raises StackError with the end of its log when it ends or stands still."""
    record = processes.recorded(name)
    assert record is not None
    log = Path(record["log"])
    patience = Patience(lambda: processes.tail(log))
    while processes.alive(record) and not patience.over():
        with suppress(httpx.HTTPError):
            httpx.get(record["address"] + path).raise_for_status()
            return
        time.sleep(0.5)
    what = f"says nothing for {STALLED_S / 60:.0f} min" if processes.alive(record) else "ended by itself"
    raise airflow_stack.StackError(f"{name} {what}, and does not answer:\n{processes.tail(log, lines=15)}")


def addresses() -> None:
    for name in processes.names():
        record = processes.recorded(name)
        if record is not None:
            state = "" if processes.alive(record) else f"  ended by itself, see {record['log']}"
            print(f"{name:8} {record['address']}{state}")


def down() -> None:
    for name in processes.names():
        if processes.end(name):
            print(f"{name} ended")


if __name__ == "__main__":
    verb, *rest = sys.argv[1:] or [""]
    if verb == "up" and len(rest) <= 1:
        try:
            up(Path(rest[0]) if rest else BOOKS)
        except (ConfigError, airflow_stack.StackError) as error:
            sys.exit(f"stack: {error}")
    elif verb == "down" and not rest:
        down()
    else:
        sys.exit("usage: stack.py up [CONFIG] | down")
