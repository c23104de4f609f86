"""What is served while versions are published, damaged and rolled back under a real server."""

import threading

import httpx
import pyarrow as pa

import feature_store
from recsys_text.service import views
from recsys_text.service.client import RankingClient
from tests.service.conftest import wait_for

VERSIONS = 30


def name(number: int) -> str:
    return f"v{number:03d}"


def users(number: int) -> dict[str, list[tuple[str, float, float]]]:
    """Every row names its version, so that an answer mixed of two would show."""
    row = [(f"{name(number)}-{place}", 1 / (place + 1), float(number)) for place in range(5)]
    return {f"u{n}": row for n in range(20)}


def ask_items(client: RankingClient, user: str) -> str:
    answer = client.get_items(user, 5)
    assert answer.known
    assert [item.item_id for item in answer.items] == [f"{answer.version}-{place}" for place in range(5)]
    return answer.version


def ask_rank(client: RankingClient, user: str) -> str:
    answer = client.rank(user, ["x", "v000-1", "v000-0"])
    first = ["v000-0", "v000-1", "x"] if answer.version == "v000" else ["x", "v000-1", "v000-0"]
    assert [item.item_id for item in answer.items] == first
    return answer.version


def ask_headers(client: httpx.Client, user: str) -> str:
    answer = client.get(f"/users/{user}/items").raise_for_status()
    assert answer.json()["version"] == answer.headers["X-Scores-Version"]
    return str(answer.json()["version"])


def test_no_request_fails_and_no_version_goes_back_while_versions_swap(publish, serving):
    publish(name(0), users(0))
    stop = threading.Event()
    failures: list[Exception] = []
    seen: list[list[str]] = [[], [], []]

    def hammer(ask, client, versions: list[str]) -> None:
        while not stop.is_set():
            try:
                versions.append(ask(client, f"u{len(versions) % 20}"))
            except Exception as error:
                failures.append(error)
                return

    def all_met(number: int) -> bool:
        return bool(failures) or all(versions[-1:] == [name(number)] for versions in seen)

    with serving() as url, RankingClient(url, timeout=30) as client, httpx.Client(base_url=url, timeout=30) as plain:
        asking = zip((ask_items, ask_rank, ask_headers), (client, client, plain), seen, strict=True)
        threads = [threading.Thread(target=hammer, args=arguments) for arguments in asking]
        for thread in threads:
            thread.start()
        try:
            for number in range(1, VERSIONS + 1):
                publish(name(number), users(number))
                if number % 10 == 0:
                    wait_for(lambda number=number: all_met(number))
        finally:
            stop.set()
            for thread in threads:
                thread.join(timeout=60)

    assert failures == []
    for versions in seen:
        assert versions == sorted(versions)
        assert {name(number) for number in range(10, VERSIONS + 1, 10)} <= set(versions)


def test_a_rollback_is_followed(publish, serving, folder):
    publish("v001", users(1))
    publish("v002", users(2))
    with serving() as url, RankingClient(url) as client:
        assert ask_items(client, "u1") == "v002"
        feature_store.open_store(f"file:{folder}").rollback("user_scores")
        wait_for(lambda: ask_items(client, "u1") == "v001")


def test_a_damaged_store_is_reported_and_the_version_at_hand_stays(publish, serving, folder):
    publish("v001", users(1))
    with serving() as url, RankingClient(url) as client:
        assert client.ready().reason is None
        (folder / "user_scores" / "CURRENT").write_text("v002 damaged\n")
        wait_for(lambda: client.ready().reason is not None)
        damaged = client.ready()
        assert (damaged.ready, damaged.version) == (True, "v001")
        assert "CURRENT is damaged" in str(damaged.reason)
        assert ask_items(client, "u1") == "v001"
        assert "recsys_text_reader_errors_total 0.0" not in httpx.get(f"{url}/metrics").text


def test_a_version_without_scores_is_reported_and_not_served(publish, serving, folder):
    publish("v001", users(1))
    with serving() as url, RankingClient(url) as client:
        store = feature_store.open_store(f"file:{folder}")
        with store.begin("user_scores", "v002").writer("part-0") as writer:
            writer.write(pa.record_batch({"user_id": ["u1"], "vector": [[0.5]]}))
        store.commit("user_scores", "v002", expect_parts=["part-0"], metadata={})
        wait_for(lambda: client.ready().reason is not None)
        assert "version 'v002' of user_scores has the columns ['user_id', 'vector']" in str(client.ready().reason)
        assert ask_items(client, "u1") == "v001"


def test_whatever_goes_wrong_in_a_look_does_not_end_the_following(publish, folder, monkeypatch, caplog):
    publish("v001", users(1))
    errors: list[None] = []
    served = views.Views(f"file:{folder}", count_error=lambda: errors.append(None))
    with monkeypatch.context() as broken:
        broken.setattr(views, "open_store", lambda _: 1 / 0)
        assert not served.refresh()
    assert len(errors) == 1
    assert "ZeroDivisionError" in str(served.problem)
    assert "ZeroDivisionError" in caplog.text
    assert served.refresh()
    assert served.problem is None
    assert served.pinned().served.version == "v001"
