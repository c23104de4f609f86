"""What a request may be: its token, its sizes, its ids."""

import socket
from contextlib import suppress

import httpx
import pytest

LONGEST = "x" * 256
JSON = {"Content-Type": "application/json"}


BAD_QUESTIONS = {
    "/users/ann/items?k=6": "k: Input should be less than or equal to 5, got '6'",
    "/users/ann/items?k=0": "k: Input should be greater than or equal to 1, got '0'",
    "/users/ann/items?k=many": "k: Input should be a valid integer",
    f"/users/{LONGEST}y/items": "user_id: String should have at most 256 characters",
    "/users/a%00b/items": "user_id: String should match pattern",
    "/users//items": "user_id: String should have at least 1 character",
}
BAD_BODIES = {
    b'{"user_id": "ann", "candidates": ["a","b","c","d","e","f"]}': "candidates: List should have at most 5 items",
    b'{"user_id": "ann", "candidates": ["a", 7]}': "candidates.1: Input should be a valid string, got 7",
    b'{"user_id": "ann", "candidates": ["a", ""]}': "candidates.1: String should have at least 1 character",
    b'{"user_id": "ann", "candidates": "a"}': "candidates: Input should be a valid list, got 'a'",
    b'{"user_id": "\\ud800", "candidates": []}': "user_id: Input should be a valid string",
    b'{"candidates": []}': "user_id: Field required",
    b"[]": "the body: Input should be a valid dictionary",
    b"": "the body: Field required",
    b'{"user_id": "ann", "candidates": [], "diverse": 1}': "diverse: Extra inputs are not permitted, got 1",
    b'{"user_id": "ann", "candidates": [], "diversity": 1}': "diversity: Input should be less than 1, got 1",
    b'{"user_id": "ann", "candidates": [], "diversity": NaN}': "diversity: Input should be",
    b'{"user_id": "ann", "candidates": [], "k": 0}': "k: Input should be greater than or equal to 1, got 0",
    b'{"user_id": "ann", "candidates": [], "experiment": "x"}': "experiment: no such experiment; the service has none",
    b'{"user_id": "ann", "candidates": [], "categories": ["x"]}': "categories: the store has no view 'item_vectors'",
    b'{"user_id": "ann", "candidates": [], "seen": true}': "seen: the store has no view 'user_vectors'",
    b'{"user_id": ': "the body is no JSON: Expecting value at character 12",
    b'{"user_id": "ann", "candidates": ["a", "b", "a"]}': "candidates: 'a' is among them twice",
    b'{"user_id": "ann", "candidates": [], "k": 6}': "k: Input should be less than or equal to 5, got 6",
    b'{"user_id": "ann", "candidates": [], "k": -Infinity}': "k: Input should be a finite number",
    b'{"user_id": "ann", "candidates": [NaN]}': "candidates.0: Input should be a valid string, got nan",
    b'{"user_id": "ann", "candidates": '
    + b"[" * 900
    + b"]" * 900
    + b"}": "candidates.0: Input should be a valid string",
    b"\x00": "the body is no JSON: Expecting value at character 0",
}
UNREADABLE_BODIES = [b'{"user_id": "\xff"}', b"[" * 4000, b'{"user_id": ' + b"9" * 4301]


def is_one_clear_line(answer: httpx.Response) -> bool:
    return "\n" not in answer.text and len(answer.text) < 400 and list(answer.json()) == ["detail"]


def test_a_bad_question_gets_one_clear_line(publish, serving):
    publish("v1")
    with serving(max_k=5) as url, httpx.Client(base_url=url) as client:
        for path, words in BAD_QUESTIONS.items():
            answer = client.get(path)
            assert answer.status_code == 422, path
            assert answer.json()["detail"].startswith(words)
            assert is_one_clear_line(answer)


def test_a_bad_body_gets_one_clear_line(publish, serving):
    publish("v1")
    with serving(max_candidates=5) as url, httpx.Client(base_url=url, headers=JSON) as client:
        for body, words in BAD_BODIES.items():
            answer = client.post("/rank", content=body)
            assert answer.status_code == 422, body
            assert answer.json()["detail"].startswith(words)
            assert is_one_clear_line(answer)
        for body in UNREADABLE_BODIES:
            answer = client.post("/rank", content=body)
            assert answer.status_code in {400, 422}, body
            assert is_one_clear_line(answer)


def test_a_body_that_is_not_said_to_be_json_is_refused_with_the_way_out(publish, serving):
    publish("v1")
    with serving() as url:
        answer = httpx.post(f"{url}/rank", content=b'{"user_id": "ann", "candidates": []}')
    assert answer.status_code == 422
    assert answer.json()["detail"] == "send the body as JSON, with 'Content-Type: application/json'"


