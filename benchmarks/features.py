"""Seconds to compute the features of a million (user, candidate) pairs of the caixin log, indexes included,
from text vectors of 64 dimensions to the matrix that the blend reads.

RECSYS_TEXT_DATA names the data folder, which holds caixin/{clicks,news}.parquet. It prints one JSON line.
"""

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from benchmarks.logs import caixin
from recsys_text.fitting import fit_neighbours
from recsys_text.ranking.affinity import affinity, dots
from recsys_text.ranking.candidates import histories, sampled_impressions
from recsys_text.ranking.features import assemble, counts
from recsys_text.ranking.log import Impressions
from recsys_text.ranking.neighbours import together
from recsys_text.sections import Candidates

PAIRS = 1_000_000


def first(impressions: Impressions, pairs: int) -> Impressions:
    n = int(np.searchsorted(impressions.offsets, pairs, side="right")) - 1
    end = impressions.offsets[n]
    return Impressions(
        user=impressions.user[:n],
        time=impressions.time[:n],
        offsets=impressions.offsets[: n + 1],
        item=impressions.item[:end],
        clicked=impressions.clicked[:end],
    )


def main() -> None:
    folder = Path(os.environ["RECSYS_TEXT_DATA"]) / "caixin"
    span = datetime(2014, 3, 18, tzinfo=UTC), datetime(2014, 3, 21, tzinfo=UTC)
    sampled, _ = sampled_impressions(caixin(folder).log, *span, Candidates(), max_impressions=4000, seed=7)
    shown = first(sampled, PAIRS)
    log = caixin(folder).log
    # Of the default width; what they say is of no matter here.
    vectors_ID = np.random.default_rng(0).normal(size=(len(log.item_ids), 64)).astype(np.float32)
    neighbours = fit_neighbours(log, span[0])
    log = caixin(folder).log  # anew, without the indexes
    begin = time.perf_counter()
    history_NH = histories(log, shown.user, shown.time, 10)
    interest_P = dots(vectors_ID[shown.user % len(vectors_ID)], vectors_ID, shown.item, shown.offsets)
    said = {"interest": interest_P} | affinity(log, vectors_ID, shown, history_NH) | together(log, shown, neighbours)
    matrix = assemble(counts(log, shown), said, shown.offsets)
    seconds = time.perf_counter() - begin
    print(json.dumps({"pairs": matrix.shape[0], "features": matrix.shape[1], "seconds": round(seconds, 2)}))


if __name__ == "__main__":
    main()
