"""A local store for each test, and where Redis is."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_store import LocalStore

URI_FILE = Path(__file__).parents[2] / "var/services/redis.uri"


@pytest.fixture
def root() -> Iterator[Path]:
    """In memory where there's such a disk: hundreds of publishes, none of which outlives the machine."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        yield Path(place) / "store"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root, follow_seconds=0)


@pytest.fixture(scope="session")
def redis_url() -> str:
    """The Redis that `make services` starts; what tests write there is under keys of their own."""
    url = os.environ.get("RECSYS_TEXT_REDIS_URI") or (URI_FILE.read_text() if URI_FILE.exists() else None)
    if url is None:
        pytest.skip("no Redis runs; `make services` starts one")
    return url
