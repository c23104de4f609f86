"""What a ranker would lose without a feature. Knows features by name only.

Shapes: N impressions, P pairs of an impression and a candidate, F features.
"""

from collections.abc import Callable, Sequence

import numpy as np

from recsys_text.evaluation.metrics import Bool, Double, Int, ndcg, rank_clicked
from recsys_text.ranking.features import Float32


def permuted(
    predict: Callable[[Float32], Double],
    features_PF: Float32,
    clicked_P: Bool,
    offsets_N1: Int,
    places: Sequence[int],
    *,
    seed: int,
) -> dict[int, float]:
    """What nDCG@10 loses when the column at each of `places` is shuffled over all pairs (Breiman 2001).

    Below 0 is chance. Two columns that say the same lose nothing, each by itself. Empty without an impression that has
    a click.
    """
    random = np.random.default_rng(seed)

    def quality(given_PF: Float32) -> float:
        each_N = ndcg(rank_clicked(predict(given_PF), clicked_P, offsets_N1), 10)
        return float(np.nanmean(each_N)) if np.isfinite(each_N).any() else float("nan")

    whole = quality(features_PF)
    if np.isnan(whole):
        return {}
    found, other_PF = {}, features_PF.copy()
    for place in places:
        other_PF[:, place] = random.permutation(features_PF[:, place])
        found[place] = whole - quality(other_PF)
        other_PF[:, place] = features_PF[:, place]
    return found
