"""The client against a real server, and against everything that is none."""

import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from recsys_text.errors import ConfigError, UnavailableError
from recsys_text.service.client import RankedItem, RankingClient, ScoredItem
from recsys_text.service.server import listen

AS_OF = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)


def test_answers_are_typed(publish, serving):
    publish("v1", as_of=AS_OF)
    with serving() as url, RankingClient(url) as client:
        best = client.get_items("ann", k=1)
        ranking = client.rank("ann", ["x", "i2"])
        readiness = client.ready()
    assert (best.user_id, best.version, best.as_of, best.known) == ("ann", "v1", AS_OF, True)
    assert best.items == (ScoredItem(item_id="i1", score=0.75, interest=2.0),)
    assert best.age_seconds >= 7200
    assert ranking.items == (
        RankedItem(item_id="i2", score=0.5, interest=-1.0, source="stored"),
        RankedItem(item_id="x", score=None, interest=None, source="none"),
    )
    assert (readiness.ready, readiness.version, readiness.reason) == (True, "v1", None)


def test_an_unknown_user_is_told_apart_from_an_empty_list(publish, serving):
    publish("v1")
    with serving() as url, RankingClient(url) as client:
        unknown, empty = client.get_items("carl"), client.get_items("bob")
        ranking = client.rank("carl", ["i1"])
    assert (unknown.known, unknown.items, unknown.version) == (False, (), "v1")
    assert (empty.known, empty.items) == (True, ())
    assert not ranking.known


def test_any_id_reaches_the_service_as_it_is(publish, serving):
    users = ["..", ".", "a/../b", "a/b", "é 大", "a?k=1#x", "%2F", " "]
    publish("v1", {user: [(f"item of {user}", 0.5, 0.5)] for user in users})
    with serving() as url, RankingClient(url) as client:
        answers = [client.get_items(user) for user in users]
    assert [answer.user_id for answer in answers] == users
    assert [answer.items[0].item_id for answer in answers] == [f"item of {user}" for user in users]


def test_a_service_without_scores_is_unavailable_and_not_ready(serving):
    with serving() as url, RankingClient(url) as client:
        readiness = client.ready()
        with pytest.raises(UnavailableError, match="answered 503: view 'user_scores'"):
            client.get_items("ann")
        with pytest.raises(UnavailableError, match="answered 503"):
            client.rank("ann", ["i1"])
    assert not readiness.ready
    assert readiness.version is None
    assert readiness.reason


def test_a_refused_request_says_why(publish, serving):
    publish("v1")
    with serving(max_k=5) as url, RankingClient(url) as client, pytest.raises(ConfigError, match=r"422: k: .* got '6'"):
        client.get_items("ann", k=6)


def test_the_token_is_sent_and_a_wrong_one_is_told(publish, serving):
    publish("v1")
    with serving(token="secret") as url:
        with RankingClient(url, token="secret") as client:
            assert client.get_items("ann").known
        with RankingClient(url, token="wrong") as client:
            for ask in (client.ready, lambda: client.get_items("ann"), lambda: client.rank("ann", [])):
                with pytest.raises(ConfigError, match="answered 401: a valid bearer token is needed"):
                    ask()


def test_nobody_there_is_unavailable():
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with RankingClient(url) as client:
        for ask in (client.ready, lambda: client.get_items("ann"), lambda: client.rank("ann", [])):
            with pytest.raises(UnavailableError, match=f"{url} is out of reach"):
                ask()


def test_a_service_that_never_answers_is_unavailable():
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with RankingClient(url, timeout=0.2) as client, pytest.raises(UnavailableError, match="timed out"):
            client.ready()


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://127.0.0.1", "http://host:port", ""])
def test_a_wrong_address_is_named(url):
    with pytest.raises(ConfigError, match="is no address of a ranking service"), RankingClient(url) as client:
        client.ready()


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[]", b"7", b'{"items": []}', b'{"ready": true}'])
@pytest.mark.parametrize("status", [200, 404, 502])
def test_another_server_is_no_ranking_service(body, status):
    with _other_server(status, body) as url, RankingClient(url) as client:
        for ask in (lambda: client.get_items("ann"), client.ready, lambda: client.rank("ann", [])):
            with pytest.raises(UnavailableError, match="does not answer as a ranking service"):
                ask()


def test_the_client_needs_only_the_base_install():
    program = (
        "import sys\n"
        "for name in ('fastapi', 'uvicorn', 'starlette', 'prometheus_client', 'torch', 'mlflow', 'airflow'):\n"
        "    sys.modules[name] = None\n"
        "from recsys_text.service.client import RankingClient\n"
        "import feature_store\n"
        "RankingClient('http://127.0.0.1:9').close()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@contextmanager
def _other_server(status, body):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_):
            """Says nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
