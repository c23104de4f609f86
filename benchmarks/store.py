"""What the feature store costs beside others that could hold the same rows: publishing, finding, swapping, growing.

    python benchmarks/store.py [--users 100000] [--items 200] [--repeats 5] [--growth] [--feast]

Every user has a list of item ids, scores and interests. LMDB (`pip install lmdb`) and RocksDB (`pip install rocksdict`)
take part where they are installed, Redis where RECSYS_TEXT_REDIS_URI names one (`make services` starts one); each takes
its turn in every repeat, so that all see the same machine. Rows are bytes there and Arrow here. Times are medians and
99th percentiles of single calls, keys drawn at random; pairs/s is the median of the repeats, with the lowest and the
highest. --growth repeats ours with ten times the users; --feast also asks Feast's SDK (the extra [feast]), with a
fiftieth of them.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.quality_lib.report import machine
from benchmarks.store_lib.peers import (
    VIEW,
    ArrowMap,
    Data,
    FeastSdk,
    Lmdb,
    Ours,
    OursInRedis,
    RawRedis,
    RocksDb,
    Segment,
    System,
    data,
)

GETS = 20_000
MANY = 400
SWAPS = 100


def microseconds(call: Callable[[Any], Any], arguments: Sequence[Any]) -> tuple[float, float]:
    """Median and 99th percentile of one call."""
    taken = np.empty(len(arguments))
    clock = time.perf_counter_ns
    for number, argument in enumerate(arguments):
        start = clock()
        call(argument)
        taken[number] = clock() - start
    return float(np.percentile(taken, 50)) / 1e3, float(np.percentile(taken, 99)) / 1e3


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def systems(folder: Path) -> list[System]:
    found: list[System] = [Ours(folder), Segment(folder), ArrowMap(folder)]
    for peer in (Lmdb, RocksDb):
        try:
            found.append(peer(folder))
        except ImportError:
            print(f"{peer.name} is not installed and does not take part")
    if url := os.environ.get("RECSYS_TEXT_REDIS_URI"):
        found += [OursInRedis(url), RawRedis(url)]
    return found


def asked(rows: Data) -> tuple[list[str], list[list[str]]]:
    draw = np.random.default_rng(1)
    keys = [rows.keys[number] for number in draw.integers(0, len(rows.keys), GETS)]
    many = [[rows.keys[number] for number in draw.integers(0, len(rows.keys), 100)] for _ in range(MANY)]
    return keys, many


def compare(everyone: Sequence[System], rows: Data, repeats: int) -> Table:
    """A row of figures for each system, all in turn."""
    rates: dict[str, list[float]] = {system.name: [] for system in everyone}
    gets: dict[str, list[tuple[float, float]]] = {system.name: [] for system in everyone}
    manys: dict[str, list[tuple[float, float]]] = {system.name: [] for system in everyone}
    keys, many = asked(rows)
    for repeat in range(repeats):
        for system in everyone:
            taken = seconds(partial(system.publish, f"v{repeat}", rows))
            rates[system.name].append(rows.pairs / taken / 1e6)
            if isinstance(system, Ours):
                system.reader.refresh()
                system.store.prune(VIEW, 1)
        for system in everyone:
            gets[system.name].append(microseconds(system.get, keys))
            manys[system.name].append(microseconds(system.get_many, many))
    table = Table(title=f"{len(rows.keys):,} users of {rows.pairs // len(rows.keys)} items, {repeats} repeats")
    for column in ("", "million pairs/s", "get us, p50 / p99", "100 keys us, p50 / p99"):
        table.add_column(column)
    for system in everyone:
        table.add_row(
            system.name,
            spread(rates[system.name]),
            *(
                " / ".join(f"{statistics.median(column):.1f}" for column in zip(*found[system.name], strict=True))
                for found in (gets, manys)
            ),
        )
    return table


def beside_raw(rows: Data, url: str) -> str:
    """Ours and a raw GET of as many bytes, call by call in turn: both find the server as awake."""
    mine, raw = OursInRedis(url), RawRedis(url)
    for system in (mine, raw):
        system.publish("beside", rows)
    keys, _ = asked(rows)
    found = []
    for start in range(0, GETS, GETS // 5):
        taken: list[list[float]] = [[], []]
        for key in keys[start : start + GETS // 5]:
            for system, times in zip((mine, raw), taken, strict=True):
                times.append(seconds(partial(system.get, key)))
        found.append(statistics.median(taken[0]) / statistics.median(taken[1]))
    return f"get from Redis, of a raw GET's p50, call by call in turn: {spread(found)}"


def ours(rows: Data, folder: Path) -> list[str]:
    """What only we do: open and verify, swap, turn into Python."""
    system = Ours(folder)
    for version in ("a", "b"):
        system.publish(version, rows)
    system.reader.refresh()
    info = system.store.versions(VIEW)[0]
    opened = [seconds(lambda: system.store.snapshot(VIEW)) * 1e3 for _ in range(9)]
    draw = np.random.default_rng(2)
    first = []
    for number in range(SWAPS):
        system.store.rollback(VIEW, "ab"[number % 2])
        assert system.reader.refresh()
        first.append(microseconds(system.get, [rows.keys[draw.integers(len(rows.keys))]])[0])
    keys, _ = asked(rows)
    python = microseconds(lambda key: dict(system.get(key)), keys)
    ten = microseconds(lambda key: system.get(key).first("item_id", 10), keys)
    return [
        f"bytes per pair: {info.bytes / rows.pairs:.2f}",
        f"open and verify {info.bytes / 1e6:.0f} MB, ms: {spread(opened)}",
        f"first read after each of {SWAPS} swaps, us: {np.percentile(first, 50):.1f} / {np.percentile(first, 99):.1f}",
        f"get and the first ten ids as Python strings, us: {ten[0]:.1f} / {ten[1]:.1f}",
        f"get and all lists as Python objects, us: {python[0]:.1f} / {python[1]:.1f}",
    ]


def growth(users: int, items: int, folder: Path) -> list[str]:
    """Ours with ten times the users, in turn with as many as before."""
    sizes = [data(users, items, packed=False), data(10 * users, items, packed=False)]
    homes = [Ours(folder / "small"), Ours(folder / "large")]
    keys = [asked(rows)[0] for rows in sizes]
    publishing, finding = [], []
    for version in ("a", "b", "c"):
        taken = [seconds(partial(home.publish, version, rows)) for home, rows in zip(homes, sizes, strict=True)]
        publishing.append(taken[1] / taken[0])
        for home in homes:
            home.reader.refresh()
            home.store.prune(VIEW, 1)
        for _ in range(3):
            p50 = [microseconds(home.get, some)[0] for home, some in zip(homes, keys, strict=True)]
            finding.append(p50[1] / p50[0])
    return [
        f"ten times the users: publishing takes {spread(publishing)} times as long",
        f"ten times the users: get takes {spread(finding)} times as long",
    ]


def spread(values: Sequence[float]) -> str:
    """Median, lowest and highest."""
    return f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--items", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--feast", action="store_true")
    arguments = parser.parse_args()
    console = Console(width=120)
    folder = Path(tempfile.mkdtemp(prefix="store-benchmark-", dir="."))
    try:
        rows = data(arguments.users, arguments.items)
        for name in ("peers", "ours", "growth"):
            (folder / name).mkdir()
        console.print(compare(systems(folder / "peers"), rows, arguments.repeats))
        if arguments.feast:
            some = data(arguments.users // 50, arguments.items, packed=False)
            console.print(compare([FeastSdk(folder / "feast")], some, 1))
        shutil.rmtree(folder / "peers")
        if url := os.environ.get("RECSYS_TEXT_REDIS_URI"):
            console.print(beside_raw(data(arguments.users // 10, arguments.items), url))
        for line in ours(rows, folder / "ours"):
            console.print(line)
        shutil.rmtree(folder / "ours")
        if arguments.growth:
            del rows
            for line in growth(arguments.users, arguments.items, folder / "growth"):
                console.print(line)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    console.print(machine(), soft_wrap=True)


if __name__ == "__main__":
    main()
