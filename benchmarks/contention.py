"""How much longer a training takes beside processes that keep the processors busy.

    python benchmarks/contention.py [--config demo.toml] [--windows 20] [--repeats 1] [--busy 0 1 4]

Extracts the newest windows of the books sample once, and trains on them with the sample's config of that name in a
process of its own: idle, beside so many busy processes, and idle on one processor (affinity). The processors are the
two first that this process may use, so that other machines measure the same. Prints the seconds and the processor
seconds of each (threads that spin for each other show as processor seconds, also where others load the machine), their
ratios to the idle median, and the machine and date. The seed is that of the sample's config.

Before and after each training a control runs, in the same place: one thread that looks up texts in a dictionary, and
waits for nobody. Its processor seconds say what the machine itself takes for being busy, as caches that are lost at
every switch: no program can do anything about that.
"""

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

BOOKS = Path(__file__).parents[1] / "examples" / "books"
END = datetime(2017, 8, 29, tzinfo=UTC)
CLI = (sys.executable, "-c", "from recsys_text.cli import main; main()")
CONTROL = """
known = {number: str(number) for number in range(500_000)}
for _ in range(5):
    for number in range(0, 500_000, 3):
        known[number * 7919 % 500_000]
"""


@contextmanager
def busy(processes: int, cores: set[int]) -> Iterator[None]:
    """So many processes that only count, on these processors."""
    spin = f"import os; os.sched_setaffinity(0, {cores})\nwhile True: pass"
    started = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def train(project: Path, config: str, cores: set[int]) -> tuple[float, float]:
    """The seconds and the processor seconds of a training from nothing but the lake."""
    for made in (project / "var").iterdir():
        if made.is_dir() and made.name != "lake":
            shutil.rmtree(made)
        elif made.is_file():
            made.unlink()
    before, begun = processor_seconds(), time.perf_counter()
    run(project, "train", "-c", config, cores=cores)
    return time.perf_counter() - begun, processor_seconds() - before


def control(cores: set[int]) -> tuple[float, float]:
    """The seconds and the processor seconds of a thread that shares nothing with anybody."""
    before, begun = processor_seconds(), time.perf_counter()
    subprocess.run([sys.executable, "-c", CONTROL], check=True, preexec_fn=lambda: os.sched_setaffinity(0, cores))
    return time.perf_counter() - begun, processor_seconds() - before


def processor_seconds() -> float:
    """Those of all processes of ours that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(project: Path, *arguments: str, cores: set[int]) -> None:
    """A command of ours in the project, which must succeed."""
    subprocess.run(
        [*CLI, *arguments],
        cwd=project,
        check=True,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )


def medians(runs: list[tuple[float, float]]) -> tuple[float, float]:
    wall, processor = (statistics.median(column) for column in zip(*runs, strict=True))
    return wall, processor


def ratios(measured: tuple[float, float], idle: tuple[float, float]) -> str:
    (wall, processor), (idle_wall, idle_processor) = measured, idle
    return f"{wall:.1f} s ({wall / idle_wall:.2f} x), {processor:.1f} processor s ({processor / idle_processor:.2f} x)"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--config", default="demo.toml")
    arguments.add_argument("--windows", type=int, default=20)
    arguments.add_argument("--repeats", type=int, default=1)
    arguments.add_argument("--busy", type=int, nargs="+", default=[0, 1, 4])
    chosen = arguments.parse_args()
    cores = set(sorted(os.sched_getaffinity(0))[:2])
    with tempfile.TemporaryDirectory(prefix="recsys-text-") as scratch:
        project = Path(scratch)
        shutil.copytree(BOOKS, project, dirs_exist_ok=True)
        config = project / chosen.config
        config.write_text(config.read_text().replace('root = "../../var/books"', 'root = "var"'))
        start = END - timedelta(days=chosen.windows)
        span = ("--from", f"{start:%Y-%m-%d}", "--to", f"{END:%Y-%m-%d}")
        run(project, "extract", "-c", chosen.config, *span, cores=cores)
        cells = [(f"beside {count}", count, cores) for count in chosen.busy] + [("one processor", 0, {min(cores)})]
        idle: list[tuple[float, float]] = []
        for name, count, own in cells:
            runs, controls = [], []
            with busy(count, cores):
                for _ in range(chosen.repeats):
                    controls.append(control(own))
                    runs.append(train(project, chosen.config, own))
                    controls.append(control(own))
            measured = [medians(runs), medians(controls)]
            idle = idle or measured
            told = [ratios(now, before) for now, before in zip(measured, idle, strict=True)]
            print(
                f"{name}: {told[0]}; control {told[1]}; runs {', '.join(f'{each:.0f}' for each, _ in runs)}", flush=True
            )
    print(f"{platform.processor() or platform.machine()}, {len(cores)} processors, {datetime.now(UTC):%Y-%m-%d}")


if __name__ == "__main__":
    main()
