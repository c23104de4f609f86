"""Quality and cost of each kind of blend on the caixin log, with and without what texts say; ways of calibrating.

    RECSYS_TEXT_DATA=FOLDER python benchmarks/blend.py [--start 2014-03-13] [--cutoff 2014-03-16] [--end 2014-03-18]
        [--impressions FILE] [--clicks 8000] [--candidates 60]
    RECSYS_TEXT_DATA=FOLDER python benchmarks/blend.py --calibrations 11 12 13 14 15 16

The blend learns from clicks in [start, cutoff), four users of five; the fifth calibrates. It is measured on clicks in
[cutoff, end) of users who had clicked before, or on the impressions of FILE. Texts are TF-IDF vectors of character 1-
to 3-grams, cut to 128 dimensions, and the interest is their product with the mean of the last 30 clicks: no model whose
training would decide what the blend is worth. Intervals: 95% bootstrap over users. Rates are of one thread, then two.
"One of each" is the first of the trees and networks that a blend averages; the seconds are those of all.

With --calibrations, the calibration error instead, on the two days after each of these days of March: the blend learns
from the three days before. "Followed" is the last way going with the clicks of the test that are older than the one at
hand, about as evaluation and publishing do it. Nothing from --end on is loaded. Ten minutes and 4 GB for each.
"""

import argparse
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from benchmarks.logs import DAY, Data, caixin
from recsys_text.evaluation.bootstrap import interval
from recsys_text.evaluation.calibration import calibration_error
from recsys_text.evaluation.metrics import evaluate
from recsys_text.fitting import fit_neighbours
from recsys_text.following import EVERY
from recsys_text.ranking.affinity import affinity, dots
from recsys_text.ranking.blend import Blend, fit_blend
from recsys_text.ranking.calibrate import fit_calibrator, follow, log_share
from recsys_text.ranking.candidates import histories, sampled_impressions, with_negatives
from recsys_text.ranking.features import FEATURES, INTEREST_FEATURES, assemble, counts
from recsys_text.ranking.log import Impressions, Log, impressions_from_frame
from recsys_text.ranking.logged import take
from recsys_text.ranking.neighbours import Neighbours, together
from recsys_text.sections import Candidates

SEED = 7
CHUNK = 500_000
HISTORY = 30
#: Clicks in 24 hours up to which a clicked item counts as rare.
RARE = 5
#: Folds of users of the cross-fitting.
FOLDS = 3
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Bools = NDArray[np.bool_]


def vectors(data: Data) -> Floats:
    """float32[I, 128] of unit length, in the order of the log's items."""
    terms = TfidfVectorizer(analyzer="char", ngram_range=(1, 3), sublinear_tf=True, min_df=2)
    found = TruncatedSVD(128, random_state=SEED).fit_transform(terms.fit_transform(data.texts))
    return np.asarray(found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9), np.float32)


def matrices(
    log: Log, items_ID: Floats, neighbours: Neighbours, impressions: Impressions
) -> Iterator[tuple[Impressions, Floats]]:
    """The features of whole impressions, some at a time."""
    for part in impressions.chunks(CHUNK):
        history_NH = histories(log, part.user, part.time, HISTORY)
        known_NH1 = (history_NH >= 0)[..., None]
        users_ND = (items_ID[history_NH] * known_NH1).sum(1) / np.maximum(known_NH1.sum(1), 1)
        interest_P = dots(users_ND.astype(np.float32), items_ID, part.item, part.offsets)
        said = {"interest": interest_P} | affinity(log, items_ID, part, history_NH)
        yield part, assemble(counts(log, part), said | together(log, part, neighbours), part.offsets)


def thinned(part: Impressions, features_PF: Floats, n: int) -> tuple[Floats, Bools, NDArray[np.int64]]:
    few = with_negatives(part, n, SEED)
    size = int(part.item.max()) + 1
    kept = np.searchsorted(part.row * size + part.item, few.row * size + few.item)
    return features_PF[kept], few.clicked, np.diff(few.offsets)


