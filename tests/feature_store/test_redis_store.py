"""The Redis backend keeps the contract, and its own promises about rows and keys."""

from pathlib import Path

import pytest

from feature_store.redis import RedisStore
from tests.contracts.store_contract import StoreContract


class TestRedisStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _server(self, redis_url: str) -> None:
        self.url = redis_url

    def make_store(self, place: Path) -> RedisStore:
        return RedisStore(f"{self.url}?prefix=test:{place}:", follow_seconds=0)
