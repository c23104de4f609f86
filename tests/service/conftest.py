"""Real stores and real servers for the tests of the service."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

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

#: Scores that float32 holds exactly; ann has a list, bob is known and has an empty one.
USERS: Users = {"ann": [("i1", 0.75, 2.0), ("i2", 0.5, -1.0), ("i3", 0.25, 3.0)], "bob": []}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def publish(folder: Path) -> Publish:
    """publish(version, users, as_of): commits one version of user_scores into the store at `folder`."""

    def commit(version: str, users: Users = USERS, as_of: datetime | None = None) -> None:
        store = feature_store.open_store(f"file:{folder}")
        columns = [[item[place] for item in items] for items in users.values() for place in range(3)]
        batch = pa.record_batch([list(users), columns[0::3], columns[1::3], columns[2::3]], schema=SCHEMA)
        with store.begin("user_scores", version).writer("part-0") as writer:
            writer.write(batch)
        metadata = {"as_of": (as_of or datetime.now(UTC) - timedelta(hours=1)).isoformat()}
        store.commit("user_scores", version, expect_parts=["part-0"], metadata=metadata)

    return commit


@contextmanager
def _running(store_url: str, settings: Service, token: str | None) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(create_app(store_url, settings, token=token), log_level="warning"))
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

    def serve(token: str | None = None, **settings: int) -> AbstractContextManager[str]:
        return _running(f"file:{folder}", Service(**settings), token)

    return serve
