"""A connection leads to the store that it names, and to no other."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import feature_store
from recsys_text.errors import ConfigError
from recsys_text.provider.hook import RecsysTextHook, store_url
from tests.feature_store.redis_server import RedisServer

BATCH = pa.record_batch(
    {"user_id": ["ann"], "item_id": pa.array([["i1", "i2"]]), "score": pa.array([[0.75, 0.5]], pa.list_(pa.float32()))}
)


def connect(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> RecsysTextHook:
    monkeypatch.setenv("AIRFLOW_CONN_SHOP", json.dumps({"conn_type": "recsys_text", **fields}))
    return RecsysTextHook("shop")


def publish(url: str) -> None:
    store = feature_store.open_store(url)
    with store.begin("user_scores", "v1").writer("part") as writer:
        writer.write(BATCH)
    store.commit(
        "user_scores", "v1", expect_parts=["part"], metadata={"as_of": datetime.now(UTC).isoformat(), "model": "1"}
    )


def test_reads_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    publish(f"file:{tmp_path}/a store")
    hook = connect(monkeypatch, extra={"folder": f"{tmp_path}/a store"})
    reader = hook.reader()
    assert reader.version == "v1"
    row = reader.get("ann")
    assert row is not None
    assert row["item_id"] == ["i1", "i2"]
    assert hook.test_connection() == (True, "The store has user_scores")


def test_reads_a_redis_with_its_password_and_prefix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "maxmemory-policy noeviction")
    try:
        publish(server.url_as("default", server.password, "prefix=shop:"))
        where: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "login": "default"}
        hook = connect(monkeypatch, **where, password=server.password, extra={"prefix": "shop:", "database": 0})
        assert hook.reader().version == "v1"
        assert (
            connect(monkeypatch, **where, password=server.password).test_connection()[1].startswith("The store answers")
        )
        worked, said = connect(monkeypatch, **where, password="wrong/@").test_connection()
        assert not worked
        assert "wrong/@" not in said
        assert "wrong%2F" not in said
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"extra": {"folder": "/srv/store"}}, "file:/srv/store"),
        ({"host": "redis"}, "redis://redis:6379/0"),
        ({"host": "redis", "port": 7000, "extra": {"database": 3}}, "redis://redis:7000/3"),
        ({"host": "redis", "password": "a/b@c"}, "redis://:a%2Fb%40c@redis:6379/0"),
        ({"host": "redis", "login": "shop", "password": "x"}, "redis://shop:x@redis:6379/0"),
        ({"host": "redis", "extra": {"tls": True, "prefix": "a&b:"}}, "rediss://redis:6379/0?prefix=a%26b%3A"),
        ({"host": "redis", "extra": {"tls": "false"}}, "redis://redis:6379/0"),
    ],
)
def test_the_address_is_that_of_the_fields(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], url: str) -> None:
    hook = connect(monkeypatch, **fields)
    assert store_url(hook.get_connection("shop")) == url


@pytest.mark.parametrize(
    ("fields", "said"),
    [({}, "no store"), ({"host": "redis", "extra": {"folder": "/srv"}}, "both a folder and a Redis")],
)
def test_a_connection_names_one_store(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], said: str) -> None:
    hook = connect(monkeypatch, **fields)
    with pytest.raises(ConfigError, match=f"'shop' names {said}"):
        hook.get_conn()
    assert hook.test_connection()[0] is False
