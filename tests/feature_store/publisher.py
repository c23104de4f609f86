"""Publishes versions in processes that die: run as a script, it forks one publisher per line of its input.

A line is JSON: root, version, value, and `die_at`, the number of the system call that changes a file
before which the publisher kills itself, or null. It answers with the publisher's process id, and
once that has ended with how many such calls it came to, or -1 if it was killed.
"""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from feature_store import LocalStore

CALLS = ("write", "fsync", "rename", "replace", "unlink", "mkdir", "rmdir")
PARTS = ("p", "q", "r")
KEYS = [f"k{number}" for number in range(30)]


def publish(root: str, version: str, value: int) -> None:
    """What a night's publish does, begun again as often as it takes."""
    store = LocalStore(root, follow_seconds=0)
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


def main() -> None:
    write = os.write
    # Arrow sets itself up at first use; done once here, it isn't done again in each fork.
    with tempfile.TemporaryDirectory() as root:
        publish(root, "warm", 0)
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


if __name__ == "__main__":
    main()
