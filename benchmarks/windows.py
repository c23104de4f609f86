"""What many windows cost beside one: the time of an extraction, and the bytes of a snapshot of items.

    python benchmarks/windows.py [--megabytes 20] [--windows 200] [--items 9000] [--snapshots 731] [--seed 7]

Makes a CSV file of events and a catalogue in a scratch folder and removes them. Extracts the events as daily windows,
and as one window that holds them all, in turn, each into a lake of its own; then the catalogue as many daily windows:
published within them, before them, and with no time of publication. Prints the ratio of the least times, the bytes of
the items, and the machine, date and seed of the run; writes nothing.
"""

import argparse
import os
import platform
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from recsys_text.lake.extract import extract_windows
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import DAY, Window, windows_between
from recsys_text.sections import Source, Sources

START = datetime(2024, 1, 1, tzinfo=UTC)
ROUNDS = 3
WORDS = 4000


def write_events(path: Path, megabytes: float, days: int, items: int, rng: np.random.Generator) -> int:
    """A CSV file of about this size; how many rows it has."""
    rows = int(megabytes * 1e6 / 37)
    times = pl.lit(START) + pl.duration(seconds=pl.Series(rng.integers(0, days * 86_400, rows)))
    users, ids = rng.integers(0, 20_000, rows), rng.integers(0, items, rows)
    frame = pl.DataFrame({"user_id": users, "item_id": ids, "event_type": rng.choice(["view", "click"], rows)})
    frame.with_columns(occurred_at=times.dt.strftime("%Y-%m-%dT%H:%M:%SZ")).write_csv(path)
    return rows


def write_items(path: Path, items: int, days: tuple[int, int] | None, rng: np.random.Generator) -> None:
    """A catalogue with titles of eight words, published on some day of `days`, or at no known time."""
    words = [f"{''.join(rng.choice(list('abcdefghijklmnop'), 6))}" for _ in range(WORDS)]
    titles = [" ".join(words[number] for number in rng.zipf(1.3, 8) % WORDS) for _ in range(items)]
    frame = pl.DataFrame({"item_id": range(items), "title": titles})
    if days is not None:
        published = pl.lit(START) + pl.duration(minutes=pl.Series(rng.integers(days[0] * 1440, days[1] * 1440, items)))
        frame = frame.with_columns(published_at=published.dt.strftime("%Y-%m-%dT%H:%M:%SZ"))
    frame.write_csv(path)


def seconds(lake: Path, sources: Sources, windows: list[Window]) -> float:
    before = time.perf_counter()
    extract_windows(Lake(lake), sources, windows)
    return time.perf_counter() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--windows", type=int, default=200)
    parser.add_argument("--items", type=int, default=9000)
    parser.add_argument("--snapshots", type=int, default=731)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    with tempfile.TemporaryDirectory(prefix="recsys-text-windows-") as scratch:
        folder = Path(scratch)
        rows = write_events(folder / "events.csv", options.megabytes, options.windows, options.items, rng)
        write_items(folder / "items.csv", options.items, None, rng)
        sources = Sources(
            items=Source(kind="file", path=str(folder / "items.csv")),
            events=Source(kind="file", path=str(folder / "events.csv")),
        )
        end = START + options.windows * DAY
        many, one = windows_between(START, end, DAY), [Window(START, end)]
        seconds(folder / "warm", sources, one)
        pairs = [
            (seconds(folder / f"one-{n}", sources, one), seconds(folder / f"many-{n}", sources, many))
            for n in range(ROUNDS)
        ]
        alone, split = (min(times) for times in zip(*pairs, strict=True))
        size = (folder / "events.csv").stat().st_size / 1e6
        print(f"{rows:,} events in a CSV file of {size:.0f} MB: one window {alone:.2f} s, {options.windows} daily ones")
        print(f"{split:.2f} s, {split / alone:.2f} times as long (at most 2)")
        catalogues = {"no publication": None, "before": (-900, 0), "within": (0, options.snapshots)}
        windows = windows_between(START, START + options.snapshots * DAY, DAY)
        for name, days in catalogues.items():
            write_items(folder / "items.csv", options.items, days, rng)
            (folder / "events.csv").write_text("user_id,item_id,event_type,occurred_at\n")
            spent = seconds(folder / name, sources, windows)
            stored = Lake(folder / name).size("items") / 1e6
            print(
                f"{len(windows)} windows of {options.items:,} items, {name}: {stored:.2f} MB (at most 3), {spent:.1f} s"
            )
    print(f"machine: {os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}, ", end="")
    print(f"load {os.getloadavg()[0]:.1f}; {datetime.now(UTC):%Y-%m-%d}, seed {options.seed}")


if __name__ == "__main__":
    main()
