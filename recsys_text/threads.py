"""How many threads numeric libraries take, and that they sleep while they wait. Knows no library and no setting.

Libraries read the environment when they are loaded, so `share_the_machine` runs when the package is imported, before
any of them. What a user has set is left as it is.
"""

import math
import os
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")

#: Idle threads sleep at once. By default they spin for up to a second after each parallel part: on a machine that is
#: not idle they take the processor from the thread that they wait for.
_PATIENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
    "OPENBLAS_THREAD_TIMEOUT": "4",
}
_COUNT = "OMP_NUM_THREADS"


def share_the_machine(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the environment of OpenMP and OpenBLAS, as far as the user has not, so that idle threads sleep and there are
    as many as this process has processors.
    """
    for name, value in (_PATIENT | {_COUNT: str(processors())}).items():
        environment.setdefault(name, value)


def count() -> int:
    """The number of threads that numeric libraries take: OMP_NUM_THREADS where it says so, else `processors`."""
    first = os.environ.get(_COUNT, "").partition(",")[0]
    return int(first) if first.isdecimal() and int(first) > 0 else processors()


def in_threads(work: Callable[[Part], Result], parts: Sequence[Part], threads: int) -> Iterator[Result]:
    """The result of each part, in the order of the parts, whatever the number of threads; 0 takes all cores."""
    if len(parts) < 2 or threads == 1:
        yield from map(work, parts)
        return
    with ThreadPoolExecutor(threads or processors()) as pool:
        yield from pool.map(work, parts)


def processors(root: Path = Path("/")) -> int:
    """The processors that this process may use at once: those of its affinity, within the quota of its control groups.

    root: where `proc` and `sys` are.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """The processors that each control group around this process allows, of those that set a limit."""
    with suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:  # version 2
                folder, read = root / "sys/fs/cgroup", _quota_v2
            elif "cpu" in controllers.split(","):
                folder, read = root / "sys/fs/cgroup/cpu", _quota_v1
            else:
                continue
            group = folder / path.strip("/")
            for each in (group, *group.parents):
                if not each.is_relative_to(folder):
                    break
                with suppress(OSError, ValueError):
                    yield read(each)


def _quota_v2(group: Path) -> float:
    """Raises ValueError for a group without a limit."""
    quota, period = (group / "cpu.max").read_text().split()
    return int(quota) / int(period)


def _quota_v1(group: Path) -> float:
    """Raises ValueError for a group without a limit."""
    quota = int((group / "cpu.cfs_quota_us").read_text())
    if quota <= 0:
        raise ValueError("no limit")
    return quota / int((group / "cpu.cfs_period_us").read_text())
