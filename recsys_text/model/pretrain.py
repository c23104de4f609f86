"""Teaches the encoder from item text alone, before any click. Knows token ids, no users and no events.

The teacher is the wide path: a network that reproduces it starts from what exact words say of who clicks, also about
items that nobody has clicked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.decomposition import TruncatedSVD
from torch import Tensor

from recsys_text.model.encoder import Encoder, grams
from recsys_text.model.optimise import adamw, autocast, learning_rate, to_device, update
from recsys_text.model.ridge import Products, solve_in_place
from recsys_text.model.scorer import Interest
from recsys_text.sections import Training

#: Small batches: a catalogue has far fewer texts than a log has clicks.
_BATCH = 64
#: Texts that teach the bag at most: their kernel takes 4 n^2 bytes.
_MOST = 8192
#: The penalty of the ridge regression, whose rows have length 1; and what is left of the network's own part when the
#: bag starts as the teacher.
_PENALTY, _QUIET = 0.03, 0.1


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """What the wide path says of I items: as candidates, item_ID, and as clicks of a history, click_ID, float32[I, D].

    Their dot product is that of the wide path, as far as D dimensions hold it; zeros where it knows nothing.
    """

    item_ID: NDArray[np.float32]
    click_ID: NDArray[np.float32]


def teacher_of(candidate_IW: NDArray[np.float32], click_IW: NDArray[np.float32], dim: int, seed: int) -> Teacher:
    """The vectors of the wide path in the `dim` directions in which their products vary most, of length 1 in the mean.

    Where there are fewer than `dim` independent directions, the last columns are zero.
    """
    item_ID, click_ID = np.zeros((2, len(candidate_IW), dim), dtype=np.float32)
    components = min(dim, *(size - 1 for size in candidate_IW.shape))
    if components < 1:
        return Teacher(item_ID=item_ID, click_ID=click_ID)
    # A column counts by what clicks make of it: with A A the second moments of clicks, c k = (c A) (k A^-1).
    values, directions = np.linalg.eigh((click_IW.T @ click_IW).astype(np.float64) / len(click_IW))
    deviation = np.sqrt(np.maximum(values, 1e-6 * max(values.max(), 1e-12)))
    item_IW = (candidate_IW @ (directions * deviation)).astype(np.float32)
    if not np.ptp(item_IW, axis=0).any():  # all texts are alike: there is no direction to find
        return Teacher(item_ID=item_ID, click_ID=click_ID)
    reduction = TruncatedSVD(components, random_state=seed).fit(item_IW)
    for vec_ID, wide_IW in ((item_ID, item_IW), (click_ID, click_IW @ (directions / deviation))):
        reduced = reduction.transform(wide_IW)
        vec_ID[:, :components] = reduced / max(1e-6, np.sqrt(np.mean(np.sum(reduced**2, axis=1))))
    return Teacher(item_ID=item_ID, click_ID=click_ID)


def start(model: Interest, tokens_IT: NDArray[np.int32], teacher: Teacher, known_I: NDArray[np.bool_]) -> None:
    """Sets the bag (see `start_bag`) and the table of clicks, where the model has them, to what the teacher says."""
    start_bag(model.encoder, tokens_IT, teacher.item_ID, known_I)
    if model.table is not None:
        with torch.no_grad():
            model.table.copy_(torch.from_numpy(teacher.click_ID))


def start_bag(
    encoder: Encoder, tokens_IT: NDArray[np.int32], teacher_ID: NDArray[np.float32], known_I: NDArray[np.bool_]
) -> None:
    """Sets the bag to a ridge regression of the teacher on the same tokens and pairs, and the rest to little.

    Their rarity is 1 + log((1 + texts) / (1 + texts with it)), as in `text.terms`. Only `known_I` teach, and of these
    at most _MOST, drawn evenly in the order given: time grows with their third power.
    """
    if encoder.bag is None or not known_I.any():
        return
    grams_IG = grams(torch.from_numpy(tokens_IT[known_I]), encoder.vocabulary)
    sorted_IG = grams_IG.sort(dim=1).values
    first_IG = torch.nn.functional.pad(sorted_IG[:, 1:] != sorted_IG[:, :-1], (1, 0), value=True)
    of_V = torch.bincount(sorted_IG[first_IG], minlength=len(encoder.rarity))
    encoder.rarity.copy_(1 + torch.log((1 + len(grams_IG)) / (1 + of_V)))
    rows = np.flatnonzero((teacher_ID[known_I] != 0).any(1))
    rows = rows[:: max(1, -(-len(rows) // _MOST))]
    if not len(rows):
        return
    share_NG, grams_NG = encoder.shares(grams_IG[rows]).numpy(), grams_IG[rows].numpy()
    row_K, place_K = np.nonzero(share_NG)
    size = len(rows), encoder.bag.num_embeddings
    shares_NV = csr_matrix((share_NG[row_K, place_K], (row_K, grams_NG[row_K, place_K])), shape=size)
    dual_ND = solve_in_place(Products(shares_NV)(shares_NV), teacher_ID[known_I][rows], np.full(len(rows), _PENALTY))
    weights_VD = shares_NV.T @ dual_ND
    with torch.no_grad():
        encoder.bag.weight.copy_(torch.from_numpy(np.asarray(weights_VD, np.float32)))
        if encoder.deep:
            encoder.project.weight.mul_(_QUIET)


def distillation(vec_ID: Tensor, teacher_ID: Tensor) -> Tensor:
    """Mean squared distance between pupil and teacher; 0 for items of which the teacher knows nothing."""
    known_I = (teacher_ID != 0).any(1)
    return ((vec_ID - teacher_ID).square().sum(1) * known_I).sum() / known_I.sum().clamp(min=1)


def pretrain(
    encoder: Encoder,
    tokens_IT: Tensor,
    lengths_I: Tensor,
    teacher_ID: Tensor,
    training: Training,
    generator: torch.Generator,
    on_step: Callable[[float, float, int, int], None],
) -> None:
    """Runs `training.pretrain_epochs` over the texts; calls `on_step(loss, texts per second, step, steps)`.

    Draws dropout from the global random state: seed it before.
    """
    device = next(encoder.parameters()).device
    optimizer = adamw(encoder, training)
    steps = training.pretrain_epochs * -(-len(tokens_IT) // _BATCH)
    step, start = 0, perf_counter()
    encoder.train()
    for _ in range(training.pretrain_epochs):
        for items_I in torch.split(torch.randperm(len(tokens_IT), generator=generator), _BATCH):
            with autocast(device):
                vec_ID = encoder(to_device(tokens_IT[items_I], device), lengths_I[items_I])
            loss = distillation(vec_ID, to_device(teacher_ID[items_I], device))
            update(optimizer, loss, learning_rate(step, steps, training.learning_rate))
            step += 1
            on_step(loss.item(), step * _BATCH / (perf_counter() - start), step, steps)
