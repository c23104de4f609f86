import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from recsys_text.model.data import CHUNK, batch_of, batches, libraries, shuffled, train_set
from tests.model.conftest import rows


@given(history=st.lists(st.lists(st.integers(-1, 9), min_size=3, max_size=3), min_size=1, max_size=8))
def test_a_batch_says_the_same_as_its_codes_and_each_item_once(history):
    history_BH = np.array(history, np.int32)
    candidates_BC = np.abs(history_BH[:, ::-1]) + 100
    batch = batch_of(history_BH, candidates_BC)
    assert len(batch) == len(history)
    assert batch.items_I.tolist() == sorted({*history_BH[history_BH >= 0].tolist(), *candidates_BC.ravel().tolist()})
    back = torch.cat([batch.items_I, torch.tensor([-1])])
    assert (back[batch.history_BH].numpy() == history_BH).all()
    assert (back[batch.candidates_BC].numpy() == candidates_BC).all()


def test_batches_cover_every_row_once_in_chunks_of_neighbours():
    order_N = shuffled(300, torch.Generator().manual_seed(1))
    assert sorted(order_N.tolist()) == list(range(300))
    assert order_N.tolist() != list(range(300))
    starts = np.flatnonzero(np.diff(order_N) != 1) + 1
    assert all(order_N[start] % CHUNK == 0 for start in starts)
    train = rows(300, seed=1)
    parts = list(batches(train, 64, order_N))
    assert [len(part) for part in parts] == [64, 64, 64, 64, 44]
    clicks = np.concatenate([part.items_I[part.candidates_BC[:, 0]].numpy() for part in parts])
    assert (clicks == train.candidates_NC[order_N, 0]).all()


def test_the_generator_decides_the_order():
    first, again, other = (shuffled(1000, torch.Generator().manual_seed(seed)).tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_impressions_become_a_row_per_click_with_the_click_first():
    """Three impressions: one click of three, two clicks of three, none."""
    made = train_set(
        np.array([[-1, 1], [2, 3], [4, 5]], np.int32),
        np.array([0, 3, 6, 7]),
        np.array([10, 11, 12, 20, 21, 22, 30], np.int32),
        np.array([False, True, False, True, False, True, False]),
    )
    assert made.candidates_NC.tolist() == [[11, 10, 12], [20, 21, -1], [22, 21, -1]]
    assert made.history_NH.tolist() == [[-1, 1], [2, 3], [2, 3]]
    assert made.candidates_NC.dtype == made.history_NH.dtype == np.int32


def test_no_impressions_make_no_rows():
    made = train_set(np.zeros((0, 4), np.int32), np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.bool_))
    assert len(made) == 0
    assert made.history_NH.shape == (0, 4)


def test_histories_of_learned_clicks_stay_codes_and_their_texts_are_not_read():
    history_BH, candidates_BC = np.array([[-1, 7], [8, 9]], np.int32), np.array([[3, 4], [4, -1]], np.int32)
    batch = batch_of(history_BH, candidates_BC, learned=True)
    assert batch.items_I.tolist() == [3, 4]
    assert batch.history_BH.tolist() == history_BH.tolist()
    assert batch.candidates_BC.tolist() == [[0, 1], [1, -1]]


@given(
    clicked=st.lists(st.sets(st.integers(0, 11), max_size=8), min_size=1, max_size=7),
    hidden=st.floats(0.05, 0.95),
    negatives=st.integers(0, 20),
    seed=st.integers(0, 99),
)
def test_what_is_hidden_of_a_library_is_told_by_the_rest(clicked, hidden, negatives, seed):
    clicks_UI = csr_matrix(np.array([[item in own for item in range(12)] for own in clicked], np.float32))
    known_I = np.arange(12) % 3 > 0
    found = libraries(clicks_UI, known_I, hidden, 12, negatives)
    whole = sorted(tuple(sorted(own)) for own in clicked if len(own) > 1)
    assert len(found) == len(whole)
    seen = []
    for batch in found.epoch(3, torch.Generator().manual_seed(seed)):
        assert (batch.items_I.diff() > 0).all()
        clicks, others = set(), set()
        for row in range(len(batch)):
            count = int(batch.clicks_B[row])
            history = set(batch.history_BH[row][batch.history_BH[row] >= 0].tolist())
            candidates = batch.candidates_BC[row][batch.candidates_BC[row] >= 0]
            items = batch.items_I[candidates].tolist()
            assert len(set(items)) == len(items)
            targets, rest = set(items[:count]), set(items[count:])
            own = history | targets
            assert not history & targets
            assert not rest & own
            assert count == min(max(1, round(len(own) * hidden)), len(own) - 1)
            seen.append(tuple(sorted(own)))
            clicks |= targets
            others |= rest
        assert clicks <= set(batch.items_I.tolist())
        assert all(known_I[item] for item in set(batch.items_I.tolist()) - clicks)
        assert len(batch.items_I) >= min(negatives, known_I.sum())
    assert sorted(seen) == whole


def test_a_long_library_is_told_by_its_last_clicks():
    clicks_UI = csr_matrix(np.ones((1, 30), np.float32))
    (batch,) = libraries(clicks_UI, np.ones(30, np.bool_), 0.1, 4, 0).epoch(8, torch.Generator().manual_seed(1))
    hidden = set(batch.items_I[batch.candidates_BC[0, :3]].tolist())
    assert batch.history_BH.tolist() == [[item for item in range(30) if item not in hidden][-4:]]
