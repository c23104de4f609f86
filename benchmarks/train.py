"""Training samples per second on real news clicks, beside the same architecture written naively; time by part.

    RECSYS_TEXT_DATA=FOLDER python benchmarks/train.py [--steps 5] [--threads 1] [--history 30] [--out FILE.parquet]

The folder holds caixin/news.parquet and caixin/clicks.parquet. Naively, every title of every history and every
candidate is encoded again, slots without a click included, from arrays of one size [batch, history + candidates,
tokens], as public implementations of LSTUR and NRMS do; "naive, no padding" leaves such slots out. The ways take turns
with the same batches within one run, each on weights that begin the same. On a CPU, seconds are those of this process,
which a busy machine stretches less. Before the clock starts, all ways must give the same loss and gradient.
"""

import argparse
import ctypes
import os
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.logs import caixin
from recsys_text.model import encoder
from recsys_text.model.data import Batch, TrainSet, batch_of, shuffled, train_set
from recsys_text.model.fit import listwise_loss
from recsys_text.model.optimise import adamw, resolve_device, update
from recsys_text.model.scorer import Interest, build
from recsys_text.ranking.candidates import histories, sampled_impressions
from recsys_text.sections import Candidates, Model, Training
from recsys_text.text.tokenizer import train_tokenizer

SEED = 7
START, END = datetime(2014, 3, 2, tzinfo=UTC), datetime(2014, 3, 17, tzinfo=UTC)
PARTS = ("batch", "encode", "users", "loss", "backward", "optimiser")


def load(folder: Path, shape: Model, training: Training) -> tuple[NDArray[np.int32], NDArray[np.int32], TrainSet, int]:
    """Tokens and lengths of the titles, the training rows, and the size of the vocabulary."""
    data = caixin(folder / "caixin")
    log, titles = data.log, data.texts
    tokenizer = train_tokenizer(titles, shape.vocabulary)
    shown, _ = sampled_impressions(
        log, START, END, Candidates(), max_impressions=training.max_clicks, seed=SEED, negatives=training.negatives
    )
    history_NH = histories(log, shown.user, shown.time, shape.history)
    rows = train_set(history_NH, shown.offsets, shown.item, shown.clicked)
    return *tokenizer.encode(titles, shape.max_tokens), rows, tokenizer.vocabulary


def distinct(batch: Batch) -> Batch:
    return batch


def every_slot(batch: Batch) -> Batch:
    """The same batch with an item of its own in each slot that is not padding."""
    slots = torch.cat([batch.history_BH.flatten(), batch.candidates_BC.flatten()])
    real = slots >= 0
    own = torch.where(real, real.cumsum(0) - 1, -1)
    return _reshaped(batch, batch.items_I[slots[real]], own)


def every_slot_and_padding(batch: Batch) -> Batch:
    """The same batch with an item of its own in each slot; padding is encoded as the first item, and left unread."""
    slots = torch.cat([batch.history_BH.flatten(), batch.candidates_BC.flatten()])
    own = torch.where(slots >= 0, torch.arange(len(slots)), -1)
    return _reshaped(batch, batch.items_I[slots.clamp(min=0)], own)


def _reshaped(batch: Batch, items_I: Tensor, slots: Tensor) -> Batch:
    history = batch.history_BH.numel()
    return Batch(
        items_I=items_I,
        history_BH=slots[:history].view_as(batch.history_BH),
        candidates_BC=slots[history:].view_as(batch.candidates_BC),
        clicks_B=batch.clicks_B,
    )


WAYS: dict[str, Callable[[Batch], Batch]] = {
    "distinct": distinct,
    "naive": every_slot_and_padding,
    "naive, no padding": every_slot,
}


@contextmanager
def ungrouped(naive: bool) -> Iterator[None]:
    """Encodes a naive batch as it is: groups of like length are no part of that form."""
    size = encoder._GROUP
    encoder._GROUP = sys.maxsize if naive else size
    try:
        yield
    finally:
        encoder._GROUP = size


class Clock:
    """Seconds by part of a step; waits for a GPU at each reading, and counts this process's own time on a CPU."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds = dict.fromkeys(PARTS, 0.0)

    def now(self) -> float:
        if self._device.type != "cuda":
            return process_time()
        torch.cuda.synchronize()
        return perf_counter()

    @contextmanager
    def part(self, name: str, without: Sequence[str] = ()) -> Iterator[None]:
        """Counts the block, but for the parts in it that are counted by themselves."""
        start, inner = self.now(), sum(self.seconds[each] for each in without)
        yield
        self.seconds[name] += self.now() - start - sum(self.seconds[each] for each in without) + inner

    def watch(self, module: nn.Module, name: str) -> None:
        """Counts every forward pass of a module."""
        starts: list[float] = []
        module.register_forward_pre_hook(lambda *_: starts.append(self.now()))
        module.register_forward_hook(lambda *_: self._end(starts, name))

    def watch_steps(self, optimizer: torch.optim.Optimizer) -> None:
        starts: list[float] = []
        optimizer.register_step_pre_hook(lambda *_: starts.append(self.now()))
        optimizer.register_step_post_hook(lambda *_: self._end(starts, "optimiser"))

    def _end(self, starts: list[float], name: str) -> None:
        self.seconds[name] += self.now() - starts.pop()


@dataclass(kw_only=True)
class Way:
    """A model that is trained in one way, and what that took: seconds of each step, texts encoded, memory."""

    name: str
    shaped: Callable[[Batch], Batch]
    model: Interest
    training: Training
    seconds: list[float] = field(default_factory=list)
    texts: int = 0
    peak_mib: float = 0.0

    def __post_init__(self) -> None:
        self.device = self.model.log_scale.device
        self.clock = Clock(self.device)
        self.optimizer = adamw(self.model, self.training)
        self.clock.watch(self.model.encoder, "encode")
        self.clock.watch(self.model.tower, "users")
        self.clock.watch_steps(self.optimizer)

    def step(self, rows: TrainSet, rows_B: NDArray[np.int64], tokens: Tensor, lengths: Tensor) -> None:
        """One step of training as `fit` does it."""
        start = self.clock.now()
        with self.clock.part("batch"):
            batch = self.shaped(batch_of(rows.history_NH[rows_B], rows.candidates_NC[rows_B]))
        with self.clock.part("loss", without=("encode", "users")), ungrouped(self.shaped is not distinct):
            _, loss = listwise_loss(self.model, tokens, lengths, batch)
        with self.clock.part("backward", without=("optimiser",)):
            update(self.optimizer, loss, self.training.learning_rate)
        self.seconds.append(self.clock.now() - start)
        self.texts += len(batch.items_I)

    def gradient(self, batch: Batch, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and gradient without dropout."""
        self.model.eval()
        _, loss = listwise_loss(self.model, tokens, lengths, self.shaped(batch))
        gradients = torch.autograd.grad(loss, list(self.model.parameters()), allow_unused=True)
        self.model.train()
        return loss.detach(), torch.cat([each.flatten() for each in gradients if each is not None])


