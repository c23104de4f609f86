"""What teaching the encoder from texts alone, before any click, is worth on the caixin log.

    RECSYS_TEXT_DATA=FOLDER python benchmarks/pretrain.py [--cutoff 2014-03-15] [--seeds 2] [--epochs 10]

Each way trains the text model on the clicks before the cutoff, of which the newest day stops it, and is measured by the
network alone on the clicks of the day after, of users who had clicked before; all items, and new items: without a click
before the cutoff. "And" says that bag and table start in closed form from the wide path (see `start`).

none          clicks only
teacher       the wide path's vectors, and no closed form; beside the clicks as well (training.distillation)
and none, and teacher (in use)
and halves    two halves of a title's tokens, drawn at random, should find each other among 64 (contrastive, InfoNCE)
and masked    the vector of a title without a third of its tokens should tell those (softmax over the vocabulary)
"""

import argparse
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.logs import DAY, Data, caixin
from benchmarks.quality_lib.caixin import day_after
from benchmarks.quality_lib.cold import interests
from benchmarks.quality_lib.report import machine
from benchmarks.quality_lib.training import decided, seeded, settings_of
from recsys_text.config import Settings
from recsys_text.evaluation.bootstrap import interval
from recsys_text.evaluation.metrics import evaluate
from recsys_text.fitting import fit_text
from recsys_text.model import pretrain as module
from recsys_text.model.encoder import Encoder
from recsys_text.model.optimise import learning_rate, update
from recsys_text.model.text_model import ALONE
from recsys_text.progress import Silent
from recsys_text.ranking.log import Impressions, micros
from recsys_text.sections import Training
from recsys_text.text.tokenizer import PADDING

HALF, THIRD = 1 / 2, 1 / 3
#: Of the contrastive softmax, as in most of its kind.
TEMPERATURE = 0.07
BATCH = 64


class Quiet(Silent):
    def stage(self, name: str) -> None: ...


def part(tokens_BT: Tensor, kept_BT: Tensor) -> tuple[Tensor, Tensor]:
    """The kept tokens of each text, moved together, and how many they are; at least one."""
    order_BT = (~kept_BT).to(torch.int8).argsort(dim=1, stable=True)
    lengths_B = kept_BT.sum(1)
    moved_BT = tokens_BT.gather(1, order_BT)
    return moved_BT * (torch.arange(tokens_BT.shape[1]) < lengths_B[:, None]), lengths_B.clamp(min=1)


