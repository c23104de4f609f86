"""The training loop of the interest model. Knows arrays and settings, no tables, paths or tracking.

Legend: I items, T tokens, N training rows, B rows of a batch, H history, C candidates, D `dim`.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recsys_text.errors import ContractError
from recsys_text.model.checkpoint import Checkpoint
from recsys_text.model.data import Batch, Rows, TrainSet, batch_of
from recsys_text.model.optimise import (
    adamw,
    autocast,
    deterministic,
    learning_rate,
    resolve_device,
    to_device,
    update,
    weights_digest,
)
from recsys_text.model.pretrain import Teacher, distillation, pretrain, start
from recsys_text.model.scorer import Interest, item_vectors
from recsys_text.progress import SILENT, EpochResult, Progress
from recsys_text.sections import Training
from recsys_text.torch_threads import one_thread

_CUTOFF = 10
#: How far a library's network goes from where the wide path sets it to where its clicks end: best on goodbooks, with
#: other books held out than those of the results.
WAY = 0.3
#: Steps between two reports: reading a loss makes a GPU wait.
_REPORT = 10


@one_thread()
def fit(
    model: Interest,
    tokens_IT: NDArray[np.int32],
    lengths_I: NDArray[np.int32],
    teacher: Teacher,
    train: Rows,
    valid: TrainSet,
    known_I: NDArray[np.bool_],
    training: Training,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Progress = SILENT,
) -> list[EpochResult]:
    """Trains `model` in place and leaves it on its device with the weights of the best epoch (but see `task`).

    First the encoder learns from the texts alone (see `pretrain`), then all of it from the clicks: the
    softmax over a row's candidates should favour the click. The learning rate rises and falls once over
    all epochs; training ends `patience` epochs after the lowest validation loss, or, without patience or validation
    rows, after the last epoch. With `task = "hidden"` the weights then go back most of the way to those before the
    first click: what an item was clicked for beside its text leaves less behind (WiSE-FT, Wortsman et al. 2022, "Robust
    fine-tuning of zero-shot models").

    The same arguments give the same weights on one CPU. Every epoch is seeded by itself, so that one that resumes from
    `checkpoint` (written after pretraining and after each epoch) ends with the weights of one that never stopped.
    Ctrl-C leaves the last one in place.

    Args:
        tokens_IT, lengths_I: the texts of I items, as the tokenizer gives them.
        known_I: the items whose texts training may know; the others may be candidates and clicks of `valid` alone.
        teacher: what their vectors should resemble, and where those of clicks start.
        train, valid: rows whose codes are rows of `tokens_IT`.

    Raises:
        ContractError: `train` has no rows. ConfigError: no such device, or a foreign checkpoint.
    """
    if len(train) == 0:
        raise ContractError("no training clicks before the cutoff; extract more windows or raise training.history")
    device = resolve_device(training.device)
    arrays = (tokens_IT, lengths_I, known_I, teacher.item_ID, teacher.click_ID, *train.arrays(), *valid.arrays())
    key = _fingerprint(model, training, arrays) if checkpoint else ""
    saved = checkpoint.load(key) if checkpoint else None
    model.to(device)
    optimizer = adamw(model, training)
    tokens, lengths = torch.from_numpy(tokens_IT), torch.from_numpy(lengths_I)
    taught = torch.from_numpy(teacher.item_ID)

    with deterministic(device):
        if saved is None:
            results: list[EpochResult] = []
            start(model, tokens_IT, teacher, known_I)
            generator = _seeded(training.seed, 0)
            report = partial(progress.on_step, "pretrain")
            pretrain(model.encoder, tokens[known_I], lengths[known_I], taught[known_I], training, generator, report)
            first, best = _copy(model), _copy(model)
            _keep(checkpoint, key, model, first, best, optimizer, results)
        else:
            results = [EpochResult(**result) for result in saved[1]["results"]]
            first, best = _restore(saved[0], model, optimizer)

        best_epoch, best_loss = max(
            ((each.epoch, each.valid_loss) for each in results if each.best), default=(0, math.inf)
        )
        while len(results) < training.epochs and len(results) - best_epoch < (training.patience or math.inf):
            epoch = len(results) + 1
            loss, speed = one_epoch(model, tokens_IT, lengths_I, teacher, train, training, epoch, optimizer, progress)
            valid_loss, valid_ndcg = evaluate(model, tokens_IT, lengths_I, valid)
            improved = len(valid) == 0 or not training.patience or valid_loss < best_loss
            if improved:
                best, best_epoch, best_loss = _copy(model), epoch, valid_loss
            results.append(
                EpochResult(
                    epoch=epoch,
                    loss=loss,
                    valid_loss=valid_loss,
                    valid_ndcg=valid_ndcg,
                    samples_per_second=speed,
                    best=improved,
                )
            )
            _keep(checkpoint, key, model, first, best, optimizer, results)
            progress.on_epoch(results[-1])
    way = WAY if training.task == "hidden" else 1.0
    model.load_state_dict({name: torch.lerp(first[name], weight, way) for name, weight in best.items()})
    return results


def one_epoch(
    model: Interest,
    tokens_IT: NDArray[np.int32],
    lengths_I: NDArray[np.int32],
    teacher: Teacher,
    train: Rows,
    training: Training,
    epoch: int,
    optimizer: torch.optim.AdamW,
    progress: Progress,
) -> tuple[float, float]:
    """All rows once, as epoch 1, 2, ... of `training.epochs`; returns the mean loss and rows per second."""
    device, per_epoch = model.log_scale.device, math.ceil(len(train) / training.batch_size)
    steps = per_epoch * training.epochs
    tokens, lengths, taught = (torch.from_numpy(array) for array in (tokens_IT, lengths_I, teacher.item_ID))
    total, seen, begun = torch.zeros((), device=device), 0, perf_counter()
    model.train()
    rows = train.epoch(training.batch_size, _seeded(training.seed, epoch))
    for step, batch in enumerate(rows, (epoch - 1) * per_epoch):
        vec_ID, loss = listwise_loss(model, tokens, lengths, batch)
        total, seen = total + loss.detach() * len(batch), seen + len(batch)
        if training.distillation:
            loss = loss + training.distillation * distillation(vec_ID, to_device(taught[batch.items_I], device))
        update(optimizer, loss, learning_rate(step, steps, training.learning_rate))
        if (step + 1) % _REPORT == 0 or seen == len(train):
            speed = seen / (perf_counter() - begun)
            progress.on_step("train", total.item() / seen, speed, step + 1, steps)
    return total.item() / seen, seen / (perf_counter() - begun)


def listwise_loss(model: Interest, tokens_IT: Tensor, lengths_I: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """vec_ID of the batch's items, each encoded once, and the mean over its clicks of -log softmax(click), each beside
    its row's candidates that are no clicks.
    """
    device = model.log_scale.device
    with autocast(device):
        vec_ID = model.encoder(to_device(tokens_IT[batch.items_I], device), lengths_I[batch.items_I])
    who_B = None if batch.user_B is None else to_device(batch.user_B, device)
    interest_BC = model(vec_ID, to_device(batch.history_BH, device), to_device(batch.candidates_BC, device), who_B)
    most = int(batch.clicks_B.max())
    clicked_BC = torch.arange(interest_BC.shape[1], device=device) < to_device(batch.clicks_B, device)[:, None]
    others_BC = interest_BC
    if batch.chance_I is not None:
        # A batch holds popular items more often than others, so each stands for fewer (Bengio and Senecal 2008).
        others_BC = interest_BC - to_device(batch.chance_I, device).log()[to_device(batch.candidates_BC, device)]
    others_B1 = others_BC.masked_fill(clicked_BC, -torch.inf).logsumexp(1, keepdim=True)
    clicks_BK = interest_BC[:, :most]
    return vec_ID, functional.softplus(others_B1 - clicks_BK)[clicked_BC[:, :most]].mean()


def evaluate(
    model: Interest, tokens_IT: NDArray[np.int32], lengths_I: NDArray[np.int32], rows: TrainSet, batch_size: int = 1024
) -> tuple[float, float]:
    """Mean listwise loss and nDCG@10 of the click among its row's candidates; NaN without rows.

    Each distinct item of all rows is encoded once. A tie counts against the click.
    """
    if len(rows) == 0:
        return math.nan, math.nan
    whole = batch_of(rows.history_NH, rows.candidates_NC, rows.learned)
    items_I = whole.items_I.numpy()
    device = model.log_scale.device
    vec_ID = torch.from_numpy(item_vectors(model, tokens_IT[items_I], lengths_I[items_I])).to(device)
    losses, gains = [], []
    model.eval()
    with torch.inference_mode():
        for rows_B in torch.split(torch.arange(len(rows)), batch_size):
            history_BH, candidates_BC = whole.history_BH[rows_B], whole.candidates_BC[rows_B]
            who_B = None if rows.user_N is None else torch.from_numpy(rows.user_N[rows_B.numpy()]).long().to(device)
            interest_BC = model(vec_ID, history_BH.to(device), candidates_BC.to(device), who_B).cpu()
            losses.append(-interest_BC.log_softmax(1)[:, 0])
            ranks_B = (interest_BC >= interest_BC[:, :1]).sum(1)
            gains.append(torch.where(ranks_B <= _CUTOFF, 1 / torch.log2(1 + ranks_B), 0.0))
    return torch.cat(losses).double().mean().item(), torch.cat(gains).double().mean().item()


def _seeded(seed: int, epoch: int) -> torch.Generator:
    """Seeds all that is random in an epoch (0 is pretraining): dropout globally, the order by the result."""
    torch.manual_seed(seed * 1_000_003 + epoch)
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)


def _copy(model: Interest) -> dict[str, Tensor]:
    return {name: weight.detach().cpu().clone() for name, weight in model.state_dict().items()}


def _keep(
    checkpoint: Checkpoint | None,
    key: str,
    model: Interest,
    first: dict[str, Tensor],
    best: dict[str, Tensor],
    optimizer: torch.optim.AdamW,
    results: Sequence[EpochResult],
) -> None:
    """Saves the state of a training where there is a checkpoint."""
    if checkpoint is None:
        return
    parts = {"model": _copy(model), "first": first, "best": best}
    tensors = {f"{part}.{name}": weight for part, weights in parts.items() for name, weight in weights.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": moment.cpu() for name, moment in moments.items()}
    checkpoint.save(key, tensors, {"results": [asdict(each) for each in results]})


def _restore(
    tensors: dict[str, Tensor], model: Interest, optimizer: torch.optim.AdamW
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Puts back what `_keep` took and returns the first and the best weights."""
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "first": {}, "best": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    model.load_state_dict(parts["model"])
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        index, _, kind = name.partition(".")
        moments.setdefault(int(index), {})[kind] = tensor
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return parts["first"], parts["best"]


def _fingerprint(model: Interest, training: Training, arrays: Sequence[NDArray[Any]]) -> str:
    """SHA-256 over the initial weights, the settings and every array that training sees."""
    digest = hashlib.sha256(weights_digest(model).encode())
    digest.update(model.settings.model_dump_json().encode())
    digest.update(json.dumps(training.model_dump(mode="json", exclude={"device"})).encode())
    for array in arrays:
        digest.update(f"{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
