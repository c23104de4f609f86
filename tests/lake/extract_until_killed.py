"""Extracts when told and is killed at a told point: a helper process of the test of killed extractions.

Reads lines `<call|time> <point> <number of windows> <events file> <lake>`; forks a child that extracts and
dies by SIGKILL at the n-th call that changes the disk, or after so many seconds; answers `killed` or
`done`. One process imports everything once, so that a hundred kills take seconds.
"""

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recsys_text.lake import spill
from recsys_text.lake.extract import extract_windows
from recsys_text.lake.store import Lake
from tests.lake.samples import WINDOWS, file_sources

PIECE = 40  # rows: several slices and parts from few events


def die_at(number: int) -> None:
    calls = itertools.count(1)

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        return call

    for name in ("fsync", "replace", "mkdir", "unlink", "rmdir"):
        setattr(os, name, counted(getattr(os, name)))


def main() -> None:
    spill.MAX_ROWS = PIECE
    # What a killed process wrote is not lost, and the test makes a hundred windows.
    setattr(os, "fsync", lambda _: None)  # noqa: B010 - mypy holds plain assignment to the parameter's name
    for line in sys.stdin:
        kind, point, count, events, lake = line.split()
        child = os.fork()
        if child == 0:
            if kind == "call":
                die_at(int(point))
            sources = file_sources(Path(events).parent, events, max_rejected=0.5)
            extract_windows(Lake(Path(lake)), sources, WINDOWS[: int(count)])
            os._exit(0)
        if kind == "time":
            time.sleep(float(point))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        sys.stdout.write("killed\n" if os.WIFSIGNALED(status) else "done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
