"""Results that are kept as soon as they are there, each in a folder named by all that it depends on. Knows no model."""

import hashlib
import json
import os
import resource
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import recsys_text

_PRODUCT = Path(recsys_text.__file__).parent
_BENCHMARKS = Path(__file__).parents[1]
_ABOUT = "about.json"


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Folders of finished steps below `root`; `used` collects what is known of each step that was asked for."""

    root: Path
    used: list[dict[str, Any]] = field(default_factory=list)

    def step(self, name: str, depends: Mapping[str, Any], work: Callable[[Path], Mapping[str, Any] | None]) -> Path:
        """The folder of a step's results: made by `work` in an empty folder, or as it was made before.

        `depends`: all that the result depends on, JSON values. What `work` returns is kept in `about.json`, with
        its seconds, the peak of the process's memory during it (MiB) and the date. A step that was stopped has no
        result.
        """
        folder = self.root / f"{name}-{key(depends)}"
        if not folder.exists():
            partial = self.root / f".{folder.name}.{os.getpid()}.tmp"
            partial.mkdir(parents=True)
            try:
                with suppress(OSError):  # Linux forgets the former peak
                    Path("/proc/self/clear_refs").write_text("5")
                begin = perf_counter()
                found = work(partial) or {}
                about = {"step": name, "key": folder.name, "seconds": perf_counter() - begin, "peak_mib": _peak_mib()}
                about |= {"at": f"{datetime.now(UTC):%Y-%m-%d}", **found, "depends": dict(depends)}
                (partial / _ABOUT).write_text(json.dumps(about, indent=1))
                with suppress(OSError):  # another process was as fast
                    partial.rename(folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        self.used.append(about_of(folder))
        return folder


def about_of(folder: Path) -> dict[str, Any]:
    """What `step` wrote beside the results."""
    about: dict[str, Any] = json.loads((folder / _ABOUT).read_text())
    return about


def key(depends: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(depends, sort_keys=True).encode()).hexdigest()[:16]


def code(product: Sequence[str], benchmarks: Sequence[str] = ()) -> str:
    """One digest of these files and folders of Python files, below recsys_text and below benchmarks.

    Raises FileNotFoundError for a name that is neither: a result must not outlive code that moved.
    """
    digest = hashlib.sha256()
    for root, names in ((_PRODUCT, product), (_BENCHMARKS, benchmarks)):
        for name in names:
            place = root / name
            paths = sorted(place.rglob("*.py")) if place.is_dir() else [place]
            for path in paths:
                digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def files(*paths: Path) -> dict[str, str]:
    """The digest of each data file by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in paths}


def _peak_mib() -> float:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
