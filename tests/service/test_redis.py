"""Scores that are served from Redis, and what becomes of them when it goes away."""

from pathlib import Path

import pyarrow as pa
import pytest

from feature_store import open_store
from recsys_text.errors import UnavailableError
from recsys_text.service.scores import Scores
from tests.feature_store.redis_server import RedisServer


def publish(url: str, version: str) -> None:
    store = open_store(url)
    columns = {"user_id": ["ann"], "item_id": [["x", "y"]], "score": [[0.5, 0.25]], "interest": [[1.0, 2.0]]}
    with store.begin("user_scores", version).writer("p") as writer:
        writer.write(pa.record_batch(columns))
    store.commit("user_scores", version, expect_parts=["p"], metadata={})


def test_a_server_that_goes_and_comes_back_empty(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    try:
        publish(server.url, "v1")
        scores = Scores(server.url)
        assert scores.refresh()
        served, row = scores.lookup("ann")
        assert row is not None
        assert (served.version, row.first("item_id", 1)) == ("v1", ["x"])
        assert scores.lookup("nobody")[1] is None
        server.kill()
        with pytest.raises(UnavailableError, match="start the server or check its address"):
            scores.lookup("ann")
        server.start()
        for user in ("ann", "nobody"):
            with pytest.raises(UnavailableError, match="the server lost it"):
                scores.lookup(user)
        publish(server.url, "v2")
        while scores.served is None or scores.served.version != "v2":
            scores.refresh()
        assert scores.lookup("ann")[1] == row
    finally:
        server.kill()
