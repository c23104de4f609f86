"""Teaches the encoder from item text alone, before any click. Knows token ids, no users and no events.

The teacher is the wide path: a network that reproduces it starts from what exact words say of who clicks, also about
items that nobody has clicked.
"""

from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse import csr_matrix
from sklearn.decomposition import TruncatedSVD
from torch import Tensor

from recsys_text.config import Training
from recsys_text.model.encoder import Encoder, grams
from recsys_text.model.optimise import adamw, autocast, learning_rate, to_device, update
from recsys_text.text.tokenizer import PADDING

#: Small batches: a catalogue has far fewer texts than a log has clicks.
_BATCH = 64
_MOST = 16_384
#: Of the mean diagonal of the kernel; and what is left of the network's own part when the bag starts as the teacher.
_PENALTY, _QUIET = 0.3, 0.1


def teacher_of(wide_IW: NDArray[np.float32], dim: int, seed: int) -> NDArray[np.float32]:
    """float32[I, dim] of unit length: the wide path's candidates, reduced; zeros for an item of which it knows nothing.

    Where they have fewer than `dim` independent directions, the last columns are zero.
    """
    vec_ID = np.zeros((len(wide_IW), dim), dtype=np.float32)
    components = min(dim, *(size - 1 for size in wide_IW.shape))
    if components < 1:
        return vec_ID
    reduced = TruncatedSVD(components, random_state=seed).fit_transform(wide_IW)
    norms_I1 = np.linalg.norm(reduced, axis=1, keepdims=True)
    vec_ID[:, :components] = np.where(norms_I1 > 1e-6, reduced / np.maximum(norms_I1, 1e-6), 0)
    return vec_ID


def start_bag(
    encoder: Encoder, tokens_IT: NDArray[np.int32], lengths_I: NDArray[np.int32], teacher_ID: NDArray[np.float32]
) -> None:
    """Sets the bag to a ridge regression of the teacher on the same tokens and pairs, and the rest to little.

    At most _MOST texts teach, drawn evenly in the order given: time grows with their third power.
    """
    if encoder.bag is None:
        return
    known_I = np.flatnonzero((teacher_ID != 0).any(1))
    known_I = known_I[:: max(1, -(-len(known_I) // _MOST))]
    if not len(known_I):
        return
    grams_NG = grams(torch.from_numpy(tokens_IT[known_I]), encoder.vocabulary).numpy()
    row_K, place_K = np.nonzero(grams_NG != PADDING)
    share_K = (1 / (2 * np.maximum(lengths_I[known_I], 1) - 1))[row_K].astype(np.float32)
    size = len(known_I), encoder.bag.num_embeddings
    shares_NV = csr_matrix((share_K, (row_K, grams_NG[row_K, place_K])), shape=size)
    kernel = (shares_NV @ shares_NV.T).toarray()
    kernel[np.diag_indices(len(kernel))] += np.float32(_PENALTY * kernel.diagonal().mean())
    factor = cho_factor(kernel, lower=True, overwrite_a=True, check_finite=False)
    weights_VD = shares_NV.T @ cho_solve(factor, teacher_ID[known_I], check_finite=False)
    with torch.no_grad():
        encoder.bag.weight.copy_(torch.from_numpy(np.asarray(weights_VD, np.float32)))
        if encoder.deep:
            encoder.project.weight.mul_(_QUIET)


def distillation(vec_ID: Tensor, teacher_ID: Tensor) -> Tensor:
    """Mean cosine distance between pupil and teacher; 0 for items of which the teacher knows nothing."""
    known_I = (teacher_ID != 0).any(1)
    return ((1 - (vec_ID * teacher_ID).sum(1)) * known_I).sum() / known_I.sum().clamp(min=1)


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
