"""What the ranking service makes of what `publish` writes: three views of one publication, as a client sees them."""

import math
import threading

import numpy as np
import pytest
import uvicorn

import feature_store
from recsys_text.config import Settings
from recsys_text.service.app import create_app
from recsys_text.service.client import RankingClient
from recsys_text.service.server import listen


@pytest.fixture
def client(published: Settings):
    app = create_app(published.store_url, published.service)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            with RankingClient(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=20) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(timeout=20)


def rows(settings: Settings, view: str) -> list[dict]:
    snapshot = feature_store.open_store(settings.store_url).snapshot(view)
    return [row for batch in snapshot.batches() for row in batch.to_pylist()]


def test_every_published_item_gets_a_place(published: Settings, client: RankingClient) -> None:
    items, users = rows(published, "item_vectors"), rows(published, "user_vectors")
    scores = {
        row["user_id"]: dict(zip(row["item_id"], row["score"], strict=True)) for row in rows(published, "user_scores")
    }
    user = max(users, key=lambda row: len(row["history"]))
    ranking = client.rank(user["user_id"], [item["item_id"] for item in items], diversity=0.0, explain=True)
    assert len(ranking.items) == len(items)
    sources = {item.item_id: item.source for item in ranking.items}
    assert {item for item, source in sources.items() if source == "stored"} == set(scores[user["user_id"]]) & set(
        sources
    )
    assert set(sources.values()) == {"stored", "match"}
    by_id = {item["item_id"]: item for item in items}
    for item in ranking.items:
        if item.source == "match":
            product = np.dot(np.float32(user["vector"]), np.float32(by_id[item.item_id]["vector"]))
            parts = item.explanation.parts
            assert item.interest == pytest.approx(float(product), abs=1e-3)
            assert 1 / (1 + math.exp(-(parts.level + parts.interest + parts.popular))) == pytest.approx(
                item.score, abs=1e-5
            )
    assert any(item.explanation.because for item in ranking.items)


def test_an_unknown_user_gets_the_pool_by_popularity(published: Settings, client: RankingClient) -> None:
    pool = {row["item_id"]: row["popular"] for row in rows(published, "item_vectors") if row["popular"] is not None}
    popular = client.get_items("nobody", 1000, fallback="popular")
    assert {item.item_id: item.score for item in popular.items} == pytest.approx(pool)
    assert [item.score for item in popular.items] == sorted(pool.values(), reverse=True)
