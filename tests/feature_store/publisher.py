"""Publishes versions in processes that die: run as a script, it forks one publisher per line of its input.

A line is JSON: root, version, value, `min_ratio`, the least share of the served keys or null, and `die_at`, the number
of the system call that opens or changes a file before which the publisher kills itself, or null. It answers with the
publisher's process id, and once that has ended with how many such calls it came to, -1 if it was killed or -2 if the
store refused. The publisher of another backend says what it counts.
"""

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from feature_store import Checks, LocalStore, Store, StoreError

CALLS = ("open", "write", "fsync", "rename", "replace", "unlink", "mkdir", "rmdir")
PARTS = ("p", "q", "r")
KEYS = [f"k{number}" for number in range(30)]
Publish = Callable[[str, str, int, float | None], None]


def publish(root: str, version: str, value: int, min_ratio: float | None = None) -> None:
    """Publishes to the local store in `root`."""
    publish_to(LocalStore(root, follow_seconds=0), version, value, min_ratio)


def publish_to(store: Store, version: str, value: int, min_ratio: float | None = None) -> None:
    """What a night's publish does, begun again as often as it takes."""
    if store.current("view") != version:
        stage = store.begin("view", version)
        for number, part in enumerate(PARTS):
            keys = KEYS[number :: len(PARTS)]
            with stage.writer(part) as writer:
                writer.write(pa.record_batch({"key": keys, "value": [value] * len(keys)}))
        store.commit("view", version, expect_parts=PARTS, metadata={}, checks=Checks(min_ratio=min_ratio))
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
    """Answers each line of the input with a fork that publishes."""
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
            try:
                publish(order["root"], order["version"], order["value"], order["min_ratio"])
                end = count()
            except StoreError:
                end = -2
            write(write_end, str(end).encode())
            os._exit(0)
        os.close(write_end)
        answer(child)
        with os.fdopen(read_end) as came_to:
            answer(came_to.read() or -1)
        os.waitpid(child, 0)


if __name__ == "__main__":
    fork_publishers(publish, count_calls)
