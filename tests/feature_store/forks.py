"""A process that forks publishers on order, so that each can be killed; see `publisher`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

KILLED, REFUSED = -1, -2


class Forks:
    """Publishes versions in processes of their own, one at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._orders, self._answers = process.stdin, process.stdout

    def start(self, root: Path | str, value: int, *, die_at: int | None = None, min_ratio: float | None = None) -> int:
        """Begins to publish version v<value>; the process that does."""
        order = {"root": str(root), "version": f"v{value}", "value": value, "die_at": die_at, "min_ratio": min_ratio}
        self._orders.write(json.dumps(order) + "\n")
        self._orders.flush()
        return int(self._answers.readline())

    def end(self) -> int:
        """Waits for the publisher: the calls that it came to, KILLED or REFUSED."""
        return int(self._answers.readline())

    def run(self, root: Path | str, value: int, *, die_at: int | None = None, min_ratio: float | None = None) -> int:
        self.start(root, value, die_at=die_at, min_ratio=min_ratio)
        return self.end()

    def run_and_kill(self, root: Path | str, value: int, seconds: float) -> int:
        """Kills the publisher after so long, if it isn't done by then."""
        child = self.start(root, value)
        time.sleep(seconds)
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        return self.end()


@contextmanager
def forks(module: str = "tests.feature_store.publisher") -> Iterator[Forks]:
    with subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Forks(process)
        assert process.stdin is not None
        process.stdin.close()
