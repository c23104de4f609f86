"""A small world of items in two topics, and users who stay with one of them."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from recsys_text.model.data import TrainSet
from recsys_text.model.pretrain import Teacher
from recsys_text.sections import Model, Training

# Two threads that wait for each other are slower than one, at this size and on a busy machine.
torch.set_num_threads(1)

ITEMS, VOCABULARY, WIDTH = 40, 30, 12
SETTINGS = Model(
    vocabulary=VOCABULARY, max_tokens=WIDTH, embedding=8, channels=4, hidden=6, dim=8, history=5, dropout=0.2
)
TRAINING = Training(
    epochs=3, patience=3, pretrain_epochs=1, negatives=4, batch_size=64, learning_rate=1e-2, seed=3, device="cpu"
)


@dataclass(frozen=True, kw_only=True)
class World:
    tokens_IT: np.ndarray
    lengths_I: np.ndarray
    teacher: Teacher
    known_I: np.ndarray
    train: TrainSet
    valid: TrainSet


def rows(count: int, seed: int) -> TrainSet:
    """Each row is a user of one topic: odd and even items. Some users have no history."""
    draw = np.random.default_rng(seed)
    topic_N1 = draw.integers(0, 2, (count, 1))
    history_NH = draw.integers(0, ITEMS // 2, (count, 5)) * 2 + topic_N1
    history_NH[np.arange(5) < 5 - draw.integers(0, 6, (count, 1))] = -1
    click_N1 = draw.integers(0, ITEMS // 2, (count, 1)) * 2 + topic_N1
    negatives_NC = draw.integers(0, ITEMS // 2, (count, 4)) * 2 + 1 - topic_N1
    negatives_NC[::7, 2:] = -1
    return TrainSet(
        history_NH=history_NH.astype(np.int32),
        candidates_NC=np.concatenate([click_N1, negatives_NC], axis=1).astype(np.int32),
    )


@pytest.fixture(scope="session")
def world() -> World:
    draw = np.random.default_rng(0)
    lengths_I = draw.integers(1, WIDTH + 1, ITEMS).astype(np.int32)
    # The words of a topic are its own: ids of its parity.
    tokens_IT = (draw.integers(1, VOCABULARY // 2, (ITEMS, WIDTH)) * 2 + np.arange(ITEMS)[:, None] % 2).astype(np.int32)
    tokens_IT[np.arange(WIDTH) >= lengths_I[:, None]] = 0
    # A teacher who knows the topics and little of the items.
    topic_I1 = np.arange(ITEMS)[:, None] % 2
    taught = np.hstack([topic_I1, 1 - topic_I1, 0.3 * draw.standard_normal((ITEMS, SETTINGS.dim - 2))])
    teacher_ID = (taught / np.linalg.norm(taught, axis=1, keepdims=True)).astype(np.float32)
    return World(
        tokens_IT=tokens_IT,
        lengths_I=lengths_I,
        teacher=Teacher(item_ID=teacher_ID, click_ID=teacher_ID),
        known_I=np.ones(ITEMS, np.bool_),
        train=rows(300, 1),
        valid=rows(80, 2),
    )