@contextmanager
def peak_of(way: Way) -> Iterator[None]:
    """Keeps the most memory that the block held beyond what it began with: of the GPU, or of this process (Linux)."""
    if way.device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        yield
        way.peak_mib = (torch.cuda.max_memory_allocated() - before) / 2**20
        return
    ctypes.CDLL(None).malloc_trim(0)  # or what one way freed would be free of charge to the next
    Path("/proc/self/clear_refs").write_text("5")  # forgets the former peak
    before = _status("VmRSS")
    yield
    way.peak_mib = (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    """A line of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def report(ways: list[Way], rows: int) -> pl.DataFrame:
    """One row per way: samples/s, ratio to the first with its spread over the steps, memory, and share of each part."""
    found = []
    first = np.array(ways[0].seconds)
    for way in ways:
        seconds = np.array(way.seconds)
        ratios = seconds / first
        parts = {f"{part} %": 100 * way.clock.seconds[part] / sum(way.clock.seconds.values()) for part in PARTS}
        figures = {
            "way": way.name,
            "samples/s": rows / seconds.mean(),
            "times slower": seconds.sum() / first.sum(),
            "least": ratios.min(),
            "most": ratios.max(),
            "texts a batch": way.texts / len(seconds),
            "peak MiB": way.peak_mib,
        }
        found.append(figures | parts)
    return pl.DataFrame(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--history", type=int, default=30)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = resolve_device(options.device)
    shape, training = Model(history=options.history), Training()
    tokens_IT, lengths_I, rows, vocabulary = load(Path(os.environ["RECSYS_TEXT_DATA"]), shape, training)
    tokens, lengths = torch.from_numpy(tokens_IT), torch.from_numpy(lengths_I)
    ways = [
        Way(name=name, shaped=shaped, model=build(shape, vocabulary, SEED).to(device).train(), training=training)
        for name, shaped in WAYS.items()
    ]
    size = training.batch_size
    order = shuffled(len(rows), torch.Generator().manual_seed(SEED))[: (options.steps + 1) * size].reshape(-1, size)

    small = batch_of(rows.history_NH[order[0, :64]], rows.candidates_NC[order[0, :64]])
    (loss, gradient), *others = (way.gradient(small, tokens, lengths) for way in ways)
    for other, its_gradient in others:
        torch.testing.assert_close(other, loss, rtol=1e-5, atol=1e-5)
        distance = (its_gradient - gradient).norm() / gradient.norm()
        assert distance < 1e-3, f"the gradients differ by {distance:.1e} of their norm"

    for number, rows_B in enumerate(order):
        for way in ways:
            # Memory is measured before the clock runs: giving it back first makes the step slower.
            with peak_of(way) if number == 0 else nullcontext():
                way.step(rows, rows_B, tokens, lengths)
        if number == 0:  # the first batch warms up
            for way in ways:
                way.seconds.clear()
                way.clock.seconds.update(dict.fromkeys(PARTS, 0.0))
                way.texts = 0

    where = torch.cuda.get_device_name() if device.type == "cuda" else f"{platform.machine()}, {os.cpu_count()} cores"
    print(f"{datetime.now(UTC):%Y-%m-%d}  {where}, {options.threads} thread(s), torch {torch.__version__}, seed {SEED}")
    print(
        f"{len(rows)} clicks, {len(tokens)} titles, batches of {size}, {options.steps} steps, history {shape.history} "
        f"({(rows.history_NH >= 0).sum(1).mean():.1f} filled), {rows.candidates_NC.shape[1]} candidates; "
        f"loss {loss.item():.6f} and gradient are the same in all ways"
    )
    table = report(ways, size)
    with pl.Config(tbl_cols=-1, tbl_width_chars=200, float_precision=1, tbl_hide_dataframe_shape=True):
        print(table.select("way", "samples/s", "times slower", "least", "most", "texts a batch", "peak MiB"))
        print(table.select("way", *(f"{part} %" for part in PARTS)))
    if options.out:
        table.write_parquet(options.out)


if __name__ == "__main__":
    main()
