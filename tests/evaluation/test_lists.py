import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.evaluation import lists
from recsys_text.ranking.log import Impressions

few = st.lists(st.lists(st.integers(-3, 3), max_size=25), max_size=6)


def shown(rows, items):
    sizes = [len(row) for row in rows]
    number = sum(sizes)
    return Impressions(
        user=np.zeros(len(rows), np.int32),
        time=np.zeros(len(rows), np.int64),
        offsets=np.cumsum([0, *sizes]),
        item=np.asarray(items, np.int32) if number else np.zeros(0, np.int32),
        clicked=np.zeros(number, np.bool_),
    )


@given(few, st.integers(0, 99))
def test_the_first_are_those_of_a_plain_sort(rows, seed):
    random = np.random.default_rng(seed)
    items = np.concatenate([np.zeros(0, int), *(random.permutation(30)[: len(row)] for row in rows)])
    neutral = random.permutation(30)
    impressions = shown(rows, items)
    scores = np.concatenate([np.zeros(0), *rows])
    found = lists.first(scores, impressions, neutral)
    assert found.shape == (len(rows), lists.K)
    for n in range(len(rows)):
        part = slice(impressions.offsets[n], impressions.offsets[n + 1])
        own = impressions.item[part]
        expected = own[np.lexsort((neutral[own], -scores[part]))][: lists.K]
        assert found[n][: len(expected)].tolist() == expected.tolist()
        assert (found[n][len(expected) :] == -1).all()


def test_neither_parts_nor_threads_change_anything(monkeypatch):
    random = np.random.default_rng(4)
    rows = [random.random(size) for size in random.integers(0, 40, 50)]
    impressions = shown(rows, random.integers(100, size=sum(map(len, rows))))
    scores, neutral = np.concatenate(rows), random.permutation(100)
    whole = lists.first(scores, impressions, neutral)
    monkeypatch.setattr(lists, "_CHUNK", 60)
    np.testing.assert_array_equal(lists.first(scores, impressions, neutral, threads=3), whole)


def catalogue(vectors, clicks=None):
    vectors = np.asarray(vectors, np.float32)
    clicks = np.zeros(len(vectors), int) if clicks is None else np.asarray(clicks)
    return lists.Catalogue(neutral=np.arange(len(vectors)), vectors=vectors, surprise=lists.surprise(clicks))


def padded(*rows):
    return np.array([[*row, *[-1] * (lists.K - len(row))] for row in rows], np.int32)


def test_diversity_by_hand(monkeypatch):
    # Two alike and one at a right angle: cosines 1, 0, 0. The length of a vector means nothing.
    items = catalogue([[1, 0], [5, 0], [0, 2], [-1, 0], [0, 0]])
    table = padded([0, 1, 2], [0, 3], [0], [], [0, 4])
    found = items.describe(table)["diversity@10"]
    assert found[:2] == pytest.approx([1 - 1 / 3, 2])
    assert np.isnan(found[2:4]).all()
    assert found[4] == pytest.approx(1)
    monkeypatch.setattr(lists, "_LISTS", 2)
    np.testing.assert_allclose(items.describe(table)["diversity@10"], found)


def test_novelty_by_hand():
    # Shares with one more click each: 4/8, 2/8, 1/8, 1/8.
    items = catalogue(np.eye(4), [3, 1, 0, 0])
    found = items.describe(padded([0], [1, 2], [2, 3], []))["novelty@10"]
    assert found[:3].tolist() == [1, 2.5, 3]
    assert np.isnan(found[3])


def test_coverage_counts_each_item_once():
    assert lists.coverage(padded([0, 1], [1, 1]), np.arange(4)) == 0.5
    assert np.isnan(lists.coverage(padded(), np.zeros(0, int)))
