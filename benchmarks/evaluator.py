"""Every metric of one method over many impressions: `python benchmarks/evaluator.py [--impressions N] [--threads N]`.

Scores are float32, one candidate in each list of 400 is clicked, and they come in parts, as they would from a file;
items are drawn from 100,000 with vectors of 64. Making the parts is not counted.
"""

import argparse
import resource
import time
from datetime import UTC, datetime

import numpy as np

from recsys_text.evaluation import lists, metrics
from recsys_text.evaluation.calibration import TOP, calibration
from recsys_text.ranking.log import Impressions

CANDIDATES, ITEMS, DIMENSIONS, PART = 400, 100_000, 64, 10_000


def made(number: int, seed: int) -> tuple[Impressions, np.ndarray]:
    random = np.random.default_rng(seed)
    score_P = random.random(number * CANDIDATES, np.float32)
    clicked_P = np.zeros(number * CANDIDATES, np.bool_)
    clicked_P[np.arange(number) * CANDIDATES + random.integers(CANDIDATES, size=number)] = True
    shown = Impressions(
        user=np.arange(number, dtype=np.int32),
        time=np.zeros(number, np.int64),
        offsets=np.arange(number + 1) * CANDIDATES,
        item=random.integers(ITEMS, size=len(score_P), dtype=np.int32),
        clicked=clicked_P,
    )
    return shown, score_P


def main(impressions: int, threads: int) -> None:
    random = np.random.default_rng(0)
    catalogue = lists.Catalogue(
        neutral=random.permutation(ITEMS),
        vectors=random.normal(size=(ITEMS, DIMENSIONS)).astype(np.float32),
        surprise=lists.surprise(random.integers(1000, size=ITEMS)),
    )
    found: dict[str, list[np.ndarray]] = {}
    counted, shown_I, listed_I = None, np.zeros(ITEMS, np.bool_), np.zeros(ITEMS, np.bool_)
    seconds = 0.0
    for part, start in enumerate(range(0, impressions, PART)):
        shown, score_P = made(min(PART, impressions - start), part)
        begun = time.perf_counter()
        first_NK = lists.first(score_P, shown, catalogue.neutral, threads=threads)
        values = metrics.evaluate(score_P, shown.clicked, shown.offsets, threads=threads)
        for name, value_N in (values | catalogue.describe(first_NK)).items():
            found.setdefault(name, []).append(value_N)
        here = calibration(score_P, shown.clicked, threads=threads)
        counted = here if counted is None else counted + here
        shown_I[shown.item] = True
        listed_I[first_NK] = True
        seconds += time.perf_counter() - begun
    begun = time.perf_counter()
    means = {name: float(np.concatenate(value).mean()) for name, value in found.items()}
    means |= {
        "coverage@10": listed_I.sum() / shown_I.sum(),
        "calibration_error": counted.error(),
        "calibration_error_top1%": counted.error(top=TOP),
    }
    seconds += time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{datetime.now(UTC):%Y-%m-%d}: {impressions:,} impressions of {CANDIDATES}, {threads} threads")
    print(f"{seconds:.1f} s, peak memory {peak:.2f} GiB")
    print(", ".join(f"{name} {value:.4f}" for name, value in means.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--impressions", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=2)
    main(**vars(parser.parse_args()))
