"""A local store for each test, and a place of its own in the Redis of `make services`."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from feature_store import LocalStore
from tests.feature_store.redis_server import RedisServer


@pytest.fixture
def root() -> Iterator[Path]:
    """In memory where there's such a disk: hundreds of publishes, none of which outlives the machine."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as place:
        yield Path(place) / "store"


@pytest.fixture
def store(root: Path) -> LocalStore:
    return LocalStore(root, follow_seconds=0)


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    return f"test:{tmp_path}:"


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def url(redis_url: str, prefix: str, client: Any) -> Iterator[str]:
    yield f"{redis_url}?prefix={prefix}"
    for key in client.scan_iter(match=f"{prefix}*"):
        client.unlink(key)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, which it may kill."""
    server = RedisServer(tmp_path)
    yield server
    server.kill()
