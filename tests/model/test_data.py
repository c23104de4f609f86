import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.model.data import CHUNK, batch_of, batches, shuffled, train_set
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