def load(options: argparse.Namespace) -> tuple[Log, Floats, Impressions, Impressions]:
    """The log, the vectors, what the blend learns from and what it is measured on."""
    start, cutoff, end = (time.replace(tzinfo=UTC) for time in (options.start, options.cutoff, options.end))
    data = caixin(Path(os.environ["RECSYS_TEXT_DATA"]) / "caixin")
    log, items_ID = data.log, vectors(data)
    newest, _ = sampled_impressions(log, start, cutoff, Candidates(), max_impressions=options.clicks, seed=SEED)
    if options.impressions:
        tests = impressions_from_frame(pl.read_parquet(options.impressions), log)
    else:
        tests, _ = sampled_impressions(log, cutoff, end, Candidates(), max_impressions=4000, seed=SEED)
        own = log.clicks_of_user
        known_N = own.stop(tests.user, own.rank(tests.time)) > own.begin(tests.user)
        tests = take(tests, np.flatnonzero(known_N))
    return log, items_ID, newest, tests


def calibrated(raw_P: Doubles, shown: Impressions, tests_P: Doubles, tests: Impressions) -> dict[str, Doubles]:
    """The probabilities of the tests' raw scores, by each way of calibrating on the raw scores of what was shown."""
    found = fit_calibrator(raw_P, shown.clicked, shown.offsets)
    identity = (1.0, 1.0, 0.0)
    said = {
        "softmax": replace(found, level=0.0, slope=0.0, beta=identity).predict(tests_P, tests.offsets),
        "by evenness": replace(found, beta=identity).predict(tests_P, tests.offsets),
        "and beta": found.predict(tests_P, tests.offsets),
    }
    every = EVERY // timedelta(microseconds=1)
    known_N = (tests.time // every + 1) * every
    following = follow(found, tests_P, tests.clicked, tests.offsets, known_N, np.unique(known_N).tolist())
    said["followed"] = following.predict(tests_P, tests.offsets, tests.time)
    share_P, of_tests_P = (
        np.minimum(log_share(found.steepness * scores_P, impressions.offsets), -1e-12)
        for scores_P, impressions in ((raw_P, shown), (tests_P, tests))
    )
    # Kull et al. 2017 on the plain softmax, and what was in its place before.
    learns = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-9).fit(_odds(share_P), shown.clicked)
    said["softmax, beta"] = learns.predict_proba(_odds(of_tests_P))[:, 1]
    said["softmax, isotonic"] = IsotonicRegression(out_of_bounds="clip").fit(share_P, shown.clicked).predict(of_tests_P)
    return said


def _odds(log_share_P: Doubles) -> Doubles:
    return np.stack([log_share_P, np.log(-np.expm1(log_share_P))], axis=1)


