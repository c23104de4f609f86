"""AUC and nDCG@10 of scored impressions: `python benchmarks/ranked.py IMPRESSIONS SCORES`.

IMPRESSIONS has impression_id, user_id, candidates, clicked; SCORES is what `recsys-text rank` wrote for it.
Intervals are 95% bootstrap intervals over users, 1,000 resamples, seed 7.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from recsys_text.evaluation.bootstrap import interval
from recsys_text.evaluation.metrics import evaluate


def main(impressions: Path, scores: Path) -> None:
    frame, scored = pl.read_parquet(impressions), pl.read_parquet(scores)
    clicked_P = frame["clicked"].explode().to_numpy()
    assert scored["item_id"].equals(frame["candidates"].explode().alias("item_id")), "scores of other impressions"
    offsets_N1 = np.concatenate(([0], np.cumsum(frame["candidates"].list.len().to_numpy(), dtype=np.int64)))
    users_N = frame["user_id"].rank("dense").to_numpy().astype(np.int64)
    print(f"{datetime.now(UTC):%Y-%m-%d}: {len(frame):,} impressions, {len(scored):,} candidates")
    for method in ("interest", "score"):
        found = evaluate(scored[method].to_numpy(), clicked_P, offsets_N1)
        for metric in ("auc", "ndcg@10"):
            value = interval(found[metric], users_N, resamples=1000, seed=7)
            print(f"{method:9} {metric:8} {value.mean:.4f} [{value.low:.4f}, {value.high:.4f}]")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
