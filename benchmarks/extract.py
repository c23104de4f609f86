"""How fast, and in how much memory, events of one Parquet file become windows of the lake.

    python benchmarks/extract.py [--events 20000000] [--days 30] [--seed 7]

Makes the file and the lake in a scratch folder and removes both. The extraction runs in a process of its
own, so that its peak memory is not that of making the file. Prints events per second, the peak of
resident memory, and the machine, seed and date of the run.
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
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys_text.lake.extract import extract_windows
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import DAY, windows_between
from recsys_text.sections import Source, Sources

START = datetime(2024, 1, 1, tzinfo=UTC)
ROWS_AT_ONCE = 1_000_000


def make_sources(folder: Path, events: int, days: int, seed: int) -> None:
    """Events in the order of a table that nobody sorted: every row group spans all the days."""
    rng = np.random.default_rng(seed)
    schema = pa.schema(
        [("user", pa.int64()), ("item", pa.int64()), ("kind", pa.string()), ("at", pa.timestamp("us", "UTC"))]
    )
    kinds = pa.array(["view", "click", "purchase"])
    with pq.ParquetWriter(folder / "events.parquet", schema) as writer:
        for written in range(0, events, ROWS_AT_ONCE):
            rows = min(ROWS_AT_ONCE, events - written)
            at = int(START.timestamp() * 1e6) + rng.integers(0, days * 86_400_000_000, rows)
            writer.write_table(
                pa.table(
                    [
                        rng.integers(0, 2_000_000, rows),
                        rng.zipf(1.3, rows) % 200_000,
                        kinds.take(pa.array(rng.choice(3, rows, p=[0.7, 0.28, 0.02]))),
                        pa.array(at, pa.timestamp("us", "UTC")),
                    ],
                    schema=schema,
                )
            )
    items = pa.table({"item_id": pa.array(range(1000)), "title": [f"item {number}" for number in range(1000)]})
    pq.write_table(items, folder / "items.parquet")


def extract(folder: Path, days: int) -> None:
    sources = Sources(
        items=Source(kind="file", path=str(folder / "items.parquet")),
        events=Source(
            kind="file",
            path=str(folder / "events.parquet"),
            columns={"user_id": "user", "item_id": "item", "event_type": "kind", "occurred_at": "at"},
        ),
    )
    windows = windows_between(START, START + timedelta(days=days), DAY)
    before = time.perf_counter()
    results = extract_windows(Lake(folder / "lake"), sources, windows)["events"].values()
    seconds = time.perf_counter() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    rows = sum(result.rows + result.duplicates for result in results)
    print(json.dumps({"rows": rows, "seconds": seconds, "peak": peak}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder is not None:
        extract(options.folder, options.days)
        return
    with tempfile.TemporaryDirectory(prefix="recsys-text-extract-") as scratch:
        make_sources(Path(scratch), options.events, options.days, options.seed)
        size = (Path(scratch) / "events.parquet").stat().st_size
        command = [sys.executable, __file__, "--folder", scratch, "--days", str(options.days)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures = json.loads(done.stdout)
    assert figures["rows"] == options.events
    print(f"events      {options.events:,} in one Parquet file of {size / 2**20:,.0f} MiB, {options.days} windows")
    print(f"speed       {figures['rows'] / figures['seconds']:,.0f} events/s ({figures['seconds']:.1f} s)")
    print(f"peak memory {figures['peak'] / 2**20:,.0f} MiB")
    print(f"machine     {os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}")
    print(f"seed {options.seed}, {datetime.now(UTC):%Y-%m-%d}")


if __name__ == "__main__":
    main()
