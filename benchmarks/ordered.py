"""Quality of the blend on a log that knows an order and no clock: goodbooks, all items, as one window a day.

    RECSYS_TEXT_DATA=FOLDER python benchmarks/ordered.py [--drop 10] [--users 600]

Positives are ratings of 4 and 5. Counted from the end, each ten of a user's positives are one window, so that the
newest window holds the last ten of everybody; `--drop 10` leaves those out, to choose anything on the ten before. Each
user is ranked once, at the start of the newest window, against all books but those already rated. The interest is a
TF-IDF profile: no model whose training would decide what the blend is worth. EASE is beside it, with 95% bootstrap
intervals over users.
"""

import argparse
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.evaluation.bootstrap import interval
from recsys_text.evaluation.calibration import calibration_error
from recsys_text.evaluation.collaborative import collaborative_scores
from recsys_text.evaluation.metrics import evaluate
from recsys_text.fitting import blend_windows, fit_neighbours, fit_ranker
from recsys_text.model.text_model import Items
from recsys_text.ranking.log import Log, build_log, micros
from recsys_text.ranking.window_impressions import window_impressions
from recsys_text.sections import Candidates, Evaluation, Model, Project, Source, Sources

SEED = 7
END = datetime(2020, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TEST = 10
Floats = NDArray[np.float32]


def goodbooks(folder: Path, drop: int) -> tuple[Log, list[str], list[datetime]]:
    """The log, the texts of its items and the starts of its windows, the newest last."""
    books, ratings = pl.read_parquet(folder / "books.parquet"), pl.read_parquet(folder / "ratings_sample.parquet")
    back = pl.len().over("user_id").cast(pl.Int64) - 1 - pl.int_range(pl.len()).over("user_id")
    events = (
        ratings.filter(pl.col("rating") >= 4)
        .sort("user_id", "seq")
        .with_columns(back=back)
        .filter(pl.col("back") >= drop)
        .with_columns(window=(pl.col("back") - drop) // TEST, turn=TEST - 1 - (pl.col("back") - drop) % TEST)
    )
    starts = [END - DAY * (number + 1) for number in range(events["window"].max() + 1)][::-1]
    at = pl.lit(END) - pl.duration(days=pl.col("window") + 1) + pl.duration(hours=pl.col("turn") * 2 + 1)
    times = [pl.lit(None, pl.Datetime("us", "UTC")).alias(name) for name in ("published_at", "expires_at")]
    items = books.select(
        pl.col("book_id").cast(pl.String).alias("item_id"),
        pl.lit(starts[0]).dt.cast_time_unit("us").alias("known_at"),
        *times,
        pl.concat_str(
            pl.col("title").fill_null(""),
            pl.col("authors").fill_null(""),
            pl.col("genres").list.join(" ").fill_null(""),
            separator=" ",
        ).alias("text"),
    ).sort("item_id")
    log = build_log(
        items,
        events.select(
            pl.col("user_id").cast(pl.String),
            pl.col("book_id").cast(pl.String).alias("item_id"),
            pl.lit("click").alias("event_type"),
            at.dt.cast_time_unit("us").alias("occurred_at"),
        ),
    )
    return log, items["text"].to_list(), starts


@dataclass
class Profiles:
    """In place of a text model: users are the mean of their newest clicks, each weighing .9 of the next."""

    settings: Model

    def who(self, users_N: NDArray[np.int32], user_ids: list[str]) -> None:
        return None

    def users(self, items: Items, history_NH: NDArray[np.int32], who_N: None) -> Floats:
        weight_H = 0.9 ** np.arange(history_NH.shape[1])[::-1]
        weight_NH1 = ((history_NH >= 0) * weight_H).astype(np.float32)[..., None]
        total_ND = (items.about[history_NH] * weight_NH1).sum(1)
        return np.asarray(total_ND / np.maximum(np.linalg.norm(total_ND, axis=1, keepdims=True), 1e-9), np.float32)


def vectors(texts: list[str]) -> Floats:
    """float32[I, 128] of unit length."""
    found = TruncatedSVD(128, random_state=SEED).fit_transform(
        TfidfVectorizer(sublinear_tf=True, min_df=2).fit_transform(texts)
    )
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9), np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drop", type=int, default=0)
    parser.add_argument("--users", type=int, default=10_000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    log, texts, starts = goodbooks(Path(os.environ["RECSYS_TEXT_DATA"]) / "goodbooks10k_sample", options.drop)
    source = Source(kind="file", path="unused")
    settings = Settings(
        project=Project(name="goodbooks"),
        sources=Sources(items=source, events=source),
        candidates=Candidates(pool="all"),
        evaluation=Evaluation(at="window"),
    )
    bounds = starts
    cutoff = bounds[-1]
    vec_ID = vectors(texts)
    items, text = Items(candidate=vec_ID, click=vec_ID, about=vec_ID), Profiles(settings.model)
    begin = perf_counter()
    count = blend_windows(log, bounds, settings)
    blend, without_interest, calibrator = fit_ranker(text, log, items, bounds[-1 - count :], settings)
    neighbours = fit_neighbours(log, cutoff)
    print(f"learns from {count} windows before {cutoff:%Y-%m-%d} in {perf_counter() - begin:.0f} s")
    bundle = Bundle(
        text=text,
        neighbours=neighbours,
        blend=blend,
        without_interest=without_interest,
        calibrator=calibrator,
        candidates=settings.candidates,
        cutoff=cutoff,
    )
    shown, dropped = window_impressions(
        log, [(cutoff, END)], settings.candidates, max_impressions=options.users, seed=SEED
    )
    begin = perf_counter()
    interest_P, score_P, without_P = bundle.compare(log, items, shown)
    print(f"{len(shown):,} users, {dropped} clicks left out, {len(score_P) / (perf_counter() - begin):,.0f} pairs/s")
    methods = {"score": score_P, "score without interest": without_P, "interest": interest_P}
    for name, scores_P in (methods | collaborative_scores(log, shown, cutoff=micros(cutoff))).items():
        found = evaluate(scores_P, shown.clicked, shown.offsets)
        ndcg = interval(found["ndcg@10"], shown.user, resamples=1000, seed=SEED)
        print(
            f"{name:24} AUC {np.nanmean(found['auc']):.4f}  nDCG@10 {ndcg.mean:.4f} [{ndcg.low:.4f}, {ndcg.high:.4f}]"
            f"  recall@50 {found['recall@50'].mean():.4f}"
        )
    print(f"calibration error of the top 1%: {calibration_error(score_P, shown.clicked, top=0.01):.4f}")


if __name__ == "__main__":
    main()
