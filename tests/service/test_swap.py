"""A real server under load while versions are published and rolled back."""

import threading
from collections import Counter

import feature_store
from recsys_text.service.client import RankingClient

VERSIONS = 30


def users(number: int) -> dict[str, list[tuple[str, float, float]]]:
    """Every row of a version carries its number, so that a mixed answer shows."""
    return {
        f"u{n}": [(f"v{number:03d}-{place}", 1 / (place + 1), float(number)) for place in range(5)] for n in range(20)
    }


def test_no_request_fails_and_no_version_goes_back_while_versions_swap(publish, serving):
    publish("v000", users(0))
    stop = threading.Event()
    seen: list[list[str]] = [[], [], []]
    failures: list[BaseException] = []

    def ask(url: str, versions: list[str], by_rank: bool) -> None:
        try:
            with RankingClient(url, timeout=30) as client:
                while not (stop.is_set() and versions[-1:] == [f"v{VERSIONS:03d}"]) and len(versions) < 200_000:
                    user = f"u{len(versions) % 20}"
                    answer = client.rank(user, ["v000-0", "x"]) if by_rank else client.get_items(user, 5)
                    assert answer.known
                    assert by_rank or [item.item_id for item in answer.items] == [
                        f"{answer.version}-{n}" for n in range(5)
                    ]
                    versions.append(answer.version)
        except BaseException as error:
            failures.append(error)

    with serving() as url:
        threads = [threading.Thread(target=ask, args=(url, seen[n], n == 2)) for n in range(3)]
        for thread in threads:
            thread.start()
        for number in range(1, VERSIONS + 1):
            asked = len(seen[0])
            publish(f"v{number:03d}", users(number))
            # Some versions are left served for as long as it takes until the clients have met them.
            for _ in range(200 if number % 5 == 0 else 0):
                if seen[0][-1:] == [f"v{number:03d}"] or failures:
                    break
                stop.wait(0.05)
            assert failures or len(seen[0]) >= asked
        stop.set()
        for thread in threads:
            thread.join(timeout=30)

    assert failures == []
    for versions in seen:
        assert versions == sorted(versions)
        assert versions[-1] == f"v{VERSIONS:03d}"
    assert len(Counter(seen[0])) >= VERSIONS // 5


def test_a_rollback_is_followed(publish, serving, folder):
    publish("v001", users(1))
    publish("v002", users(2))
    with serving() as url, RankingClient(url) as client:
        assert client.get_items("u1").version == "v002"
        feature_store.open_store(f"file:{folder}").rollback("user_scores")
        waiting = threading.Event()
        for _ in range(200):
            if client.get_items("u1").version == "v001":
                break
            waiting.wait(0.05)
        assert client.get_items("u1").items[0].item_id == "v001-0"


def test_a_damaged_version_is_reported_and_the_old_one_stays(publish, serving, folder):
    publish("v001", users(1))
    with serving() as url, RankingClient(url) as client:
        assert client.ready().reason is None
        store = feature_store.open_store(f"file:{folder}")
        (folder / "user_scores" / "CURRENT").write_text("v002 damaged\n")
        waiting = threading.Event()
        for _ in range(200):
            if client.ready().reason is not None:
                break
            waiting.wait(0.05)
        damaged = client.ready()
        assert damaged.ready
        assert damaged.version == "v001"
        assert "CURRENT" in str(damaged.reason)
        assert client.get_items("u1").version == "v001"
        store.rollback("user_scores", "v001")
