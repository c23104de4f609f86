"""Scores that are served from Redis, and what becomes of them when it goes away."""

from pathlib import Path

import pyarrow as pa
import pytest

from feature_store import StoreUnavailable, UnknownVersion, open_store
from recsys_text.service.views import Views
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
        views = Views(server.url)
        assert views.refresh()
        scores = views.pinned().scores
        row = scores.get("ann")
        assert row is not None
        assert (scores.info.version, row.first("item_id", 1), scores.get("nobody")) == ("v1", ["x"], None)
        server.kill()
        with pytest.raises(StoreUnavailable, match="start the server or check its address"):
            scores.get("ann")
        assert not views.refresh()
        server.start()
        for user in ("ann", "nobody"):
            with pytest.raises(UnknownVersion, match="the server lost it"):
                scores.get(user)
        publish(server.url, "v2")
        assert views.refresh()
        assert (views.pinned().served.version, views.pinned().scores.get("ann")) == ("v2", row)
    finally:
        server.kill()