def calibration_span(log: Log, items_ID: Floats, cutoff: datetime, end: datetime, clicks: int, candidates: int) -> None:
    """Prints the error of each calibration on [cutoff, end), each fitted on the scores of different impressions."""
    start = cutoff - 3 * DAY
    newest, _ = sampled_impressions(log, start, cutoff, Candidates(), max_impressions=clicks, seed=SEED)
    tests, _ = sampled_impressions(log, cutoff, end, Candidates(), max_impressions=4000, seed=SEED)
    own = log.clicks_of_user
    tests = take(tests, np.flatnonzero(own.stop(tests.user, own.rank(tests.time)) > own.begin(tests.user)))
    parts, teaching = [], []
    for part, features_PF in matrices(log, items_ID, fit_neighbours(log, start), newest):
        parts.append(features_PF)
        teaching.append(thinned(part, features_PF, candidates))
    newest_PF = np.concatenate(parts)
    taught_PF, clicked_P, size_N = (np.concatenate(arrays) for arrays in zip(*teaching, strict=True))
    tests_PF = np.concatenate([found for _, found in matrices(log, items_ID, fit_neighbours(log, cutoff), tests)])

    def fitted(chosen_N: Bools) -> Blend:
        rows_P, offsets_N1 = np.repeat(chosen_N, size_N), np.concatenate(([0], np.cumsum(size_N[chosen_N])))
        return fit_blend(
            taught_PF[rows_P], clicked_P[rows_P], offsets_N1, newest.user[chosen_N],
            share=0.5, names=FEATURES, seed=SEED, threads=1,
        )  # fmt: skip

    def pairs(chosen_N: Bools) -> Bools:
        return np.repeat(chosen_N, np.diff(newest.offsets))

    def measure(name: str, raw_P: Doubles, chosen_N: Bools, tests_P: Doubles) -> None:
        for way, said_P in calibrated(raw_P, take(newest, np.flatnonzero(chosen_N)), tests_P, tests).items():
            drawn_P = np.random.default_rng(SEED).random(len(said_P)) < said_P
            error, noise = (calibration_error(said_P, drawn, top=0.01) for drawn in (tests.clicked, drawn_P))
            print(f"{cutoff:%d}  {name:24} {way:18} {error:.4f} {noise:.4f}", flush=True)

    draw_U = np.random.default_rng(SEED).random((2, len(log.user_ids)))
    fold_N = (draw_U[0] * FOLDS).astype(int)[newest.user]
    fifth_N = (draw_U[1] < FOLDS / 5)[newest.user]
    unseen_P = np.zeros(len(newest.item))
    for fold in range(FOLDS):
        blend, out_N = fitted(fold_N != fold), fold_N == fold
        unseen_P[pairs(out_N)] = blend.predict(newest_PF[pairs(out_N)], threads=1)
        chosen_N = out_N & fifth_N
        measure(
            f"a fifth of the users, {fold}", unseen_P[pairs(chosen_N)], chosen_N, blend.predict(tests_PF, threads=1)
        )
    full, newer_N = fitted(np.ones(len(newest), np.bool_)), newest.time >= int((cutoff - DAY).timestamp() * 1e6)
    full_P = full.predict(tests_PF, threads=1)
    measure("cross-fitted", unseen_P, np.ones(len(newest), np.bool_), full_P)
    measure("cross-fitted, newest day", unseen_P[pairs(newer_N)], newer_N, full_P)
    forward_P = fitted(~newer_N).predict(newest_PF[pairs(newer_N)], threads=1)
    measure("later than taught", forward_P, newer_N, full_P)


