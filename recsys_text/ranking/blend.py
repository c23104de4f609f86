"""Learns to order the candidates of an impression from their features. Knows no feature's meaning.

Shapes: N impressions, P pairs of an impression and a candidate, F features. The pairs of impression n
are the slice offsets_N1[n]:offsets_N1[n + 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from recsys_text.errors import ContractError

Float32 = NDArray[np.float32]
Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.integer[Any]]

# More trees than any log we met wanted; early stopping finds the number. The held-out curve is flat and noisy long
# before the ranking of a later day stops improving, and too many trees cost little: hence the long patience.
MAX_TREES = 200
PATIENCE = 50
# Without users to hold out there is no early stopping: few trees can do little harm.
TREES_UNSEEN = 60
HELD_OUT = 0.1
# LambdaRank's limit of candidates of one impression.
MAX_CANDIDATES = 10_000

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
}


@dataclass(frozen=True, kw_only=True)
class Blend:
    """A fitted ranker; `features` are the names of its columns, in order."""

    booster: lgb.Booster
    features: tuple[str, ...]

    def predict(self, features_PF: Float32, *, threads: int = 0) -> Double:
        """Raw scores, float64[P], higher is better; only their order within an impression has a meaning.

        threads: 0 takes all cores. Raises ContractError where the columns are not as many as it learned from.
        """
        if features_PF.shape[1] != len(self.features):
            raise ContractError(
                f"the blend knows {len(self.features)} features and got {features_PF.shape[1]}; train the bundle again"
            )
        if not len(features_PF):
            return np.zeros(0)
        return np.asarray(self.booster.predict(features_PF, num_threads=threads), np.float64)

    def to_text(self) -> str:
        """LightGBM's own text format."""
        return str(self.booster.model_to_string())

    @classmethod
    def from_text(cls, text: str) -> "Blend":
        """Reads what `to_text` wrote; it predicts the same to the last bit."""
        booster = lgb.Booster(model_str=text)
        return cls(booster=booster, features=tuple(booster.feature_name()))


def fit_blend(
    features_PF: Float32,
    clicked_P: Bool,
    offsets_N1: Int,
    users_N: Int,
    *,
    names: Sequence[str],
    seed: int,
    threads: int = 0,
) -> Blend:
    """LambdaRank (Burges 2010) with early stopping on the nDCG@10 of users held out of the training.

    A tenth of the users (by a hash of `users_N` and the seed) is held out; where that leaves either side
    without an impression to learn from, a fixed small number of trees is grown on all. Impressions without
    a click or with nothing else are left out. The same arguments give the same trees, whatever `threads`.

    Raises ContractError where no impression is left, or one has more than MAX_CANDIDATES candidates.
    """
    length_N = np.diff(offsets_N1)
    if length_N.max(initial=0) > MAX_CANDIDATES:
        raise ContractError(
            f"an impression has {length_N.max()} candidates and the blend learns from at most {MAX_CANDIDATES}; "
            "lower training.blend_candidates"
        )
    clicks_N = np.diff(np.concatenate([[0], np.cumsum(clicked_P)])[offsets_N1])
    useful_N = (clicks_N > 0) & (clicks_N < length_N)
    if not useful_N.any():
        raise ContractError(
            f"none of {len(length_N)} impressions has both a clicked candidate and another, so the blend has nothing "
            "to learn from; raise training.blend_windows or check that the events hold clicks"
        )
    held_N = _held_out(users_N, seed) & useful_N
    stop_early = bool(held_N.any() and (useful_N & ~held_N).any())
    train_N = useful_N & ~held_N if stop_early else useful_N

    def dataset(chosen_N: Bool, reference: lgb.Dataset | None = None) -> lgb.Dataset:
        rows_P = np.repeat(chosen_N, length_N)
        return lgb.Dataset(
            features_PF[rows_P],
            label=clicked_P[rows_P].astype(np.int8),
            group=length_N[chosen_N],
            feature_name=list(names),
            reference=reference,
            params=_PARAMETERS | {"seed": seed, "num_threads": threads},
        )

    train = dataset(train_N)
    booster = lgb.train(
        _PARAMETERS | {"seed": seed, "num_threads": threads},
        train,
        num_boost_round=MAX_TREES if stop_early else TREES_UNSEEN,
        valid_sets=[dataset(held_N, train)] if stop_early else None,
        callbacks=[lgb.early_stopping(PATIENCE, verbose=False)] if stop_early else None,
    )
    # Through the text, which holds the best number of trees only: what is saved is what was measured.
    return Blend.from_text(booster.model_to_string())


def _held_out(users_N: Int, seed: int) -> Bool:
    """Whether each impression is held out: a tenth of the user codes, by splitmix64 (Steele et al. 2014)."""
    x = (users_N.astype(np.uint64) + np.uint64(seed)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((x ^ (x >> np.uint64(31))) < np.uint64(int(HELD_OUT * 2**64)))
