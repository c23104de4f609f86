"""Who sees the pages: nobody without the token, and a browser by the cookie that the token gives."""

import hashlib
import hmac
from http.cookies import SimpleCookie

import pytest
from fastapi.testclient import TestClient

from recsys_text.service.explore.sign_in import COOKIE, local
from tests.service.explore import shelf
from tests.service.explore.reading import Page

TOKEN = "secret-of-the-service"
PATHS = ("/explore", "/explore/user?id=ann", "/explore/versions", "/explore/nowhere", "/explore/sign-in")


def sign_in(client: TestClient, token: str = TOKEN, **fields: str):
    return client.post("/explore/sign-in", data={"token": token, **fields})


def cookie_of(answer) -> str:
    return SimpleCookie(answer.headers["Set-Cookie"])[COOKIE].value


def test_without_the_token_there_is_a_form_and_no_data(folder, explorer):
    shelf.publish(folder, "v1")
    with explorer(TOKEN) as client:
        answers = [client.get(path) for path in PATHS]
        answers += [client.post(path, data={"version": "v1"}) for path in ("/explore/versions", "/explore/sign-out")]
    for answer in answers:
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "X-Scores-Version" not in answer.headers
        assert "Set-Cookie" not in answer.headers
        assert set(Page(answer.text).fields) == {"to", "token", "username"}
        assert not any(word in answer.text for word in ("v1", "Dune", "user_scores", TOKEN))


def test_the_right_token_leads_to_the_page_that_was_asked_for(folder, explorer):
    shelf.publish(folder, "v1")
    with explorer(TOKEN) as client:
        form = Page(client.get("/explore/user?id=ann%20%26").text)
        assert form.fields["to"] == "/explore/user?id=ann%20%26"
        answer = sign_in(client, to=form.fields["to"])
        assert (answer.status_code, answer.headers["Location"]) == (303, "/explore/user?id=ann%20%26")
        assert client.get("/explore/user?id=ann").status_code == 200
        assert client.get("/explore/sign-in").headers["Location"] == "/explore"


def test_the_cookie_is_not_the_token_and_is_kept_from_scripts_and_other_sites(explorer):
    with explorer(TOKEN) as client:
        plain = sign_in(client)
        secure = client.post("https://127.0.0.1/explore/sign-in", data={"token": TOKEN})
    said = plain.headers["Set-Cookie"]
    assert TOKEN not in said
    assert {"HttpOnly", "Path=/explore", "SameSite=strict"} <= {part.strip() for part in said.split(";")}
    assert "Secure" not in said
    assert "Secure" in secure.headers["Set-Cookie"]
    assert cookie_of(plain) != hashlib.sha256(TOKEN.encode()).hexdigest()
    assert len(cookie_of(plain)) == 64


@pytest.mark.parametrize("token", ["wrong", "", TOKEN[:-1], TOKEN + "x", "sécret"])
def test_a_wrong_token_is_refused_in_plain_words(explorer, token):
    with explorer(TOKEN) as client:
        answer = sign_in(client, token, to="/explore/versions")
        assert answer.status_code == 401
        assert "That is not the token of this service." in Page(answer.text).text
        assert Page(answer.text).fields["to"] == "/explore/versions"
        assert "Set-Cookie" not in answer.headers
        assert client.get("/explore").status_code == 401


def test_only_the_pages_take_the_cookie(folder, explorer):
    shelf.publish(folder, "v1")
    with explorer(TOKEN) as client:
        headers = {"Cookie": f"{COOKIE}={cookie_of(sign_in(client))}"}
        client.cookies.clear()
        assert client.get("/explore", headers=headers).status_code == 200
        for path in ("/users/ann/items", "/ready", "/metrics", "/docs", "/explored", "/explorer/x"):
            assert client.get(path, headers=headers).status_code == 401, path
        assert client.post("/rank", json={"user_id": "a", "candidates": []}, headers=headers).status_code == 401


def test_a_forged_cookie_or_one_of_another_token_is_none(explorer):
    with explorer("another") as client:
        other = cookie_of(sign_in(client, "another"))
    forged = hmac.new(b"", b"recsys-text explorer, signed in", hashlib.sha256).hexdigest()
    with explorer(TOKEN) as client:
        for value in (other, forged, TOKEN, "", "0" * 64, "é"):
            answer = client.get("/explore", headers={"Cookie": f"{COOKIE}={value}".encode()})
            assert answer.status_code == 401, value


def test_signing_out_ends_it(explorer):
    with explorer(TOKEN) as client:
        sign_in(client)
        assert "Sign out" in Page(client.get("/explore").text).text
        answer = client.post("/explore/sign-out")
        assert (answer.status_code, answer.headers["Location"]) == (303, "/explore")
        assert client.get("/explore").status_code == 401


def test_the_bearer_token_opens_the_pages_too(explorer):
    with explorer(TOKEN) as client:
        assert client.get("/explore", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_a_service_without_a_token_asks_for_none(explorer):
    with explorer() as client:
        assert "Sign out" not in Page(client.get("/explore").text).text
        assert client.get("/explore/sign-in").headers["Location"] == "/explore"
        answer = sign_in(client, "anything")
        assert answer.headers["Location"] == "/explore"
        assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "to", ["https://elsewhere.example/", "//elsewhere.example", "/users/ann/items", "/explorer", ""]
)
def test_signing_in_leads_nowhere_else(explorer, to):
    assert local(to) == "/explore"
    with explorer(TOKEN) as client:
        assert sign_in(client, to=to).headers["Location"] == "/explore"


def test_a_form_that_cannot_be_read_is_refused(explorer):
    with explorer(TOKEN) as client:
        for body in (b"\xff\xfe", b"&".join([b"token=x"] * 50), b""):
            answer = client.post("/explore/sign-in", content=body)
            assert answer.status_code == 401


@pytest.mark.parametrize(
    "headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://elsewhere.example"}, {"Origin": "null"}]
)
def test_a_form_of_another_site_signs_nobody_in_or_out(explorer, headers):
    with explorer(TOKEN) as client:
        answer = client.post("/explore/sign-in", data={"token": TOKEN}, headers=headers)
        assert (answer.status_code, "Set-Cookie" in answer.headers) == (401, False)
        sign_in(client)
        assert client.post("/explore/sign-out", headers=headers).status_code == 403
        assert client.get("/explore").status_code == 200


def test_an_origin_that_is_no_address_is_refused(explorer):
    with explorer(TOKEN) as client:
        answer = client.post("/explore/sign-in", data={"token": TOKEN}, headers={"Origin": "http://[x"})
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers
