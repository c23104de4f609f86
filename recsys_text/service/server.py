"""The ranking service as processes: their socket, their workers and how they stop. Knows no route."""

import contextlib
import functools
import gc
import logging
import os
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from multiprocessing import parent_process
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from recsys_text.config import Settings
from recsys_text.errors import ConfigError
from recsys_text.sections import Service
from recsys_text.service.app import create_app
from recsys_text.service.metrics import MULTIPROCESS_VARIABLE

TOKEN_VARIABLE = "RECSYS_TEXT_TOKEN"  # noqa: S105 - the name of the variable, not a token

_LOOPBACK = "127.0.0.1"
_BACKLOG = 2048
# A client that never reads its answer does not hold up the stop for longer.
_STOP_SECONDS = 5
# A worker that the machine gives no time for a while is not dead.
_SILENT_SECONDS = 60


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or Ctrl-C, and then finishes the requests that have begun.

    Listens on `service.host` and `service.port` (0: any free port) and logs the address; `service.workers`
    processes share the socket. Raises ConfigError where the host is not 127.0.0.1 and the environment gives no
    token, and where the address cannot be listened on.
    """
    service = settings.service
    token = os.environ.get(TOKEN_VARIABLE, "").strip() or None
    if service.host != _LOOPBACK and token is None:
        raise ConfigError(
            f"service.host '{service.host}' opens the service to other machines: "
            f"set a token in the environment variable {TOKEN_VARIABLE}, or listen on {_LOOPBACK}"
        )
    make = functools.partial(
        start_app, settings.store_url, service, token=token, root=settings.project.root, supervised=service.workers > 1
    )
    # Requests are counted in the metrics; a line for each would name users and cost more than the lookup.
    config = uvicorn.Config(
        make,
        factory=True,
        access_log=False,
        workers=service.workers,
        timeout_keep_alive=service.timeout_keep_alive,
        timeout_graceful_shutdown=_STOP_SECONDS,
        timeout_worker_healthcheck=_SILENT_SECONDS,
    )
    with listen(service.host, service.port) as listener:
        address = f"[{service.host}]" if ":" in service.host else service.host
        logging.getLogger("uvicorn.error").info(
            "Ranking service on http://%s:%d (Ctrl-C stops it)", address, listener.getsockname()[1]
        )
        if service.workers > 1:
            with _metrics_of_all(settings.project.root / "metrics"):
                Multiprocess(config, sockets=[listener]).run()
            return
        # After its graceful stop uvicorn raises what stopped it once more.
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError where the address is taken, unknown or not allowed."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"cannot listen on {host}:{port}: {reason}; set another service.host or service.port"
        ) from None


@contextlib.contextmanager
def _metrics_of_all(root: Path) -> Iterator[None]:
    """The folder in which the workers' counters meet, fresh for each start.

    It lies with the project: what cleans the machine's folder of temporary files would take the counters of a service
    that runs for weeks. Where it cannot be made, each worker counts for itself: metrics are no reason not to serve.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(root)
        folder = tempfile.mkdtemp(prefix=f"service-{os.getpid()}-", dir=root)
    except OSError as error:
        logging.getLogger("uvicorn.error").warning(
            "cannot keep metrics in %s (%s): /metrics tells of one worker each time", root, error.strerror
        )
        yield
        return
    os.environ[MULTIPROCESS_VARIABLE] = folder
    try:
        yield
    finally:
        del os.environ[MULTIPROCESS_VARIABLE]
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(root: Path) -> None:
    """Removes the folders of services that were killed."""
    for folder in root.glob("service-*-*"):
        with contextlib.suppress(ValueError, PermissionError):
            try:
                os.kill(int(folder.name.split("-")[1]), 0)
            except ProcessLookupError:
                shutil.rmtree(folder, ignore_errors=True)


def start_app(
    store_url: str, settings: Service, *, token: str | None = None, root: Path = Path(), supervised: bool = False
) -> FastAPI:
    """`create_app` in a process that does nothing else; a supervised one stops when its supervisor is gone."""
    if supervised:
        _stop_with_supervisor()
    app = create_app(store_url, settings, token=token, root=root)
    # Else the garbage collector goes through all that was imported several times a second under load, and every
    # request waits tens of milliseconds for it.
    gc.collect()
    gc.freeze()
    return app


def _stop_with_supervisor() -> None:
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
