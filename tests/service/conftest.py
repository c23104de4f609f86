"""Real stores and real servers for the tests of the service."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import uvicorn

import feature_store
from recsys_text.sections import Service
from recsys_text.service.app import create_app
from recsys_text.service.server import listen

Users = Mapping[str, Sequence[tuple[str, float, float]]]
Publish = Callable[..., None]
Serve = Callable[..., AbstractContextManager[str]]

SCHEMA = pa.schema(
    {
        "user_id": pa.string(),
        "item_id": pa.list_(pa.string()),
        "score": pa.list_(pa.float32()),
        "interest": pa.list_(pa.float32()),
    }
)
WIDTH = 4
ITEM_SCHEMA = pa.schema(
    {
        "item_id": pa.string(),
        "vector": pa.list_(pa.float16(), WIDTH),
        "title": pa.string(),
        "category": pa.string(),
        "popular": pa.float32(),
        "near": pa.list_(pa.string()),
    }
)
USER_SCHEMA = pa.schema(
    {"user_id": pa.string(), "vector": pa.list_(pa.float16(), WIDTH), "history": pa.list_(pa.string())}
)

#: Scores that float32 holds exactly; ann has a list, bob is known and has an empty one.
USERS: Users = {"ann": [("i1", 0.75, 2.0), ("i2", 0.5, -1.0), ("i3", 0.25, 3.0)], "bob": []}
#: item_id -> vector, category, popular. new is of no pool, still is like nothing.
ITEMS: dict[str, tuple[list[float], str | None, float | None]] = {
    "i1": ([1, 0, 0, 0], "news", 0.25),
    "i2": ([0, 1, 0, 0], "news", 0.5),
    "i3": ([0, 0, 2, 0], "sports", 0.125),
    "new": ([2, 0, 1, 0], "sports", None),
    "still": ([0, 0, 0, 0], None, 0.75),
}
#: user_id -> vector, history.
READERS: dict[str, tuple[list[float], list[str]]] = {
    "ann": ([1, 0, 0.5, 0], ["i2", "gone", "i3"]),
    "bob": ([0, -1, 0, 0], ["i1"]),
    "vera": ([0, 0, 1, 0], []),
}
MATCH = {"level": -0.5, "interest": 0.75, "popular": 0.5}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


def commit(folder: Path, view: str, version: str, batch: Any, metadata: Mapping[str, str]) -> None:
    """One version of one part."""
    store = feature_store.open_store(f"file:{folder}")
    with store.begin(view, version).writer("part-0") as writer:
        writer.write(batch)
    store.commit(view, version, expect_parts=["part-0"], metadata=dict(metadata))


@pytest.fixture
def publish(folder: Path) -> Publish:
    """publish(version, users, as_of): commits one version of user_scores into the store at `folder`."""

    def publish(
        version: str,
        users: Users = USERS,
        as_of: datetime | None = None,
        *,
        view: str = "user_scores",
        model: str | None = None,
    ) -> None:
        columns = [[item[place] for item in items] for items in users.values() for place in range(3)]
        batch = pa.record_batch([list(users), columns[0::3], columns[1::3], columns[2::3]], schema=SCHEMA)
        metadata = {"as_of": (as_of or datetime.now(UTC) - timedelta(hours=1)).isoformat()}
        commit(folder, view, version, batch, metadata if model is None else metadata | {"model_version": model})

    return publish


def half(vectors: Sequence[Sequence[float]]) -> Any:
    flat = np.array(vectors, dtype=np.float16).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat, pa.float16()), WIDTH)


@pytest.fixture
def publish_items(folder: Path) -> Publish:
    """publish_items(version, items, model, match): commits one version of item_vectors."""

    def publish(
        version: str, items: Mapping[str, Any] = ITEMS, model: str = "7", match: Mapping[str, float] | None = MATCH
    ) -> None:
        vectors, categories, popular = zip(*items.values(), strict=True)
        columns = [
            list(items),
            half(vectors),
            [f"Title of {item}" for item in items],
            pa.array(categories, pa.string()),
            pa.array(popular, pa.float32()),
            [[] for _ in items],
        ]
        metadata = {"model_version": model} | ({} if match is None else {"match": json.dumps(match)})
        commit(folder, "item_vectors", version, pa.record_batch(columns, schema=ITEM_SCHEMA), metadata)

    return publish


@pytest.fixture
def publish_users(folder: Path) -> Publish:
    """publish_users(version, users, model): commits one version of user_vectors."""

    def publish(version: str, users: Mapping[str, Any] = READERS, model: str = "7") -> None:
        vectors, histories = zip(*users.values(), strict=True)
        batch = pa.record_batch([list(users), half(vectors), list(histories)], schema=USER_SCHEMA)
        commit(folder, "user_vectors", version, batch, {"model_version": model})

    return publish


@pytest.fixture
def publish_all(publish: Publish, publish_items: Publish, publish_users: Publish) -> Publish:
    """publish_all(version, model): commits the three views as a publication does, the scores last."""

    def publish_three(version: str = "v1", model: str = "7", users: Users = USERS) -> None:
        publish_items(version, model=model)
        publish_users(version, model=model)
        publish(version, users, model=model)

    return publish_three


@contextmanager
def running(store_url: str, settings: Service, token: str | None, root: Path) -> Iterator[str]:
    """A real server over any store; gives its address."""
    app = create_app(store_url, settings, token=token, root=root)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(timeout=20)
    assert not thread.is_alive()


@pytest.fixture
def serving(folder: Path) -> Serve:
    """serving(token=..., max_k=...): a context in which a real server answers; gives its address."""

    def serve(token: str | None = None, **settings: Any) -> AbstractContextManager[str]:
        return running(f"file:{folder}", Service(**settings), token, folder.parent)

    return serve


PROGRAM = """
import sys
from pathlib import Path
from recsys_text import config
from recsys_text.service.server import serve
serve(config.load(Path(sys.argv[1])))
"""


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    """A project whose store is the folder of the other fixtures."""
    path = tmp_path / "recsys.toml"
    path.write_text(
        '[project]\nname = "shop"\nroot = "."\n'
        '[sources.items]\nkind = "file"\npath = "items.parquet"\n'
        '[sources.events]\nkind = "file"\npath = "events.parquet"\n'
        "[service]\nport = 0\n"
    )
    return path


@contextmanager
def process(toml: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(toml)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert started.stderr is not None
        for line in started.stderr:
            if address := re.search(r"Ranking service on (http://\S+)", line):
                yield started, address[1]
                break
        else:
            pytest.fail("the service ended without a word about its address")
    finally:
        started.kill()
        started.communicate(timeout=20)


def wait_for(holds: Callable[[], object], *, seconds: float = 0.05, tries: int = 400) -> None:
    """Asks again and again, `seconds` apart, for as long as `tries` take."""
    for _ in range(tries):
        if holds():
            return
        time.sleep(seconds)
    pytest.fail("waited in vain")
