"""Continues a trained network with newer clicks. Knows arrays and settings, no tables, paths or tracking.

Legend: I items, T tokens, D `dim`.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from recsys_text.errors import ContractError
from recsys_text.model.adapters import Adapters
from recsys_text.model.data import Rows
from recsys_text.model.fit import WAY, one_epoch
from recsys_text.model.optimise import adamw, deterministic, resolve_device
from recsys_text.model.pretrain import Teacher
from recsys_text.model.scorer import Interest, build, click_vectors, item_vectors
from recsys_text.progress import SILENT, EpochResult, Progress
from recsys_text.sections import Training
from recsys_text.torch_threads import one_thread

#: Once through the new clicks; the peak of the learning rate beside that of a whole training.
_EPOCHS, _RATE = 1, {"all": 0.5, "lora": 2.0}


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """What became of the clicks: one result for each epoch, and the share of the weights that were trained."""

    results: list[EpochResult]
    trainable: float


@one_thread()
def resume(
    model: Interest,
    tokens_IT: NDArray[np.int32],
    lengths_I: NDArray[np.int32],
    rows: Rows,
    training: Training,
    *,
    progress: Progress = SILENT,
) -> Resumed:
    """Trains `model` in place with these clicks, once, and leaves it on its device.

    The vectors of texts are drawn to those that they had before, as to the teacher in `fit`: what is not clicked anew
    stays where it was (Li and Hoiem 2016, "Learning without forgetting"). With `training.adapt = "lora"` only
    `Adapters` are trained. Raises ContractError without a row, ConfigError for no such device.
    """
    if len(rows) == 0:
        raise ContractError("no clicks since the champion's cutoff to learn from; extract newer windows")
    device = resolve_device(training.device)
    model.to(device)
    before = item_vectors(model, tokens_IT, lengths_I)
    teacher = Teacher(item_ID=before, click_ID=before)
    rate = training.learning_rate * _RATE[training.adapt]
    chosen, results = training.model_copy(update={"learning_rate": rate, "epochs": _EPOCHS}), []
    first = {name: weight.detach().clone() for name, weight in model.state_dict().items()}
    adapters = Adapters(model, training.seed) if training.adapt == "lora" else None
    trained: nn.Module = adapters or model
    share = sum(map(torch.numel, trained.parameters())) / sum(map(torch.numel, model.parameters()))
    optimizer = adamw(trained, chosen)
    if adapters:
        adapters.follow(optimizer)
    with deterministic(device):
        for epoch in range(1, _EPOCHS + 1):
            loss, speed = one_epoch(model, tokens_IT, lengths_I, teacher, rows, chosen, epoch, optimizer, progress)
            nan = float("nan")
            results.append(
                EpochResult(epoch=epoch, loss=loss, valid_loss=nan, valid_ndcg=nan, samples_per_second=speed, best=True)
            )
            progress.on_epoch(results[-1])
    if adapters:
        adapters.release()
    if training.task == "hidden":
        model.load_state_dict({n: torch.lerp(first[n], weight, WAY) for n, weight in model.state_dict().items()})
    return Resumed(results=results, trainable=share)


def grown(
    model: Interest,
    tokens_IT: NDArray[np.int32],
    lengths_I: NDArray[np.int32],
    item_rows_I: NDArray[np.int64],
    user_rows_U: NDArray[np.int64],
) -> Interest:
    """A copy with a vector of its own for each of these items as clicks, and for each user, where the model has such.

    Who has one keeps it: item_rows_I and user_rows_U are rows of the model's, -1 for what is new. New items start from
    their text, new users from zero.
    """
    if model.table is None and model.long_term is None:
        return copy.deepcopy(model)
    larger = build(model.settings, model.vocabulary, 0, len(item_rows_I), len(user_rows_U))
    own = {name: weight for name, weight in model.state_dict().items() if name not in ("table", "long_term")}
    larger.load_state_dict(own, strict=False)
    with torch.no_grad():
        if larger.table is not None:
            text_ID = item_vectors(model, tokens_IT, lengths_I)
            larger.table.copy_(torch.from_numpy(click_vectors(model, text_ID, item_rows_I)))
        if model.long_term is not None and larger.long_term is not None:
            known_U = torch.from_numpy(user_rows_U >= 0)
            larger.long_term[known_U] = model.long_term[torch.from_numpy(user_rows_U)[known_U]].cpu()
    return larger
