"""Publishes versions in processes that die: run as a script, it forks one publisher per line of its input.

A line is JSON: root, version, value, and `die_at`, the number of the system call that changes a file
before which the publisher kills itself, or null. It answers with the publisher's process id, and
once that has ended with how many such calls it came to, or -1 if it was killed. The publisher of another
backend says what it counts.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from feature_store import LocalStore, Store

CALLS = ("write", "fsync", "rename", "replace", "unlink", "mkdir", "rmdir")
PARTS = ("p", "q", "r")
Publish = Callable[[str, str, int], None]
KEYS = [f"k{number}" for number in range(30)]


def publish(root: str, version: str, value: int) -> None:
    """Publishes to the local store in `root`."""
    publish_to(LocalStore(root, follow_seconds=0), version, value)


def publish_to(store: Store, version: str, value: int) -> None:
    """What a night's publish does, begun again as often as it takes."""
    if store.current("view") != version:
        stage = store.begin("view", version)
        for number, part in enumerate(PARTS):
            keys = KEYS[number :: len(PARTS)]
            with stage.writer(part) as writer:
                writer.write(pa.record_batch({"key": keys, "value": [value] * len(keys)}))
        store.commit("view", version, expect_parts=PARTS, metadata={})
    store.prune("view", 2)


def count_calls(before: Callable[[int], None]) -> Callable[[], int]:
    """Calls `before` with a running number ahead of each call of the kinds in CALLS; returns the count so far."""
    count = 0

    def counted(call: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            before(count)
            return call(*args, **kwargs)

        return wrapper

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    return lambda: count


def die(order: dict[str, Any]) -> Callable[[int], None]:
    return lambda number: os.kill(os.getpid(), signal.SIGKILL) if number == order["die_at"] else None


def answer(value: object) -> None:
    sys.stdout.write(f"{value}\n")
    sys.stdout.flush()


def fork_publishers(publish: Publish, count_calls: Callable[[Callable[[int], None]], Callable[[], int]]) -> None:
    """Answers the lines of the input, each with a fork that publishes."""
    write = os.write
    # Arrow sets itself up at first use; done once here, it isn't done again in each fork.
    with tempfile.TemporaryDirectory() as root:
        publish_to(LocalStore(root), "warm", 0)
    for line in sys.stdin:
        order = json.loads(line)
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            count = count_calls(die(order))
            publish(order["root"], order["version"], order["value"])
            write(write_end, str(count()).encode())
            os._exit(0)
        os.close(write_end)
        answer(child)
        with os.fdopen(read_end) as came_to:
            answer(came_to.read() or -1)
        os.waitpid(child, 0)


@contextmanager
def publishers(module: str) -> Iterator[subprocess.Popen[str]]:
    """The process that forks publishers, running the named module."""
    with subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def run_publisher(
    forks: subprocess.Popen[str],
    root: Path | str,
    value: int,
    *,
    die_at: int | None = None,
    kill_after: float | None = None,
) -> int:
    """Publishes version v<value> in a process of its own; the calls that it came to, -1 if it was killed."""
    assert forks.stdin is not None
    assert forks.stdout is not None
    order = {"root": str(root), "version": f"v{value}", "value": value, "die_at": die_at}
    forks.stdin.write(json.dumps(order) + "\n")
    forks.stdin.flush()
    child = int(forks.stdout.readline())
    if kill_after is not None:
        time.sleep(kill_after)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    return int(forks.stdout.readline())


if __name__ == "__main__":
    fork_publishers(publish, count_calls)
