"""How Redis is reached: TLS, users with few rights, servers that would lose rows, and secrets that stay ours."""

import logging
import subprocess
from pathlib import Path

import pytest

from feature_store import EvictingServer, StoreError, StoreUnavailable, open_store, shown_url
from feature_store.cli import main
from feature_store.redis import RedisStore
from recsys_text.service.views import Views
from tests.contracts.store_data import ROWS, batch, publish
from tests.feature_store.redis_server import RedisServer

RIGHTS = "~fs:* +@read +@write +@transaction +@connection +time"
READING = "%R~fs:* ~fs:l:* +@read +@connection +@transaction +time +config|get +zadd +zrem +zremrangebyscore +expire"


def test_by_tls_with_a_certificate_of_our_own(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    subprocess.run(
        [*words, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    options = (f"tls-cert-file {certificate}", f"tls-key-file {key}", "tls-auth-clients no")
    server = RedisServer(tmp_path, *options, scheme="rediss")
    try:
        trusting = f"ssl_ca_certs={certificate}"
        store = open_store(server.url_as("default", server.password, trusting))
        publish(store, "v1")
        assert store.reader("user_scores").get("ann") == ROWS[0]
        with pytest.raises(StoreUnavailable, match="CERTIFICATE_VERIFY_FAILED") as caught:
            open_store(server.url).reader("user_scores")
        assert server.password not in str(caught.value)
    finally:
        server.kill()


def test_a_user_with_the_rights_it_needs(server: RedisServer) -> None:
    server.command("acl", "setuser", "shop", "on", ">geheim", *RIGHTS.split(), "+info")
    server.command("acl", "setuser", "reader", "on", ">geheim", *READING.split())
    shop = open_store(server.url_as("shop", "geheim"))
    publish(shop, "v1")
    with shop.begin("user_scores", "v2").writer("p") as writer:
        writer.write(batch(ROWS))
    assert list(shop.staged("user_scores")) == ["v2"]
    reading = open_store(server.url_as("reader", "geheim"))
    held = reading.reader("user_scores")
    assert held.get("ann") == ROWS[0]
    assert server.command("--scan", "--pattern", "fs:l:*") != ""
    with pytest.raises(StoreUnavailable, match=r"no permissions.*grant this user"):
        reading.begin("user_scores", "v3")
    server.command("acl", "setuser", "narrow", "on", ">geheim", "~other:*", *RIGHTS.split()[1:], "+info")
    with pytest.raises(StoreUnavailable, match=r"no permissions.*grant this user the command and the keys"):
        open_store(server.url_as("narrow", "geheim")).begin("user_scores", "v2")


def test_a_server_that_does_not_tell_its_policy(server: RedisServer) -> None:
    server.command("acl", "setuser", "shop", "on", ">geheim", *RIGHTS.split())
    for use in (lambda store: store.begin("view", "v1"), lambda store: store.reader("view")):
        with pytest.raises(EvictingServer, match=r"allow this user CONFIG GET \(`\+config\|get`\) or INFO"):
            use(open_store(server.url_as("shop", "geheim")))


@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random", "volatile-lru", "volatile-ttl"])
@pytest.mark.parametrize("right", ["+config|get", "+info"])
def test_an_evicting_server_is_refused(server: RedisServer, policy: str, right: str) -> None:
    store = open_store(server.url)
    with store.begin("user_scores", "v1").writer("p") as writer:
        writer.write(batch(ROWS))
    server.command("config", "set", "maxmemory-policy", policy)
    server.command("acl", "setuser", "shop", "on", ">geheim", *RIGHTS.split(), right)
    store = open_store(server.url_as("shop", "geheim"))
    for use in (
        lambda: store.begin("user_scores", "v2"),
        lambda: store.commit("user_scores", "v1", expect_parts=["p"], metadata={}),
        lambda: store.reader("user_scores"),
        lambda: store.snapshot("user_scores"),
    ):
        with pytest.raises(EvictingServer, match=rf"'{policy}'.*maxmemory-policy noeviction"):
            use()
    server.command("config", "set", "maxmemory-policy", "noeviction")
    assert store.commit("user_scores", "v1", expect_parts=["p"], metadata={}).rows == 3


def test_a_full_server_keeps_what_is_served(server: RedisServer) -> None:
    store = RedisStore(server.url, follow_seconds=0)
    publish(store, "v1")
    server.command("config", "set", "maxmemory", "1")
    with pytest.raises(StoreUnavailable, match="raise its maxmemory or prune old versions"):
        publish(store, "v2")
    assert store.reader("user_scores").get("ann") == ROWS[0]
    server.command("config", "set", "maxmemory", "0")
    publish(store, "v2")
    assert store.current("user_scores") == "v2"


def begin(url: str) -> None:
    store = open_store(url)
    assert "geheim" not in repr(store)
    assert "geheim" not in repr(vars(store))
    store.begin("view", "v1")


def test_a_password_is_never_shown(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "geheim"
    urls = [
        server.url_as("default", secret),
        f"redis://:{secret}@127.0.0.1:1/0",
        f"redis://:{secret}@127.0.0.1:port/0",
        f"redis://:{secret}/@127.0.0.1:{server.port}/0",
        f"redis://127.0.0.1:{server.port}/0?password={secret}",
        f"redis://127.0.0.1:{server.port}/0?pasword={secret}",
        f"redis://:{secret}@127.0.0.1:{server.port}/0?decode_responses=true",
        f"redis:{secret}@127.0.0.1",
        f"rediss://:{secret}@127.0.0.1:{server.port}/0?ssl_ca_certs=/nowhere",
        f"redix://:{secret}@127.0.0.1/0?password={secret}",
    ]
    for url in urls:
        with pytest.raises(StoreError) as caught:
            begin(url)
        assert secret not in str(caught.value), url
        views = Views(url)
        views.refresh()
        assert views.problem is not None
        assert secret not in views.problem
    assert secret not in caplog.text


def test_a_url_is_shown_without_its_secrets() -> None:
    assert shown_url("redis://user:pa/s@w?rd@host:1/0?password=x") == "redis://host:1/0"
    assert shown_url("file:var/store") == "file:var/store"


def test_a_wrong_password_says_so(server: RedisServer) -> None:
    with pytest.raises(StoreUnavailable, match="check the user and the password"):
        open_store(server.url_as("default", "wrong")).reader("view")


def test_the_command_line_reads_a_store_in_redis(server: RedisServer, capsys: pytest.CaptureFixture[str]) -> None:
    publish(RedisStore(server.url), "v1")
    for words in (["ls", server.url], ["verify", server.url, "user_scores"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "v1" in shown
    assert "is whole: 3 rows" in shown
    assert server.password not in shown
