"""Whether lists lean to what is popular already, beside whether clicks do. Knows items and lists, no scores.

Shapes: N impressions, K places of a list, Q clicked pairs, I items.
"""

import numpy as np
import polars as pl

from recsys_text.evaluation.lists import Int32
from recsys_text.ranking.log import Impressions, Int64

PARTS = 10


def by_popularity(clicks_I: Int64, neutral_I: Int64, first_NK: Int32, impressions: Impressions) -> pl.DataFrame:
    """The candidates' items in PARTS equal parts by their clicks before the test, the most clicked first.

    Columns: part (from 1), items, recommended: the part's share of all places in the lists `first_NK` (items, -1
    fills), clicked: its share of the clicks, most and least: clicks of an item. Equally clicked items come by
    `neutral_I`. Fewer rows where there are fewer items.
    """
    candidates = np.unique(impressions.item)
    order = candidates[np.lexsort((neutral_I[candidates], -clicks_I[candidates]))]
    part_I = np.full(len(clicks_I), -1)
    part_I[order] = np.arange(len(order)) * PARTS // max(1, len(order))

    def share(items: Int32) -> list[float]:
        counted = np.bincount(part_I[items], minlength=PARTS)
        return [float(count) / max(1, len(items)) for count in counted]

    recommended, clicked = share(first_NK[first_NK >= 0]), share(impressions.item[impressions.clicked])
    rows = []
    for part in range(PARTS):
        own = clicks_I[order][part_I[order] == part]
        if len(own):
            rows.append((part + 1, len(own), recommended[part], clicked[part], int(own.max()), int(own.min())))
    schema = {
        "part": pl.Int64, "items": pl.Int64, "recommended": pl.Float64, "clicked": pl.Float64, "most": pl.Int64,
        "least": pl.Int64,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")