def taught(
    loss_of: Callable[[Encoder, nn.Module, Tensor, Tensor], Tensor],
    encoder: Encoder, tokens_IT: Tensor, lengths_I: Tensor, teacher_ID: Tensor, training: Training,
    generator: torch.Generator, on_step: Callable[[float, float, int, int], None],
) -> None:  # fmt: skip
    """`pretrain` with another loss, of a batch of texts and the draw of its tokens."""
    head = nn.Linear(encoder.dim, encoder.vocabulary)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=training.learning_rate)
    steps = training.pretrain_epochs * -(-len(tokens_IT) // BATCH)
    encoder.train()
    step = 0
    for _ in range(training.pretrain_epochs):
        for items_I in torch.split(torch.randperm(len(tokens_IT), generator=generator), BATCH):
            draw_BT = torch.rand(tokens_IT[items_I].shape, generator=generator)
            loss = loss_of(encoder, head, tokens_IT[items_I], draw_BT)
            update(optimizer, loss, learning_rate(step, steps, training.learning_rate))
            step += 1


def halves(encoder: Encoder, _: nn.Module, tokens_BT: Tensor, draw_BT: Tensor) -> Tensor:
    known_BT = tokens_BT != PADDING
    first_BD, second_BD = (
        functional.normalize(encoder(*part(tokens_BT, known_BT & chosen_BT)), dim=1)
        for chosen_BT in (draw_BT < HALF, draw_BT >= HALF)
    )
    alike_BB = first_BD @ second_BD.T / TEMPERATURE
    right_B = torch.arange(len(tokens_BT))
    return (functional.cross_entropy(alike_BB, right_B) + functional.cross_entropy(alike_BB.T, right_B)) / 2


def masked(encoder: Encoder, head: nn.Module, tokens_BT: Tensor, draw_BT: Tensor) -> Tensor:
    known_BT = tokens_BT != PADDING
    hidden_BT = known_BT & (draw_BT < THIRD)
    said_BV = head(encoder(*part(tokens_BT, known_BT & ~hidden_BT))).log_softmax(1)
    return -said_BV.gather(1, tokens_BT.long())[hidden_BT].mean()


def pretraining(loss_of: Callable[[Encoder, nn.Module, Tensor, Tensor], Tensor]) -> Callable[..., None]:
    return lambda *arguments: taught(loss_of, *arguments)


#: Of each way: does it start in closed form, the settings it changes, and what is in the place of `pretrain`.
WAYS: dict[str, tuple[bool, dict[str, float], Callable[..., None]]] = {
    "none": (False, {"pretrain_epochs": 0, "distillation": 0.0}, module.pretrain),
    "teacher": (False, {}, module.pretrain),
    "and none": (True, {"pretrain_epochs": 0, "distillation": 0.0}, module.pretrain),
    "and teacher (in use)": (True, {}, module.pretrain),
    "and halves": (True, {"distillation": 0.0}, pretraining(halves)),
    "and masked": (True, {"distillation": 0.0}, pretraining(masked)),
}


def measured(data: Data, cutoff: datetime, settings: Settings, shown: Impressions) -> dict[str, np.ndarray]:
    before = data.before(cutoff)
    starts = before.starts(cutoff)[-settings.training.history :]
    chosen = decided(settings, before, starts)
    text, _, _ = fit_text(before.log, before.texts, starts, end=cutoff, settings=chosen, progress=Quiet())
    return evaluate(interests(text, data, shown, {"alone": ALONE})["alone"], shown.clicked, shown.offsets)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cutoff", type=datetime.fromisoformat, default=datetime(2014, 3, 15))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    cutoff = options.cutoff.replace(tzinfo=UTC)
    data = caixin(Path(os.environ["RECSYS_TEXT_DATA"]) / "caixin").before(cutoff + DAY)
    log, settings = data.log, settings_of("caixin")
    shown, of_item = day_after(data, cutoff, settings), log.clicks_of_item
    clicked_N = shown.item[shown.clicked]
    is_new_N = of_item.stop(clicked_N, of_item.rank(np.full(len(shown), micros(cutoff)))) == of_item.begin(clicked_N)
    print(machine())
    print(
        f"{len(shown):,} clicks, {is_new_N.sum():,} on new items; {options.seeds} seeds; network alone, AUC / nDCG@10"
    )
    for name, (closed, changed, way) in WAYS.items():
        runs = []
        for seed in range(7, 7 + options.seeds):
            chosen = seeded(settings, seed)
            update_of = {"pretrain_epochs": options.epochs} | changed
            chosen = chosen.model_copy(update={"training": chosen.training.model_copy(update=update_of)})
            start = mock.MagicMock() if closed else mock.patch("recsys_text.model.fit.start", return_value=None)
            with start, mock.patch("recsys_text.model.fit.pretrain", way):
                runs.append(measured(data, cutoff, chosen, shown))
        said = []
        for rows_N in (np.ones(len(shown), np.bool_), is_new_N):
            auc, ndcg = (np.mean([run[metric] for run in runs], axis=0)[rows_N] for metric in ("auc", "ndcg@10"))
            around = interval(ndcg, shown.user[rows_N], resamples=1000, seed=7)
            said.append(f"{auc.mean():.4f} / {around.mean:.4f} [{around.low:.4f}, {around.high:.4f}]")
        print(f"{name:22} all {said[0]}   new {said[1]}", flush=True)


if __name__ == "__main__":
    main()
