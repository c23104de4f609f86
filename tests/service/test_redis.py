"""Scores that are served from Redis: while it answers, while it does not, and when it went away."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pyarrow as pa
import pytest

from feature_store import StoreUnavailable, UnknownVersion, open_store
from recsys_text.sections import Service
from recsys_text.service.reading import Reading
from recsys_text.service.views import Views
from tests.feature_store.redis_server import RedisServer
from tests.service.conftest import running

USERS = {"ann": ["x", "y"], "bob": ["z"]}


def publish(url: str, version: str) -> None:
    store = open_store(url)
    columns = {
        "user_id": list(USERS),
        "item_id": list(USERS.values()),
        "score": [[0.5, 0.25], [0.75]],
        "interest": [[1.0, 2.0], [3.0]],
    }
    with store.begin("user_scores", version).writer("p") as writer:
        writer.write(pa.record_batch(columns))
    store.commit("user_scores", version, expect_parts=["p"], metadata={})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis with a version of scores."""
    server = RedisServer(tmp_path)
    try:
        publish(server.url, "v1")
        yield server
    finally:
        server.kill()


@pytest.fixture
def serving(server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """serving(wait_seconds=...): a real service over that Redis; gives its address."""

    def serve(**limits):
        monkeypatch.setattr("recsys_text.service.views.Reading", partial(Reading, **limits))
        # The service's own patience ends a read, never that of the connection.
        return running(server.url + "socket_timeout=300", Service(), None, tmp_path)

    return serve


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["item_id"] for item in answer.json()["items"]]


def items(url: str, user: str) -> httpx.Response:
    return httpx.get(f"{url}/users/{user}/items", timeout=60)


def rank(url: str, user: str) -> httpx.Response:
    return httpx.post(f"{url}/rank", json={"user_id": user, "candidates": ["y", "x", "z"]}, timeout=60)


def test_a_server_that_hangs_holds_up_nobody_who_does_not_ask_it(server, serving):
    with serving(wait_seconds=300) as url, ThreadPoolExecutor() as threads:
        assert ids(items(url, "ann")) == ["x", "y"]
        server.freeze()
        try:
            waiting = [threads.submit(ask, url, "ann") for ask in (items, rank)]
            # By the third connection the loop has come to those before.
            alive = [httpx.get(f"{url}/health", timeout=60).status_code for _ in range(3)]
            assert alive == [200] * 3
            assert httpx.get(f"{url}/ready", timeout=60).json()["version"] == "v1"
            assert not any(future.done() for future in waiting)
        finally:
            server.thaw()
        assert [ids(future.result()) for future in waiting] == [["x", "y"], ["x", "y", "z"]]


def test_who_waits_too_long_is_told_and_no_answer_comes_to_another(server, serving):
    with serving(wait_seconds=0.2) as url, ThreadPoolExecutor() as threads:
        assert ids(items(url, "ann")) == ["x", "y"]
        server.freeze()
        try:
            told = list(threads.map(partial(items, url), ["ann"] * 5))
        finally:
            server.thaw()
        assert {answer.status_code for answer in told} == {503}
        assert {answer.headers["Retry-After"] for answer in told} == {"1"}
        assert told[0].json()["detail"] == "the store did not answer within 0.2 seconds"
        # Their answers come now, on connections that nobody may take up.
        while items(url, "bob").status_code == 503:
            pass
        for _ in range(5):
            assert [ids(answer) for answer in threads.map(partial(items, url), ["bob", "ann"])] == [["z"], ["x", "y"]]


def test_so_many_connections_and_no_more(server, serving):
    def connections() -> int:
        return len(server.command("client", "list").splitlines())

    with serving(wait_seconds=300, at_once=2) as url, ThreadPoolExecutor(20) as threads:
        assert ids(items(url, "ann")) == ["x", "y"]
        before = connections()
        server.freeze()
        waiting = [threads.submit(items, url, "bob") for _ in range(20)]
        assert httpx.get(f"{url}/health", timeout=60).status_code == 200
        server.thaw()
        assert [ids(future.result()) for future in waiting] == [["z"]] * 20
        assert connections() <= before + 1


def test_unknown_users_and_lost_versions_are_told_apart(server, serving):
    with serving() as url:
        assert items(url, "nobody").status_code == 404
        assert rank(url, "nobody").json()["known"] is False
        server.command("flushall")
        lost = [items(url, "nobody"), items(url, "ann"), rank(url, "ann")]
    assert {answer.status_code for answer in lost} == {503}
    assert all("the server lost it" in answer.json()["detail"] for answer in lost)


def test_a_server_that_goes_and_comes_back_empty(server):
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
