"""The service as a process of its own: how it starts, refuses to start, and stops."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from recsys_text import config
from recsys_text.errors import ConfigError
from recsys_text.service.client import RankingClient
from recsys_text.service.server import TOKEN_VARIABLE, listen, serve
from tests.service.conftest import process


def test_serves_and_stops_gracefully_at_sigterm(publish, toml):
    publish("v1")
    with process(toml) as (server, url):
        body = json.dumps({"user_id": "ann", "candidates": ["i2", "i1"]}).encode()
        with httpx.Client(base_url=url, timeout=20) as client:
            assert client.get("/ready").json()["version"] == "v1"

            def slow_body() -> Iterator[bytes]:
                yield body[:5]
                server.send_signal(signal.SIGTERM)
                # The request has begun, and the server knows of the signal, once no new one is taken.
                for _ in range(200):
                    try:
                        httpx.get(f"{url}/health", timeout=1)
                    except httpx.HTTPError:
                        break
                yield body[5:]

            answer = client.post("/rank", content=slow_body(), headers={"Content-Type": "application/json"})
        assert answer.status_code == 200
        assert [item["item_id"] for item in answer.json()["items"]] == ["i1", "i2"]
        assert server.wait(timeout=20) in {0, -signal.SIGTERM}


def test_ctrl_c_ends_it_without_a_traceback(toml):
    with process(toml) as (server, url):
        assert httpx.get(f"{url}/health").status_code == 200
        server.send_signal(signal.SIGINT)
        _, said = server.communicate(timeout=20)
        assert server.returncode == 0
    assert "Traceback" not in said


def test_takes_the_token_from_the_environment(publish, toml):
    publish("v1")
    with process(toml, RECSYS_TEXT_TOKEN="secret\n", RECSYS_TEXT_SERVICE__HOST="0.0.0.0") as (_, url):
        here = url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{here}/users/ann/items").status_code == 401
        with RankingClient(here, token="secret", timeout=20) as client:
            assert client.get_items("ann").known


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "localhost", "192.0.2.1", "example.org"])
@pytest.mark.parametrize("token", [None, "", " "])
def test_refuses_to_open_itself_to_others_without_a_token(toml, monkeypatch, host, token):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    if token is not None:
        monkeypatch.setenv(TOKEN_VARIABLE, token)
    monkeypatch.setenv("RECSYS_TEXT_SERVICE__HOST", host)
    with pytest.raises(ConfigError, match=f"service.host '{host}' .* {TOKEN_VARIABLE}") as refusal:
        serve(config.load(toml))
    assert refusal.value.exit_code == 2


def test_an_address_that_is_taken_is_named(toml, monkeypatch):
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setenv("RECSYS_TEXT_SERVICE__PORT", str(port))
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}: Address already in use"):
            serve(config.load(toml))


def test_imports_neither_torch_nor_mlflow_nor_airflow():
    program = (
        "import sys\n"
        "import recsys_text.service.server, recsys_text.service.client\n"
        "print(sorted({'torch', 'mlflow', 'airflow', 'lightgbm', 'sklearn'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n"


def test_what_a_start_leaves_in_memory_is_out_of_the_garbage_collectors_way():
    program = (
        "import gc\n"
        "from recsys_text.sections import Service\n"
        "from recsys_text.service.server import start_app\n"
        "app = start_app('file:nowhere', Service())\n"
        "print(gc.get_freeze_count() > 10 * len(gc.get_objects()))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "True\n"
