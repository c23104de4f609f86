"""A local store for each test."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_store import LocalStore


@pytest.fixture
def root() -> Iterator[Path]:
    """In memory where there's such a disk: hundreds of publishes, none of which outlives the machine."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        yield Path(place) / "store"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root, follow_seconds=0)
