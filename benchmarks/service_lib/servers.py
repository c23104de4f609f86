"""Servers under test, each in a process of its own: ours, a bare one of the same kind, Feast's. Knows no clients."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.store_lib.peers import FEAST
from feature_store import open_store

HOST = "127.0.0.1"
ITEMS = 5000
WIDTH = 1217
CANDIDATES = 200


def item(number: int) -> str:
    return f"item-{number:06d}"


def user(number: int) -> str:
    return f"user-{number:07d}"


def publish(url: str, users: int) -> None:
    """The three views of a store: stored scores of 200 items a user, vectors of the width of a default model."""
    draw = np.random.default_rng(7)
    store = open_store(url)
    names = [user(number) for number in range(users)]
    ids = pa.array([item(number) for number in range(ITEMS)])
    offsets = np.arange(users + 1, dtype=np.int32) * CANDIDATES
    scores = -np.sort(-draw.random((users, CANDIDATES), dtype=np.float32), axis=1).ravel()
    codes = np.argsort(draw.random((users, ITEMS), dtype=np.float32), axis=1)[:, :CANDIDATES].astype(np.int32).ravel()

    def lists(values: Any, starts: Any) -> Any:
        return pa.ListArray.from_arrays(pa.array(starts), values)

    coded = pa.DictionaryArray.from_arrays(pa.array(codes), ids)
    batches = {
        "item_vectors": {
            "item_id": ids,
            "vector": vectors(draw, ITEMS),
            "title": pa.array([f"Title of item {number}" for number in range(ITEMS)]),
            "category": pa.array([f"category-{number % 20}" for number in range(ITEMS)]),
            "popular": pa.array(draw.uniform(0.01, 0.3, ITEMS).astype(np.float32)),
            "near": lists(pa.DictionaryArray.from_arrays(pa.array(codes[: ITEMS * 20]), ids), offsets_of(ITEMS, 20)),
        },
        "user_vectors": {
            "user_id": pa.array(names),
            "vector": vectors(draw, users),
            "history": lists(coded.take(pa.array(np.arange(users * 30))), offsets_of(users, 30)),
        },
        "user_scores": {
            "user_id": pa.array(names),
            "item_id": lists(coded, offsets),
            "score": lists(pa.array(scores), offsets),
            "interest": lists(pa.array(scores), offsets),
        },
    }
    for view, columns in batches.items():
        with store.begin(view, "v1").writer("all") as writer:
            writer.write(pa.record_batch(columns))
        metadata = {"as_of": datetime.now(UTC).isoformat(), "model_version": "1"}
        if view == "item_vectors":
            metadata["match"] = '{"level": -0.5, "interest": 0.4, "popular": 0.6}'
        store.commit(view, "v1", expect_parts=["all"], metadata=metadata)


def vectors(draw: np.random.Generator, rows: int) -> Any:
    values = draw.normal(0, 0.05, rows * WIDTH).astype(np.float16)
    return pa.FixedSizeListArray.from_arrays(pa.array(values), WIDTH)


def offsets_of(rows: int, size: int) -> Any:
    return np.arange(rows + 1, dtype=np.int32) * size


def ours(url: str, port: int) -> None:
    import uvicorn  # noqa: PLC0415 - in the process that serves

    from recsys_text.sections import Service  # noqa: PLC0415
    from recsys_text.service.server import start_app  # noqa: PLC0415

    uvicorn.run(start_app(url, Service()), host=HOST, port=port, access_log=False, log_level="error")


def bare(body: bytes, port: int) -> None:
    """An endpoint of the same frameworks that does nothing but return these bytes."""
    import uvicorn  # noqa: PLC0415
    from fastapi import FastAPI, Response  # noqa: PLC0415

    app = FastAPI()

    @app.get("/users/{user_id}/items")
    async def items(user_id: str, k: int = 10) -> Response:
        return Response(body, media_type="application/json")

    uvicorn.run(app, host=HOST, port=port, access_log=False, log_level="error")


@contextmanager
def running(target: Callable[..., None], argument: Any) -> Iterator[int]:
    """The port of a server in a process of its own, once it answers."""
    port = free_port()
    process = get_context("spawn").Process(target=target, args=(argument, port), daemon=True)
    process.start()
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.join()


@contextmanager
def feast_serving(folder: Path, users: int) -> Iterator[int]:
    """`feast serve` with the same lists in its own SQLite store."""
    import pandas as pd  # noqa: PLC0415
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType  # noqa: PLC0415
    from feast.types import Array, Float32, String  # noqa: PLC0415

    folder.mkdir()
    (folder / "feature_store.yaml").write_text(FEAST)
    draw = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "user_id": [user(number) for number in range(users)],
            "item_id": [[item(n) for n in draw.integers(0, ITEMS, 10).tolist()] for _ in range(users)],
            "score": [draw.random(10).astype(np.float32).tolist() for _ in range(users)],
            "at": [pd.Timestamp.now("UTC")] * users,
        }
    )
    frame.to_parquet(folder / "rows.parquet")
    entity = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    source = FileSource(path=str(folder / "rows.parquet"), timestamp_field="at")
    fields = [Field(name="item_id", dtype=Array(String)), Field(name="score", dtype=Array(Float32))]
    store = FeatureStore(repo_path=str(folder))
    store.apply([entity, FeatureView(name="user_scores", entities=[entity], schema=fields, source=source)])
    store.write_to_online_store("user_scores", df=frame)
    port = free_port()
    command = [str(Path(sys.executable).with_name("feast")), "serve", "-h", HOST, "-p", str(port), "--no-access-log"]
    environment = {**os.environ, "FEAST_USAGE": "False"}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(port, seconds=120)
        yield port
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(port: int, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