def test_the_longest_candidates_that_are_allowed_pass(publish, serving):
    publish("v1")
    longest = [chr(0x1F600) * 255 + chr(0x4E00 + n) for n in range(20)]
    with serving(max_candidates=20) as url:
        answer = httpx.post(f"{url}/rank", json={"user_id": longest[0], "candidates": longest})
    assert answer.status_code == 200
    assert [item["item_id"] for item in answer.json()["items"]] == longest


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused_and_the_server_goes_on(publish, serving, chunked):
    publish("v1")
    chunk = b"x" * 65536
    body = (chunk for _ in range(160)) if chunked else chunk * 160
    with serving(max_candidates=10) as url, httpx.Client() as client:
        answer = client.post(f"{url}/rank", content=body, headers=JSON)
        after = client.get(f"{url}/users/ann/items")
    assert answer.status_code == 413
    assert answer.json()["detail"].startswith("the body of a request may have")
    assert after.status_code == 200


def test_an_id_that_looks_like_a_path_is_only_an_id(publish, serving):
    users = ["../../etc/passwd", "..", "a/b", "a/items", "é 大", "a?k=1", "%2F", "50%", "#", "/"]
    publish("v1", {user: [("i1", 0.5, 0.5)] for user in users})
    with serving() as url, httpx.Client(base_url=url) as client:
        for user in users:
            quoted = "".join(f"%{byte:02X}" for byte in user.encode())
            answer = client.get(f"/users/{quoted}/items")
            assert answer.status_code == 200, user
            assert answer.json()["user_id"] == user


def raw_status(url: str, request: bytes) -> int:
    """The status of an answer to bytes that no client would send."""
    with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[-1])), timeout=20) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request)
        return int(connection.makefile("rb").readline().split()[1])


HOSTILE_IDS = [
    b"%ED%A0%80",
    b"%FF",
    b"%00",
    b"a%0Ab",
    b"%F0%9F",
    b"..%2F..%2F%00",
    b"x" * 5000,
    b"x" * 10_000_000,
    b"%E2%82%28" * 90,
    b"../" * 80,
    b"%2e%2e%2f" * 80,
]
HOSTILE_BODIES = [
    b'{"user_id": "\\ud800", "candidates": ["a"]}',
    b'{"user_id": "ann", "candidates": ["\\udfff\\ud800"]}',
    b'{"user_id": "ann", "candidates": ["a\\u0000"]}',
    b'{"user_id": "\xed\xa0\x80", "candidates": ["a"]}',
    b'{"user_id": "ann", "candidates": ["a"], "categories": ["\\ud800"]}',
    b'{"user_id": "ann", "candidates": ["a"], "diversity": 1e999}',
    b'{"user_id": "ann", "candidates": ["a"], "k": 1e30}',
    b'{"user_id": "ann", "candidates": ["a"], "experiment": "\\ud800"}',
    b'{"user_id": ["ann"], "candidates": {"a": 1}}',
    b'{"user_id": "ann", "candidates": ["a"], "diversity": 1' + b"0" * 400 + b"}",
    b'{"user_id": "ann", "candidates": ["a"], "k": ' + b"9" * 4000 + b"}",
    b'{"user_id": "ann", "candidates": ["a"], "seen": ' + b'{"a":' * 60_000 + b"1" + b"}" * 60_000 + b"}",
    b'{"user_id": "ann", "candidates": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
]


def test_hostile_ids_and_bodies_are_refused_and_the_server_goes_on(publish_all, serving, capfd):
    publish_all()
    with serving() as url, httpx.Client(base_url=url, headers=JSON) as client:
        for user in HOSTILE_IDS:
            request = b"GET /users/" + user + b"/items HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            assert 400 <= raw_status(url, request) < 500, user
        for body in HOSTILE_BODIES:
            assert 400 <= client.post("/rank", content=body).status_code < 500, body
            batch = b'{"requests": [' + body + b"]}"
            assert 400 <= client.post("/rank/batch", content=batch).status_code < 500, body
        huge = b'{"user_id": "' + b"x" * 10_000_000 + b'", "candidates": []}'
        assert client.post("/rank", content=huge).status_code == 413
        assert client.get("/users/ann/items").status_code == 200
    assert "Traceback" not in capfd.readouterr().err


HERE = ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]", "[::1]:8000"]
ELSEWHERE = [
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "localhost.",
    "",
    ":",
    "[::1",
    "\xe9",
    "x" * 500,
]


