import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from recsys_text.ranking.affinity import affinity, dots, nearness
from recsys_text.ranking.log import HOUR, Impressions
from tests.ranking.test_features import ITEMS, NOW, everything, log_of

#: a and b point apart, c lies between them, d says nothing.
VECTORS = np.array([[2, 0], [0, 3], [1, 1], [0, 0]], np.float32)
HALF = 0.5**0.5


def near(history: list[int]) -> dict[str, list[float]]:
    found = nearness(VECTORS, np.arange(4), np.array([0, 4]), np.array([history], np.int32))
    return {name: values.tolist() for name, values in found.items()}


def test_the_nearest_and_the_newest_click_by_cosine() -> None:
    found = near([-1, 0, 1])
    assert found["near"] == pytest.approx([1, 1, HALF, 0])
    assert found["near_newest"] == pytest.approx([0, 1, HALF, 0])


def test_without_a_history_nothing_is_near() -> None:
    assert near([-1, -1]) == {"near": [0] * 4, "near_newest": [0] * 4}


def trend(events: list[tuple[str, str, int]], time: int = NOW) -> list[float]:
    log = log_of(events)
    shown = everything(log, ["stranger"], time)
    found: list[float] = affinity(log, VECTORS, shown, np.full((1, 3), -1, np.int32))["trend"].tolist()
    return found


def test_the_trend_is_the_text_that_everybody_clicked_in_a_day() -> None:
    events = [("u", "a", NOW - 1), ("v", "a", NOW - 24 * HOUR), ("u", "b", NOW - 24 * HOUR - 1), ("u", "b", NOW)]
    assert trend(events) == pytest.approx([1, 0, HALF, 0])
    assert trend([*events, ("v", "b", NOW - 2), ("v", "b", NOW - 3)]) == pytest.approx([HALF, HALF, 1, 0])
    assert trend([]) == [0] * 4


def test_the_trend_at_a_time_does_not_depend_on_what_else_is_asked() -> None:
    log = log_of([("u", item, NOW - HOUR * n * 5) for n, item in enumerate("abcabcabc")])
    times = [NOW - 30 * HOUR, NOW, NOW - 10 * HOUR, NOW]
    shown = Impressions(
        user=np.full(4, -1, np.int32),
        time=np.array(times),
        offsets=np.arange(5) * 4,
        item=np.tile(np.arange(4, dtype=np.int32), 4),
        clicked=np.zeros(16, np.bool_),
    )
    together = affinity(log, VECTORS, shown, np.full((4, 1), -1, np.int32))["trend"].reshape(4, 4)
    for row, time in zip(together, times, strict=True):
        alone = affinity(log, VECTORS, everything(log, ["x"], time), np.full((1, 1), -1, np.int32))["trend"]
        np.testing.assert_array_equal(row, alone)


def test_dots_are_those_of_each_pairs_own_vectors() -> None:
    users = np.array([[1, 10], [2, 0], [0, 1]], np.float32)
    found = dots(users, VECTORS, np.array([0, 1, 2, 2]), np.array([0, 2, 2, 4]))
    assert found.tolist() == [2, 30, 1, 1]
    assert len(ITEMS) == len(VECTORS)


@pytest.mark.parametrize("seed", range(4))
def test_what_a_pair_has_depends_neither_on_its_place_nor_on_what_else_is_asked(seed: int) -> None:
    draw = np.random.default_rng(seed)
    users, items, dims = 12, int(draw.integers(40, 900)), int(draw.integers(1, 600))
    vectors = draw.normal(size=(items, dims)).astype(np.float32)
    vectors[draw.integers(1, items, 5)] = vectors[0]
    of_users = draw.normal(size=(users, dims)).astype(np.float32)
    histories = draw.integers(-1, items, (users, 30)).astype(np.int32)
    # From nearly all items each, which share a matrix, to a few of them.
    pools = [np.sort(draw.choice(items, max(1, items // draw.choice([1, 2, 30])), replace=False)) for _ in range(users)]
    offsets = np.concatenate([[0], np.cumsum([len(pool) for pool in pools])])
    with threadpool_limits(1, "blas"):
        dot = dots(of_users, vectors, np.concatenate(pools), offsets)
        near = nearness(vectors, np.concatenate(pools), offsets, histories)
        for user, pool in enumerate(pools):
            own, alone = slice(offsets[user], offsets[user + 1]), np.array([0, len(pool)])
            one = slice(user, user + 1)
            np.testing.assert_array_equal(dot[own], dots(of_users[one], vectors, pool, alone))
            for name, found in nearness(vectors, pool, alone, histories[one]).items():
                np.testing.assert_array_equal(near[name][own], found)
            equal = np.all(vectors[pool] == vectors[0], axis=1)
            assert len(np.unique(dot[own][equal])) <= 1
