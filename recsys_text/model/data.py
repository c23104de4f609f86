"""Training rows and their batches, assembled without Python loops. Knows codes of items, no texts.

Legend: N training rows, B rows of a batch, H history, C candidates, I distinct items of a batch.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

#: Consecutive clicks that stay together when rows are shuffled: they share items, which are encoded once.
CHUNK = 64


class Rows(Protocol):
    """What `fit` learns from."""

    def __len__(self) -> int: ...

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator["Batch"]:
        """All rows once, in an order and with draws that the generator decides."""
        ...

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Everything that makes two of them differ."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrainSet:
    """N clicks in the order of time; items are codes, -1 is padding.

    history_NH: what the user had clicked before, oldest first. candidates_NC: the click first, then
    the negatives. learned: the clicks of a history have vectors of their own, so that their texts are not read. user_N:
    codes of the users, where users have vectors of their own.
    """

    history_NH: NDArray[np.int32]
    candidates_NC: NDArray[np.int32]
    learned: bool = False
    user_N: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        assert len(self.history_NH) == len(self.candidates_NC)
        assert (self.candidates_NC[:, :1] >= 0).all(), "the first candidate of a row is its click"

    def __len__(self) -> int:
        return len(self.candidates_NC)

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator["Batch"]:
        """Chunks of consecutive rows in a random order, so that the rows of a batch share items."""
        return batches(self, batch_size, shuffled(len(self), generator))

    def arrays(self) -> tuple[NDArray[Any], ...]:
        return self.history_NH, self.candidates_NC, *(() if self.user_N is None else (self.user_N,))


@dataclass(frozen=True, kw_only=True)
class Libraries:
    """What each of N users clicked, whatever the time: those of n are `item_E[start_N1[n]:start_N1[n + 1]]`.

    Every epoch hides a share `hidden` of each user's clicks, one at least and never all. They are to be told, by up to
    `history` of the rest, from all else that is hidden in the batch and from `negatives` more of `known`, drawn evenly.
    user_N: codes of the users.
    """

    start_N1: NDArray[np.int64]
    item_E: NDArray[np.int32]
    known: NDArray[np.int32]
    hidden: float
    history: int
    negatives: int
    user_N: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.start_N1) - 1

    def arrays(self) -> tuple[NDArray[Any], ...]:
        return (
            self.start_N1,
            self.item_E,
            self.known,
            self.user_N,
            np.array([self.hidden, self.history, self.negatives]),
        )

    def epoch(self, batch_size: int, generator: torch.Generator) -> Iterator["Batch"]:
        """Users in a random order."""
        draw = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        order_N = draw.permutation(len(self))
        for begin in range(0, len(order_N), batch_size):
            yield self._batch(order_N[begin : begin + batch_size], draw)

    def _batch(self, users_B: NDArray[np.int64], draw: np.random.Generator) -> "Batch":
        size_B = self.start_N1[users_B + 1] - self.start_N1[users_B]
        ends_B = np.cumsum(size_B)
        row_E = np.repeat(np.arange(len(users_B)), size_B)
        place_E = np.arange(len(row_E)) - np.repeat(ends_B - size_B, size_B)
        item_E = self.item_E[np.repeat(self.start_N1[users_B], size_B) + place_E]
        # In a random order, the first ones are hidden.
        turn_E = np.lexsort((draw.random(len(row_E)), row_E))
        hides_B = np.clip(np.round(size_B * self.hidden), 1, size_B - 1).astype(np.int64)
        rank_E = np.empty(len(row_E), np.int64)
        rank_E[turn_E] = place_E
        hidden_E = rank_E < hides_B[row_E]

        more = draw.choice(self.known, min(self.negatives, len(self.known)), replace=False)
        candidates_C = np.union1d(item_E[hidden_E], more)
        kind_BC = np.ones((len(users_B), len(candidates_C)), np.int8)
        at_E = np.minimum(np.searchsorted(candidates_C, item_E), len(candidates_C) - 1)
        among_E = candidates_C[at_E] == item_E
        kind_BC[row_E[among_E], at_E[among_E]] = 2
        kind_BC[row_E[hidden_E], at_E[hidden_E]] = 0
        # The hidden ones, then what the user did not click; what else the user clicked is padding.
        order_BC = np.argsort(kind_BC, axis=1, kind="stable")
        known_BC = np.take_along_axis(kind_BC, order_BC, axis=1) < 2

        kept_B = size_B - hides_B
        history_BH = np.full((len(users_B), self.history), -1, np.int32)
        row, item = row_E[~hidden_E], item_E[~hidden_E]
        column = np.arange(len(row)) - np.cumsum(kept_B)[row] + self.history
        history_BH[row[column >= 0], column[column >= 0]] = item[column >= 0]
        return Batch(
            user_B=torch.from_numpy(self.user_N[users_B]).long(),
            items_I=torch.from_numpy(candidates_C.astype(np.int64)),
            history_BH=torch.from_numpy(history_BH.astype(np.int64)),
            candidates_BC=torch.from_numpy(np.where(known_BC, order_BC, -1)),
            clicks_B=torch.from_numpy(hides_B),
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """items_I: distinct codes, sorted. candidates_BC: positions in items_I, the `clicks_B` clicks first, -1 is padding.

    history_BH: positions in items_I, or codes where clicks have vectors of their own. user_B: codes, where needed.
    """

    items_I: Tensor
    history_BH: Tensor
    candidates_BC: Tensor
    clicks_B: Tensor
    user_B: Tensor | None = None

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
        batch = batch_of(train.history_NH[rows_B], train.candidates_NC[rows_B], train.learned)
        yield batch if train.user_N is None else replace(batch, user_B=torch.from_numpy(train.user_N[rows_B]).long())


def batch_of(history_BH: NDArray[np.int32], candidates_BC: NDArray[np.int32], learned: bool = False) -> Batch:
    """The batch of these rows of codes, of which the first candidate is the click; see `TrainSet.learned`."""
    if learned:
        batch = batch_of(history_BH[:, :0], candidates_BC)
        return replace(batch, history_BH=torch.from_numpy(history_BH.astype(np.int64)))
    slots = np.concatenate([np.array([-1], np.int32), history_BH.ravel(), candidates_BC.ravel()])
    # -1 is always there and sorts first: positions shifted by one leave padding at -1.
    codes, positions = np.unique(slots, return_inverse=True)
    local = torch.from_numpy(positions[1:].astype(np.int64) - 1)
    return Batch(
        items_I=torch.from_numpy(codes[1:].astype(np.int64)),
        history_BH=local[: history_BH.size].view(history_BH.shape),
        candidates_BC=local[history_BH.size :].view(candidates_BC.shape),
        clicks_B=torch.ones(len(candidates_BC), dtype=torch.int64),
    )


def train_set(
    history_NH: NDArray[np.int32],
    offsets_N1: NDArray[np.int64],
    item_P: NDArray[np.int32],
    clicked_P: NDArray[np.bool_],
    learned: bool = False,
    user_N: NDArray[np.int32] | None = None,
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
    candidates_NC = np.column_stack([item_P[clicks], negatives_NC[rows]])
    users = None if user_N is None else user_N[rows]
    return TrainSet(history_NH=history_NH[rows], candidates_NC=candidates_NC, learned=learned, user_N=users)


def libraries(
    clicks_UI: csr_matrix, known_I: NDArray[np.bool_], hidden: float, history: int, negatives: int
) -> Libraries:
    """The clicks of all users with two of them or more; clicks_UI has a column per item."""
    users = np.flatnonzero(np.diff(clicks_UI.indptr) > 1)
    several = clicks_UI[users]
    return Libraries(
        user_N=users.astype(np.int32),
        start_N1=several.indptr.astype(np.int64),
        item_E=several.indices.astype(np.int32),
        known=np.flatnonzero(known_I).astype(np.int32),
        hidden=hidden,
        history=history,
        negatives=negatives,
    )
