"""Training rows and their batches, assembled without Python loops. Knows codes of items, no texts.

Legend: N training rows, B rows of a batch, H history, C candidates, I distinct items of a batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

#: Consecutive clicks that stay together when rows are shuffled: they share items, which are encoded once.
CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class TrainSet:
    """N clicks in the order of time; items are codes, -1 is padding.

    history_NH: what the user had clicked before, oldest first. candidates_NC: the click first, then
    the negatives.
    """

    history_NH: NDArray[np.int32]
    candidates_NC: NDArray[np.int32]

    def __post_init__(self) -> None:
        assert len(self.history_NH) == len(self.candidates_NC)
        assert (self.candidates_NC[:, :1] >= 0).all(), "the first candidate of a row is its click"

    def __len__(self) -> int:
        return len(self.candidates_NC)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """items_I: distinct codes, sorted. history_BH, candidates_BC: positions in items_I, -1 is padding."""

    items_I: Tensor
    history_BH: Tensor
    candidates_BC: Tensor

    def __len__(self) -> int:
        return len(self.candidates_BC)


def shuffled(rows: int, generator: torch.Generator) -> NDArray[np.int64]:
    """order_N: chunks of consecutive rows in a random order."""
    starts = torch.randperm(-(-rows // CHUNK), generator=generator).numpy() * CHUNK
    order = (starts[:, None] + np.arange(CHUNK)).ravel()
    return order[order < rows]


def batches(train: TrainSet, batch_size: int, order_N: NDArray[np.int64]) -> Iterator[Batch]:
    """The rows in the given order, `batch_size` at a time; the last batch may be smaller."""
    for start in range(0, len(order_N), batch_size):
        rows_B = order_N[start : start + batch_size]
        yield batch_of(train.history_NH[rows_B], train.candidates_NC[rows_B])


def batch_of(history_BH: NDArray[np.int32], candidates_BC: NDArray[np.int32]) -> Batch:
    """The batch of these rows of codes."""
    slots = np.concatenate([np.array([-1], np.int32), history_BH.ravel(), candidates_BC.ravel()])
    # -1 is always there and sorts first: positions shifted by one leave padding at -1.
    codes, positions = np.unique(slots, return_inverse=True)
    local = torch.from_numpy(positions[1:].astype(np.int64) - 1)
    return Batch(
        items_I=torch.from_numpy(codes[1:].astype(np.int64)),
        history_BH=local[: history_BH.size].view(history_BH.shape),
        candidates_BC=local[history_BH.size :].view(candidates_BC.shape),
    )


def train_set(
    history_NH: NDArray[np.int32],
    offsets_N1: NDArray[np.int64],
    item_P: NDArray[np.int32],
    clicked_P: NDArray[np.bool_],
) -> TrainSet:
    """One row per click of N impressions, in their order: the click, then what was not clicked beside it.

    Args:
        history_NH: codes of each impression's user, oldest first, padded with -1.
        offsets_N1: the candidates of impression n are `item_P[offsets_N1[n]:offsets_N1[n + 1]]`.
    """
    impression_P = np.repeat(np.arange(len(history_NH)), np.diff(offsets_N1))
    others, clicks = np.flatnonzero(~clicked_P), np.flatnonzero(clicked_P)
    count_N = np.bincount(impression_P[others], minlength=len(history_NH))
    column = np.arange(len(others)) - np.repeat(np.cumsum(count_N) - count_N, count_N)
    negatives_NC = np.full((len(history_NH), count_N.max(initial=0)), -1, dtype=np.int32)
    negatives_NC[impression_P[others], column] = item_P[others]
    rows = impression_P[clicks]
    return TrainSet(history_NH=history_NH[rows], candidates_NC=np.column_stack([item_P[clicks], negatives_NC[rows]]))
