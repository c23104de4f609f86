"""Publishers that die at any point: what is served stays whole, and what was interrupted can run again."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_store import LocalStore
from tests.feature_store import publisher
from tests.feature_store.forks import KILLED, REFUSED, Forks, forks
from tests.feature_store.served import served


@pytest.fixture(scope="module")
def publishers() -> Iterator[Forks]:
    with forks() as started:
        yield started


def assert_whole_and_repeatable(store: LocalStore, root: Path, value: int) -> int:
    """After publisher `value` died: the former or the new version is served, whole, and a re-run succeeds.

    Returns what was served after the death.
    """
    current = store.current("view")
    assert current in {f"v{value - 1}", f"v{value}"}
    assert served(store) == {int(current[1:])}
    assert [info.problem for info in store.versions("view")].count("") == len(store.versions("view"))
    publisher.publish(str(root), f"v{value}", value)
    assert served(store) == {value}
    left = {path.name for path in (root / "view").iterdir()}
    assert left - {f"v{value}", f"v{value - 1}"} == {"CURRENT", ".lock", ".staging"}
    assert list((root / "view").rglob("*.tmp")) == []
    return int(current[1:])


def test_a_publisher_killed_before_any_system_call(publishers: Forks, store: LocalStore, root: Path) -> None:
    publisher.publish(str(root), "v0", 0)
    publisher.publish(str(root), "v1", 1)
    calls = publishers.run(root, 2)
    assert calls > 50
    swapped = 0
    for number in range(1, calls + 1):
        value = number + 2
        assert publishers.run(root, value, die_at=number) == KILLED
        swapped += assert_whole_and_repeatable(store, root, value) == value
    assert 0 < swapped < calls
    print(f"\npublishers killed before each of {calls} system calls, {swapped} of them behind the swap")


def test_a_publisher_killed_at_any_time(publishers: Forks, store: LocalStore, root: Path) -> None:
    publisher.publish(str(root), "v0", 0)
    started = time.monotonic()
    assert publishers.run(root, 1) > 50
    whole = time.monotonic() - started
    chance = random.Random(11)
    killed, swapped, value = 0, 0, 1
    while killed < 200:
        value += 1
        assert value < 2000, "the kills come too late"
        if publishers.run_and_kill(root, value, chance.uniform(0, whole)) == KILLED:
            killed += 1
            swapped += assert_whole_and_repeatable(store, root, value) == value
        else:
            whole *= 0.95  # the first run was slower than those that follow
            assert served(store) == {value}
    print(f"\npublishers killed at {killed} random times of {value - 1} runs, {swapped} of them behind the swap")


def test_a_refusing_commit_killed_before_any_system_call(publishers: Forks, store: LocalStore, root: Path) -> None:
    publisher.publish(str(root), "v0", 0)
    assert publishers.run(root, 1, min_ratio=2.0) == REFUSED
    refused = number = 0
    while publishers.run(root, 2, die_at=(number := number + 1), min_ratio=2.0) == KILLED:
        assert served(store) == {0}
        states = {info.version: info.refused for info in store.versions("view")}
        refused += states.pop("v2", False)
        assert states == {"v0": False, "v1": True}
        assert publishers.run(root, 2, min_ratio=2.0) == REFUSED
        assert {info.version: info.refused for info in store.versions("view")} == {"v0": False, "v1": True, "v2": True}
        store.delete("view", "v2")
    assert number > 40
    assert refused > 0
    publisher.publish(str(root), "v1", 1)
    assert served(store) == {1}
    print(f"\nrefusing commits killed before each of {number - 1} system calls, {refused} of them when it was recorded")
