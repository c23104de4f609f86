"""Training samples per second on real news clicks, each distinct item of a batch encoded once against every slot.

    RECSYS_TEXT_DATA=FOLDER python benchmarks/train.py [--steps 4] [--threads 1]

The folder holds caixin/news.parquet and caixin/clicks.parquet. The same model, optimiser and batches take turns
within one run, so that the ratio holds on a busy machine where the rates do not. Padding is encoded by neither.
"""

import argparse
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from recsys_text.config import Candidates, Model, Training
from recsys_text.model.data import Batch, TrainSet, batches, shuffled, train_set
from recsys_text.model.fit import listwise_loss
from recsys_text.model.optimise import adamw, update
from recsys_text.model.scorer import build
from recsys_text.ranking.candidates import histories, sampled_impressions
from recsys_text.ranking.log import build_log
from recsys_text.text.tokenizer import train_tokenizer

SEED = 7
START, END = datetime(2014, 3, 2, tzinfo=UTC), datetime(2014, 3, 17, tzinfo=UTC)


def load(folder: Path, shape: Model, training: Training) -> tuple[NDArray[np.int32], NDArray[np.int32], TrainSet, int]:
    """Tokens and lengths of the titles, the training rows, and the size of the vocabulary."""
    time = pl.Datetime("us", "UTC")
    items = pl.read_parquet(folder / "caixin" / "news.parquet").select(
        pl.col("news_id").cast(pl.String).alias("item_id"),
        "title",
        "published_at",
        pl.lit(None, dtype=time).alias("expires_at"),
        pl.col("published_at").fill_null(pl.lit(START, dtype=time)).alias("known_at"),
    )
    clicks = pl.read_parquet(folder / "caixin" / "clicks.parquet").select(
        pl.col("user_id").cast(pl.String),
        pl.col("news_id").cast(pl.String).alias("item_id"),
        pl.lit("click").alias("event_type"),
        pl.col("read_at").alias("occurred_at"),
    )
    log = build_log(items, clicks)
    titles = items.sort("item_id")["title"].to_list()
    tokenizer = train_tokenizer(titles, shape.vocabulary)
    shown, _ = sampled_impressions(
        log,
        START,
        END,
        Candidates(),
        max_impressions=training.max_clicks,
        seed=SEED,
        negatives=training.negatives,
    )
    history_NH = histories(log, shown.user, shown.time, shape.history)
    rows = train_set(history_NH, shown.offsets, shown.item, shown.clicked)
    return *tokenizer.encode(titles, shape.max_tokens), rows, tokenizer.vocabulary


def every_slot(batch: Batch) -> Batch:
    """The same batch with an item of its own in each slot that is not padding."""
    slots = torch.cat([batch.history_BH.flatten(), batch.candidates_BC.flatten()])
    real = slots >= 0
    own = torch.where(real, real.cumsum(0) - 1, -1)
    history = batch.history_BH.numel()
    return Batch(
        items_I=batch.items_I[slots[real]],
        history_BH=own[:history].view_as(batch.history_BH),
        candidates_BC=own[history:].view_as(batch.candidates_BC),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    shape, training = Model(), Training()
    tokens_IT, lengths_I, rows, vocabulary = load(Path(os.environ["RECSYS_TEXT_DATA"]), shape, training)
    tokens, lengths = torch.from_numpy(tokens_IT), torch.from_numpy(lengths_I)
    model = build(shape, vocabulary, SEED).train()
    optimizer = adamw(model, training)
    order = shuffled(len(rows), torch.Generator().manual_seed(SEED))[: (options.steps + 1) * training.batch_size]
    seconds, encoded, samples = {"once": 0.0, "every slot": 0.0}, {"once": 0, "every slot": 0}, 0
    for number, batch in enumerate(batches(rows, training.batch_size, order)):
        for way, given in (("once", batch), ("every slot", every_slot(batch))):
            start = perf_counter()
            update(optimizer, listwise_loss(model, tokens, lengths, given)[1], training.learning_rate)
            if number > 0:  # the first batch warms up
                seconds[way] += perf_counter() - start
                encoded[way] += len(given.items_I)
        samples += len(batch) if number > 0 else 0
    print(f"{datetime.now(UTC):%Y-%m-%d}  {platform.machine()}, {os.cpu_count()} cores, {options.threads} thread(s)")
    print(f"torch {torch.__version__}, seed {SEED}, {len(rows)} clicks, batches of {training.batch_size}")
    for way, spent in seconds.items():
        print(f"{way:>10}: {samples / spent:7.0f} samples/s, {encoded[way] / options.steps:6.0f} texts a batch")
    print(f"encoding each distinct item once is {seconds['every slot'] / seconds['once']:.1f} times as fast")


if __name__ == "__main__":
    main()
