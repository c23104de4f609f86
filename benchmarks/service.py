"""What the ranking service answers in a second, and how long a ranking takes.

    python benchmarks/service.py [--users 20000] [--repeats 5] [--seconds 4] [--feast] [--store URL]

GET /users/{id}/items is asked by wrk (`apt-get install wrk`) for a thousand users in turn over 16 connections, in turn
with a bare endpoint of the same server that returns the bytes of one answer, so that the ratio is of the same machine
and moment; with --feast also `feast serve` with lists of ten in its own SQLite store (the extra [feast]). POST /rank is
asked over one connection: 200 candidates, half of them without a stored score, diversity on. The server and its client
share the machine. The store is a folder of its own, or with --store an empty Redis.
"""

import argparse
import http.client
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.quality_lib.report import machine
from benchmarks.service_lib.servers import (
    CANDIDATES,
    HOST,
    ITEMS,
    bare,
    feast_serving,
    item,
    ours,
    publish,
    running,
    user,
)

CONNECTIONS = 16
RANKS = 2000
GET_USERS = """
local n = 0
request = function()
  n = (n + 1) % 1000
  return wrk.format("GET", string.format("/users/user-%07d/items", n))
end
"""
FEAST_READ = """
local n = 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
request = function()
  n = (n + 1) % 1000
  return wrk.format("POST", "/get-online-features", nil, string.format(
    '{"features": ["user_scores:item_id", "user_scores:score"], "entities": {"user_id": ["user-%07d"]}}', n))
end
"""


def wrk(port: int, script: Path, seconds: int, connections: int = CONNECTIONS) -> float:
    """Requests per second; every answer must be a good one."""
    command = [
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout",
        "10s",
        "-s",
        str(script),
        f"http://{HOST}:{port}",
    ]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in printed or "Socket errors" in printed:
        sys.exit(printed)
    return float(re.findall(r"Requests/sec:\s+([\d.]+)", printed)[0])


def fetch(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection(HOST, port)
    connection.request("GET", path)
    return connection.getresponse().read()


def rank(port: int, users: int, **options: Any) -> tuple[float, float]:
    """Median and 99th percentile in ms of POST /rank over one connection."""
    draw = np.random.default_rng(3)
    connection = http.client.HTTPConnection(HOST, port)
    taken = []
    for number in range(RANKS + 50):
        who = user(int(draw.integers(users)))
        candidates = [item(n) for n in draw.choice(ITEMS, CANDIDATES, replace=False).tolist()]
        body = json.dumps({"user_id": who, "candidates": candidates, **options})
        start = time.perf_counter()
        connection.request("POST", "/rank", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        if number >= 50:  # the first ones warm it up
            taken.append(time.perf_counter() - start)
        if answer.status != 200 or len(json.loads(content)["items"]) != CANDIDATES:
            sys.exit(f"POST /rank answered {answer.status}: {content[:200]!r}")
    return float(np.percentile(taken, 50)) * 1e3, float(np.percentile(taken, 99)) * 1e3


def spread(values: list[float]) -> str:
    """Median, lowest and highest."""
    return f"{statistics.median(values):,.2f} [{min(values):,.2f}, {max(values):,.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--feast", action="store_true")
    parser.add_argument("--store", metavar="URL")
    arguments = parser.parse_args()
    console = Console(width=120)
    if shutil.which("wrk") is None:
        sys.exit("wrk is not here; `apt-get install wrk`")
    folder = Path(tempfile.mkdtemp(prefix="service-benchmark-"))
    get, read = folder / "get.lua", folder / "feast.lua"
    get.write_text(GET_USERS)
    read.write_text(FEAST_READ)
    try:
        store = arguments.store or f"file:{folder / 'store'}"
        publish(store, arguments.users)
        with running(ours, store) as port:
            body = fetch(port, f"/users/{user(1)}/items")
            with running(bare, body) as empty:
                rates: dict[str, list[float]] = {"ours": [], "bare": []}
                for _ in range(arguments.repeats):
                    rates["ours"].append(wrk(port, get, arguments.seconds))
                    rates["bare"].append(wrk(empty, get, arguments.seconds))
            ratios = [mine / other for mine, other in zip(rates["ours"], rates["bare"], strict=True)]
            console.print(f"GET /users/ID/items, {len(body)} bytes, {CONNECTIONS} connections, one worker:")
            console.print(f"  requests/s {spread(rates['ours'])}; a bare endpoint {spread(rates['bare'])}")
            console.print(f"  of a bare endpoint's: {spread(ratios)}")
            for name, options in (
                ("", {}),
                (", diversity 0.3", {"diversity": 0.3}),
                (", explained", {"explain": True}),
            ):
                p50, p99 = rank(port, arguments.users, **options)
                console.print(
                    f"POST /rank, {CANDIDATES} candidates{name}, one connection: p50 {p50:.2f} ms, p99 {p99:.2f} ms"
                )
            if arguments.feast:
                with feast_serving(folder / "feast", 1000) as feast:
                    wrk(feast, read, arguments.seconds)  # its first answers take long
                    theirs = [wrk(feast, read, arguments.seconds) for _ in range(arguments.repeats)]
                    console.print(
                        f"Feast serve, requests/s {spread(theirs)}; ours in the same run {spread(rates['ours'])}"
                    )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    console.print(machine(), soft_wrap=True)


if __name__ == "__main__":
    main()
