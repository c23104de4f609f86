"""Swaps in Redis under load, and publishers that come at once."""

import threading
from typing import Any

import pytest

from feature_store import IncompleteVersion, OlderVersion, UnknownVersion, VersionExists
from feature_store.redis import RedisStore, commit
from feature_store.redis.verify import written_keys
from tests.contracts.store_data import numbered
from tests.contracts.store_data import publish as publish_parts
from tests.feature_store import publisher
from tests.feature_store.publisher import KEYS
from tests.feature_store.redis_publisher import publish
from tests.feature_store.redis_server import RedisServer
from tests.feature_store.served import served


def test_two_publishers_at_once(server: RedisServer) -> None:
    store = RedisStore(server.url, follow_seconds=0)
    publish(server.url, "v0", 0)
    rounds, outrun = 20, 0
    together = threading.Barrier(2, timeout=60)
    outcomes: list[BaseException | None] = [None, None]

    def run(place: int, version: str, value: int, as_of: str) -> None:
        own = RedisStore(server.url, follow_seconds=0)
        parts = {part: numbered(value, KEYS[place::3]) for place, part in enumerate(publisher.PARTS)}
        together.wait()
        try:
            publish_parts(own, version, parts, view="view", as_of=as_of)
            outcomes[place] = None
        except BaseException as error:
            outcomes[place] = error

    for number in range(rounds):
        # Of odd rounds the two publish one and the same version, as a task and its retry may.
        names = [f"r{number}"] * 2 if number % 2 else [f"r{number}a", f"r{number}b"]
        times = [f"2024-01-01T{number:02d}:{0 if number % 2 else 30 * place:02d}" for place in (0, 1)]
        values = [2 * number] * 2 if number % 2 else [2 * number, 2 * number + 1]
        threads = [
            threading.Thread(target=run, args=(place, names[place], values[place], times[place])) for place in (0, 1)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expected = (UnknownVersion, VersionExists, IncompleteVersion) if number % 2 else (OlderVersion,)
        failed = [error for error in outcomes if error is not None]
        assert all(isinstance(error, expected) for error in failed), failed
        outrun += len(failed)
        if number % 2:
            if len(failed) == 2:  # each took a part from the other: the retry of the retry makes it good
                run_alone = RedisStore(server.url, follow_seconds=0)
                publish_parts(
                    run_alone,
                    names[0],
                    {part: numbered(values[0], KEYS[place::3]) for place, part in enumerate(publisher.PARTS)},
                    view="view",
                    as_of=times[0],
                )
            assert store.current("view") == names[0]
        else:
            # The newer data always wins: it comes last, or the older is refused.
            assert store.current("view") == names[1]
        assert served(store) == {values[1]}
        sequences = [info.sequence for info in store.versions("view")]
        assert len(set(sequences)) == len(sequences)
    print(f"\n{rounds} rounds of two publishers, {outrun} of whom were outrun and said so")


def test_a_part_that_is_written_again_while_it_is_verified_is_verified_again(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a task and its retry: the second one writes a part anew between two commands of the first one's commit."""
    store, verified = RedisStore(server.url, follow_seconds=0), []
    stage = store.begin("view", "v1")

    def write(value: int) -> None:
        with stage.writer("p") as writer:
            writer.write(numbered(value, KEYS))

    def slow(server: Any, keys: Any, name: str, part: Any) -> Any:
        verified.append(part.tokens)
        if len(verified) == 1:
            write(2)
        return written_keys(server, keys, name, part)

    write(1)
    monkeypatch.setattr(commit, "written_keys", slow)
    store.commit("view", "v1", expect_parts=["p"], metadata={})
    assert len(set(verified)) == len(verified) == 2
    assert served(store) == {2}


def test_readers_under_load_see_whole_versions_only(server: RedisServer) -> None:
    swaps = 100
    store = RedisStore(server.url, follow_seconds=0.01)
    publish(server.url, "v0", 0)
    reader = store.reader("view")
    stop = threading.Event()
    reads, wrong = [0, 0, 0], []

    def read(place: int) -> None:
        last = 0
        try:
            while not stop.is_set():
                values = set(reader.get_many(KEYS).column("value").to_pylist())
                one = reader.get("k3")
                reads[place] += 2
                if len(values) != 1 or one is None or not last <= max(values) <= one["value"]:
                    wrong.append((last, values, one))
                last = one["value"] if one is not None else last
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=read, args=(place,)) for place in range(3)]
    for thread in threads:
        thread.start()
    try:
        for value in range(1, swaps + 1):
            publish(server.url, f"v{value}", value)
            store.prune("view", 1)  # which waits for readers that have one open
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert min(reads) > swaps
    reader.refresh()
    assert reader.get("k3") == {"key": "k3", "value": swaps}
    print(f"\n{sum(reads)} reads through {swaps} swaps, none mixed, none failed")
