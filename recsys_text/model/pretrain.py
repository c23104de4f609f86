"""Teaches the encoder from item text alone, before any click. Knows token ids, no users and no events.

The teacher is latent semantic analysis (Deerwester et al. 1990): TF-IDF over 1- to 3-grams of tokens,
reduced by a truncated SVD. A network that reproduces it starts from what exact words say, also about
items that nobody has clicked.
"""

from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfTransformer
from torch import Tensor

from recsys_text.config import Training
from recsys_text.model.encoder import Encoder
from recsys_text.model.optimise import adamw, autocast, learning_rate, to_device, update

_ORDERS = 3
#: Small batches: a catalogue has far fewer texts than a log has clicks.
_BATCH = 64


def tfidf_teacher(
    tokens_IT: NDArray[np.int32], lengths_I: NDArray[np.int32], dim: int, seed: int
) -> NDArray[np.float32]:
    """vec_ID of unit length; zeros for a text that shares no n-gram with another one.

    Where the texts have fewer than `dim` independent directions, the last columns are zero.
    """
    counts = _ngram_counts(tokens_IT, lengths_I)
    vec_ID = np.zeros((len(tokens_IT), dim), dtype=np.float32)
    components = min(dim, *(size - 1 for size in counts.shape))
    if components < 1:
        return vec_ID
    tfidf = TfidfTransformer(sublinear_tf=True).fit_transform(counts)
    reduced = TruncatedSVD(components, random_state=seed).fit_transform(tfidf)
    norms_I1 = np.linalg.norm(reduced, axis=1, keepdims=True)
    vec_ID[:, :components] = np.where(norms_I1 > 1e-6, reduced / np.maximum(norms_I1, 1e-6), 0)
    return vec_ID


def _ngram_counts(tokens_IT: NDArray[np.int32], lengths_I: NDArray[np.int32]) -> csr_matrix:
    """One row per item, one column per n-gram of tokens that at least two items have."""
    base = int(tokens_IT.max(initial=0)) + 1
    rows, columns, width = [], [], 0
    for order in range(1, min(_ORDERS, tokens_IT.shape[1]) + 1):
        positions = tokens_IT.shape[1] - order + 1
        codes_IP = np.zeros((len(tokens_IT), positions), dtype=np.int64)
        for offset in range(order):
            codes_IP = codes_IP * base + tokens_IT[:, offset : offset + positions]
        item_P, position_P = np.nonzero(np.arange(positions) < lengths_I[:, None] - order + 1)
        grams, gram_P = np.unique(codes_IP[item_P, position_P], return_inverse=True)
        pairs = np.unique(np.stack([gram_P, item_P]), axis=1)
        shared_G = np.bincount(pairs[0], minlength=len(grams)) > 1
        kept_P = shared_G[gram_P]
        rows.append(item_P[kept_P])
        columns.append(width + (np.cumsum(shared_G) - 1)[gram_P[kept_P]])
        width += int(shared_G.sum())
    row, column = np.concatenate(rows), np.concatenate(columns)
    return csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=(len(tokens_IT), width))


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
    device = encoder.project.weight.device
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
