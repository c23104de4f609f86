"""What a log takes in memory: from the lake to arrays, and the bytes a click of each of its indexes.

    python benchmarks/memory.py [--events 1000000 4000000] [--seed 7]

For each number of events a synthetic log of `benchmarks.synthetic` (a user for each 20 events, 40,000 items) is made
and extracted in a scratch folder, which is removed. Two processes of their own then read it: one says the peak of
resident memory, beyond what the imports take, until the log is built; one builds every index of the log, as
tracemalloc sees it (numpy's arrays, not those of polars). "kept" is what an index adds to those before it, "peak" the
most that was held at one time while it was made, the log's own arrays and all former indexes included; both in bytes a
click. The last lines name the machine, the seed and the date; nothing is written.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np

from benchmarks.synthetic import START, Size, write_project
from recsys_text.lake.extract import extract_windows
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import DAY, windows_between
from recsys_text.ranking.log import EVENT_COLUMNS, Log, build_log
from recsys_text.sections import Source, Sources

MIB = 1 << 20


def make(folder: Path, size: Size, seed: int) -> None:
    write_project(folder, size, seed)
    sources = Sources(
        items=Source(kind="file", path=str(folder / "items.parquet")),
        events=Source(kind="file", path=str(folder / "events.parquet")),
    )
    extract_windows(Lake(folder / "lake"), sources, windows_between(START, START + timedelta(days=size.days), DAY))


def read(folder: Path) -> Log:
    lake = Lake(folder / "lake")
    return build_log(lake.items(lake.keys("items")), lake.read("events", columns=EVENT_COLUMNS))


def of_reading(folder: Path) -> dict[str, float]:
    """Seconds and MiB until the log is there."""
    before, begin = _peak(), time.perf_counter()
    log = read(folder)
    return {"events": len(log.time), "seconds": time.perf_counter() - begin, "mib": (_peak() - before) / MIB}


def of_indexes(folder: Path) -> dict[str, tuple[float, float]]:
    """The bytes a click that each index keeps, and the peak while it is made."""
    log = read(folder)
    clicks = int(np.count_nonzero(log.positive))
    columns = (log.user, log.item, log.time, log.positive, log.disliked, log.value)
    own = sum(column.nbytes for column in columns)
    found = {"the log": (own / clicks, own / clicks)}
    tracemalloc.start()
    for name, made in vars(Log).items():
        if isinstance(made, cached_property):
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            getattr(log, name)
            after, peak = tracemalloc.get_traced_memory()
            found[name] = ((after - before) / clicks, (peak + own) / clicks)
    return found


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000, 4_000_000])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--step", choices=("make", "reading", "indexes"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = [Size(events=events, users=events // 20, items=40_000) for events in options.events]
    if options.step == "make":
        make(options.folder, sizes[0], options.seed)
    elif options.step is not None:
        print(json.dumps({"reading": of_reading, "indexes": of_indexes}[options.step](options.folder)))
    else:
        for size in sizes:
            with tempfile.TemporaryDirectory(prefix="recsys-text-memory-") as scratch:
                # Each step has a process of its own, and so has the making: a process begins with its parent's peak.
                command = [sys.executable, __file__, "--folder", scratch, "--seed", str(options.seed)]
                command += ["--events", str(size.events), "--step"]
                subprocess.run([*command, "make"], check=True)
                reading, indexes = (
                    json.loads(subprocess.run([*command, step], stdout=subprocess.PIPE, text=True, check=True).stdout)
                    for step in ("reading", "indexes")
                )
            show(size, reading, indexes)
        print(f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}, seed {options.seed}")
        print(f"{datetime.now(UTC):%Y-%m-%d}")


def show(size: Size, reading: dict[str, float], indexes: dict[str, tuple[float, float]]) -> None:
    print(f"{reading['events']:,} events, {size.users:,} users, {size.items:,} items")
    print(f"  lake to log: {reading['mib']:,.0f} MiB at peak, {reading['seconds']:.1f} s")
    print(f"  {'bytes a click':20} {'kept':>6} {'peak':>6}")
    whole = sum(kept for kept, _ in indexes.values()), max(peak for _, peak in indexes.values())
    for name, (kept, peak) in (indexes | {"all": whole}).items():
        print(f"  {name:20} {kept:6.1f} {peak:6.1f}")


if __name__ == "__main__":
    main()