def compare_calibrations(options: argparse.Namespace) -> None:
    end = options.end.replace(tzinfo=UTC)
    data = caixin(Path(os.environ["RECSYS_TEXT_DATA"]) / "caixin").before(end)
    items_ID = vectors(data)
    print("day learns and calibrates    calibration      ECE top 1%, of clicks drawn from the predictions")
    for day in options.calibrations:
        cutoff = datetime(2014, 3, day, tzinfo=UTC)
        test_end = min(cutoff + 2 * DAY, end)
        calibration_span(data.log, items_ID, cutoff, test_end, options.clicks, options.candidates)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, day in (("start", 13), ("cutoff", 16), ("end", 18)):
        parser.add_argument(f"--{name}", type=datetime.fromisoformat, default=datetime(2014, 3, day))
    parser.add_argument("--impressions", type=Path)
    parser.add_argument("--clicks", type=int, default=8000)
    parser.add_argument("--candidates", type=int, default=60)
    parser.add_argument("--calibrations", type=int, nargs="+", metavar="DAY")
    options = parser.parse_args()
    if options.calibrations:
        compare_calibrations(options)
        return
    log, items_ID, newest, tests = load(options)
    calibrates_N = np.random.default_rng(SEED).integers(0, 5, len(log.user_ids))[newest.user] == 0
    before, known = (fit_neighbours(log, time.replace(tzinfo=UTC)) for time in (options.start, options.cutoff))
    teaching = [
        thinned(part, features_PF, options.candidates)
        for part, features_PF in matrices(log, items_ID, before, take(newest, np.flatnonzero(~calibrates_N)))
    ]
    taught_PF, clicked_P = (
        np.concatenate([rows[0] for rows in teaching]),
        np.concatenate([rows[1] for rows in teaching]),
    )
    offsets_N1 = np.concatenate(([0], np.cumsum(np.concatenate([rows[2] for rows in teaching]))))
    calibrating = take(newest, np.flatnonzero(calibrates_N))
    calibrating_PF = np.concatenate([features for _, features in matrices(log, items_ID, before, calibrating)])
    tests_PF = np.concatenate([features for _, features in matrices(log, items_ID, known, tests)])
    day_P = np.expm1(tests_PF[:, FEATURES.index("clicks_24h")])
    rare_N = np.bincount(tests.row[tests.clicked & (day_P <= RARE + 0.5)], minlength=len(tests)) > 0
    print(f"{datetime.now(UTC):%Y-%m-%d}: learns from {len(offsets_N1) - 1:,} clicks, {len(clicked_P):,} rows")
    print(
        f"measured on {len(tests):,} impressions, {len(tests.item):,} candidates; {rare_N.sum():,} clicks on rare items"
    )
    print(
        "kind                            AUC  nDCG@10                 rare items  ECE top 1%  fit s   pairs/s of 1, 2"
    )

    found = {}
    without = [at for at, name in enumerate(FEATURES) if name not in INTEREST_FEATURES]
    everything = list(range(len(FEATURES)))
    arms: dict[str, tuple[float, list[int]]] = {
        "lightgbm": (0.0, everything),
        "mlp": (1.0, everything),
        "both": (0.5, everything),
        "both, no interest": (0.5, without),
    }
    for name, (share, columns) in arms.items():
        names = np.array(FEATURES)[columns].tolist()
        begin = perf_counter()
        blend = fit_blend(
            np.ascontiguousarray(taught_PF[:, columns]), clicked_P, offsets_N1, newest.user[~calibrates_N],
            share=share, names=names, seed=SEED, threads=1,
        )  # fmt: skip
        seconds = perf_counter() - begin
        fewer = replace(blend, trees=blend.trees[:1], networks=blend.networks[:1])
        for arm, ranker in ((name, blend), (f"{name}, one of each", fewer)):
            seen_PF, rates = np.ascontiguousarray(tests_PF[:, columns]), []
            for threads in (1, 2):
                torch.set_num_threads(threads)
                begin = perf_counter()
                raw_P = ranker.predict(seen_PF, threads=threads)
                rates.append(len(raw_P) / (perf_counter() - begin))
            torch.set_num_threads(1)
            calibrator = fit_calibrator(
                ranker.predict(np.ascontiguousarray(calibrating_PF[:, columns]), threads=1),
                calibrating.clicked,
                calibrating.offsets,
            )
            error = calibration_error(calibrator.predict(raw_P, tests.offsets), tests.clicked, top=0.01)
            found[arm] = evaluate(raw_P, tests.clicked, tests.offsets)
            ndcg_N = found[arm]["ndcg@10"]
            whole = interval(ndcg_N, tests.user, resamples=1000, seed=SEED)
            print(
                f"{arm:30} {found[arm]['auc'].mean():.4f} {whole.mean:.4f} [{whole.low:.4f}, {whole.high:.4f}]"
                f" {ndcg_N[rare_N].mean():10.4f} {error:11.4f} {seconds:6.0f}   {rates[0]:,.0f}, {rates[1]:,.0f}",
                flush=True,
            )
        if name == "both":
            top = ", ".join(f"{feature} {share:.3f}" for feature, share in list(blend.importance().items())[:12])
            print(f"  gain: {top}")
    for of_each in ("", ", one of each"):
        gain_N = found[f"both{of_each}"]["ndcg@10"] - found[f"both, no interest{of_each}"]["ndcg@10"]
        for where, chosen_N in (("all", np.ones(len(tests), np.bool_)), ("rare items", rare_N)):
            gain = interval(gain_N[chosen_N], tests.user[chosen_N], resamples=1000, seed=SEED)
            print(f"interest adds {gain.mean:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}] nDCG@10 on {where}{of_each}")


if __name__ == "__main__":
    main()
