"""LightGBM's LambdaRank, with early stopping. Knows no feature's meaning.

Shapes: N impressions, P pairs of an impression and a candidate, F features. The pairs of impression n
are the slice offsets_N1[n]:offsets_N1[n + 1].
"""

from collections.abc import Sequence
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Bool = NDArray[np.bool_]
Int = NDArray[np.integer[Any]]

# More trees than any log we met wanted; early stopping finds the number. The held-out curve is flat and noisy long
# before the ranking of a later day stops improving, and too many trees cost little: hence the long patience.
MAX_TREES = 100
PATIENCE = 30
# Without users to hold out there is no early stopping: few trees can do little harm.
TREES_UNSEEN = 60
HELD_OUT = 0.1
#: Trees that newer clicks add to a former set, and their rate: on 8 to 10 March of caixin better than new leaves for
#: the trees there are, and than new trees in their place, which know one day alone.
MORE_TREES, _MORE_RATE = 10, 0.05
_PARAMETERS: dict[str, Any] = {
    "objective": "lambdarank",
    "metric": "ndcg",
    "eval_at": [10],
    # Only pairs with one of the first few in them: nDCG@10 is what the gate looks at.
    "lambdarank_truncation_level": 15,
    # On a day held out of the training span, twice the trees at half the rate were no better.
    "learning_rate": 0.1,
    "num_leaves": 31,
    # Clicks are the rare ones: a leaf is to hold some even with one click in sixty rows.
    "min_data_in_leaf": 50,
    "min_sum_hessian_in_leaf": 1e-3,
    "lambda_l2": 1.0,
    "feature_fraction": 0.8,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
    "num_threads": 1,
    # Of the rows that features are cut into bins by, which all trees share: a seed of their own is for all else.
    "data_random_seed": 1,
}


def rows_of(
    features_PF: Float32, clicked_P: Bool, offsets_N1: Int, weight_N: Float32, *, names: Sequence[str]
) -> lgb.Dataset:
    """The pairs for trees to learn from. Once constructed it has a byte for each feature, and serves several of them.

    weight_N: of each impression.
    """
    length_N = np.diff(offsets_N1)
    return lgb.Dataset(
        features_PF,
        label=clicked_P.astype(np.int8),
        weight=np.repeat(weight_N, length_N),
        group=length_N,
        feature_name=list(names),
        params=_PARAMETERS,
    )


def fit_trees(rows: lgb.Dataset, offsets_N1: Int, users_N: Int, *, seed: int) -> lgb.Booster:
    """LambdaRank (Burges 2010) with early stopping on the nDCG@10 of users held out of the training.

    A tenth of the users (by a hash of `users_N` and the seed) is held out; where that leaves either side without an
    impression, a fixed small number of trees is grown on all. rows: from `rows_of`, constructed. The same arguments
    give the same trees.
    """
    length_N = np.diff(offsets_N1)
    held_N = _held_out(users_N, seed)
    stop_early = bool(held_N.any() and not held_N.all())

    def part(chosen_N: Bool) -> lgb.Dataset:
        return rows.subset(np.flatnonzero(np.repeat(chosen_N, length_N)).tolist())

    booster = lgb.train(
        _PARAMETERS | {"seed": seed},
        part(~held_N) if stop_early else rows,
        num_boost_round=MAX_TREES if stop_early else TREES_UNSEEN,
        valid_sets=[part(held_N)] if stop_early else None,
        callbacks=[lgb.early_stopping(PATIENCE, verbose=False)] if stop_early else None,
    )
    # Through the text, which holds the best number of trees only: what is saved is what was measured.
    return lgb.Booster(model_str=booster.model_to_string())


def _held_out(users_N: Int, seed: int) -> Bool:
    """Whether each impression is held out: a tenth of the user codes, by splitmix64 (Steele et al. 2014)."""
    x = (users_N.astype(np.uint64) + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((x ^ (x >> np.uint64(31))) < np.uint64(int(HELD_OUT * 2**64)))


def more_trees(former: lgb.Booster, rows: lgb.Dataset, *, seed: int) -> lgb.Booster:
    """The former trees, and MORE_TREES that correct them for these impressions, with a lower rate.

    rows: from `rows_of`, not constructed yet: they begin at what the former trees say of them.
    """
    parameters = _PARAMETERS | {"learning_rate": _MORE_RATE, "seed": seed}
    # Through its text: LightGBM would mark the former one itself as going on.
    begun = lgb.Booster(model_str=former.model_to_string())
    more = lgb.train(parameters, rows, num_boost_round=MORE_TREES, init_model=begun)
    return lgb.Booster(model_str=more.model_to_string())
