"""The explorer over a store made by hand, asked without a socket."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from recsys_text.sections import Service
from recsys_text.service.app import create_app

Explorer = Callable[..., AbstractContextManager[TestClient]]

ADDRESS = "http://127.0.0.1"


@pytest.fixture
def explorer(folder: Path) -> Explorer:
    """explorer(token=...): a context in which a client of the application asks, that follows no redirection."""

    @contextmanager
    def running(token: str | None = None) -> Iterator[TestClient]:
        app = create_app(f"file:{folder}", Service(max_candidates=100), token=token)
        with TestClient(app, base_url=ADDRESS, follow_redirects=False) as client:
            yield client

    return running
