import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.ranking import similar
from recsys_text.ranking.similar import most_alike


def lists(*arguments: object) -> list[list[int]]:
    offsets, items = most_alike(*arguments)  # type: ignore[arg-type]
    return [part.tolist() for part in np.split(items, offsets[1:-1])]


def test_the_nearest_come_first_and_only_those_that_share_something() -> None:
    about = np.array([[1, 0], [9, 1], [1, 1], [0, 2], [-1, 0], [0, 0]], np.float32)
    among, neutral = np.arange(6, dtype=np.int32), np.arange(6)
    assert lists(about, among, neutral, 2) == [[1, 2], [0, 2], [1, 0], [2, 1], [], []]
    assert lists(about, np.array([2, 3], np.int32), neutral, 2) == [[2], [2, 3], [3], [2], [], []]
    assert lists(about, np.zeros(0, np.int32), neutral, 2) == [[]] * 6


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 8), st.integers(1, 64))
def test_as_a_look_at_every_pair_says(seed: int, count: int, size: int, chunk: int) -> None:
    random = np.random.default_rng(seed)
    about = random.integers(-1, 2, (size * 3, 3)).astype(np.float32)  # many are equal
    among = np.flatnonzero(random.random(len(about)) < 0.7).astype(np.int32)
    neutral = random.permutation(len(about))
    length = np.linalg.norm(about, axis=1)
    cosine = np.round(about @ about.T / np.maximum(np.outer(length, length), 1e-9), 4)
    expected = [
        sorted(
            (other for other in among.tolist() if other != own and cosine[own, other] > 0),
            key=lambda other: (-cosine[own, other], neutral[other]),
        )[:count]
        for own in range(len(about))
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similar, "_CHUNK", chunk)
        assert lists(about, among, neutral, count) == expected
