"""What a run ran on, as far as the last bits of a bundle may depend on it. Knows no MLflow."""

import platform
import subprocess
import sys
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from recsys_text import __version__, threads

#: What a bundle's bytes depend on beside our own code.
_PACKAGES = ("lightgbm", "mlflow", "numpy", "polars", "safetensors", "scikit-learn", "scipy", "tokenizers", "torch")


def environment() -> dict[str, str]:
    """What a run ran on: versions, the processor, threads, and the git commit of the package's own checkout."""
    found = {"recsys_text": __version__, "python": sys.version.split()[0], "platform": sys.platform}
    found |= {name: metadata.version(name) for name in _PACKAGES}
    found |= {"processor": _processor(), "threads": str(threads.count())}
    # A package that is installed within somebody's repository is none of that repository's files.
    if _git("ls-files", "--error-unmatch", Path(__file__).name) is not None:
        found |= {"mlflow.source.git.commit": commit} if (commit := _git("rev-parse", "HEAD")) else {}
    return found


def _git(*arguments: str) -> str | None:
    """What git says in this file's folder; None where it fails, or isn't there."""
    with suppress(OSError):
        git = subprocess.run(  # noqa: S603 - no argument comes from outside
            ["git", *arguments],  # noqa: S607
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
        return git.stdout.strip() if git.returncode == 0 else None
    return None


def _processor() -> str:
    """The processor's name: the last bits of a sum depend on which of its instructions a library takes."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