def ask_as(url: str, host: str, path: str) -> httpx.Response:
    # As bytes: no client's idea of what a host may be.
    return httpx.get(url + path, headers={"Host": host.encode("latin-1")})


def test_without_a_token_only_this_machine_is_asked_by_name(publish, serving):
    publish("v1")
    with serving() as url:
        for host in HERE:
            assert ask_as(url, host, "/users/ann/items").status_code == 200, host
        for host in ELSEWHERE:
            for path in ("/users/ann/items", "/explore", "/ready", "/nowhere"):
                refused = ask_as(url, host, path)
                assert 400 <= refused.status_code < 500, host
                assert "v1" not in refused.text
                assert "X-Scores-Version" not in refused.headers
        open_to_all = ask_as(url, "evil.example", "/health")
        named = ask_as(url, "evil.example:8000", "/explore/versions")
        posted = httpx.post(
            f"{url}/rank", json={"user_id": "ann", "candidates": ["i1"]}, headers={"Host": "evil.example"}
        )
        assert raw_status(url, b"GET /users/ann/items HTTP/1.0\r\n\r\n") == 421
    assert (named.status_code, posted.status_code) == (421, 421)
    assert (open_to_all.text, "X-Scores-Version" in open_to_all.headers) == ('{"status":"alive"}', False)
    assert named.json()["detail"] == (
        "this service is not at 'evil.example': ask 127.0.0.1 or localhost, or give the service a token"
    )


def test_the_host_that_is_configured_is_asked_by_name_too(publish, serving):
    publish("v1")
    with serving(host="Shop.internal") as url:
        assert ask_as(url, "shop.internal:8000", "/users/ann/items").status_code == 200
        assert ask_as(url, "localhost", "/users/ann/items").status_code == 200
        assert ask_as(url, "other.internal", "/users/ann/items").status_code == 421


def test_with_a_token_the_host_is_no_matter(publish, serving):
    publish("v1")
    with serving(token="secret") as url:
        headers = {"Host": "shop.example", "Authorization": "Bearer secret"}
        assert httpx.get(f"{url}/users/ann/items", headers=headers).status_code == 200


def test_a_page_of_another_site_cannot_ask_for_a_ranking(publish, serving):
    # Without asking this service first, a browser lets it send no other types; JSON is none of them.
    publish("v1")
    body = b'{"user_id": "ann", "candidates": ["i1"]}'
    with serving() as url:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            headers = {"Content-Type": kind, "Origin": "https://evil.example"}
            assert httpx.post(f"{url}/rank", content=body, headers=headers).status_code == 422
        asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        allowed = httpx.options(f"{url}/rank", headers=asked)
    assert allowed.status_code == 405
    assert not any(name.startswith("access-control") for name in allowed.headers)


PATHS = ("/users/ann/items", "/ready", "/metrics", "/openapi.json", "/docs", "/nowhere")


def test_without_the_token_nothing_but_health_answers(publish, serving):
    publish("v1")
    with serving(token="secret") as url, httpx.Client(base_url=url) as client:
        for header in (None, "Bearer wrong", "Bearer", "Basic secret", "secret", "Bearer sécret", "Bearer secrets"):
            headers = {} if header is None else {"Authorization": header.encode()}
            answers = [client.get(path, headers=headers) for path in PATHS]
            answers.append(client.post("/rank", json={"user_id": "ann", "candidates": ["i1"]}, headers=headers))
            answers.append(client.post("/rank/batch", json={"requests": []}, headers=headers))
            health = client.get("/health", headers=headers)
            assert {answer.status_code for answer in answers} == {401}
            assert all(answer.headers["WWW-Authenticate"] == "Bearer" for answer in answers)
            assert (health.status_code, health.text) == (200, '{"status":"alive"}')
            assert not any("v1" in answer.text or "X-Scores-Version" in answer.headers for answer in [*answers, health])


def test_with_the_token_everything_answers_and_openapi_names_it(publish, serving):
    publish("v1")
    with serving(token="secret") as url, httpx.Client(base_url=url) as client:
        for header in ("Bearer secret", "bearer secret", "BEARER  secret"):
            assert client.get("/users/ann/items", headers={"Authorization": header}).status_code == 200
            assert client.get("/metrics", headers={"Authorization": header}).status_code == 200
        document = client.get("/openapi.json", headers={"Authorization": header}).json()
    assert document["components"]["securitySchemes"]["token"] == {"type": "http", "scheme": "bearer"}
    assert document["security"] == [{"token": []}]
    assert document["paths"]["/health"]["get"]["security"] == []
