"""Chooses how much networks count beside trees in a blend, by users held out. Knows no feature's meaning.

Trees find what no weighing of features tells, given many impressions. Of few they learn by heart, and beyond what they
have seen they say nothing; networks go on.

Shapes: N impressions, P pairs of an impression and a candidate, F features, S shares that are tried.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from recsys_text.errors import ContractError
from recsys_text.evaluation.metrics import evaluate
from recsys_text.ranking.blend import Bool, Double, Float32, Int, fit_blend, pairs_of, spread
from recsys_text.threads import in_threads

#: What is tried, of which an earlier one is taken where it is as good as the best one but for chance.
SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
#: Pairs that are looked at, about: twice as many take twice the time and choose the same.
_PAIRS = 150_000
_FOLDS = 2


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """A share of the networks, and the nDCG@10 of SHARES by impressions of users held out, float64[S]; NaN where there
    was too little to look at.
    """

    share: float
    ndcg_S: Double


def choose_share(
    features_PF: Float32,
    clicked_P: Bool,
    offsets_N1: Int,
    users_N: Int,
    weight_N: Float32,
    *,
    names: Sequence[str],
    seed: int,
) -> Mixture:
    """Return the largest of SHARES that ranks impressions of users held out as well as the best one but for chance.

    One ranker of each kind learns from half of the users and ranks for the other half, and the other way round. But for
    chance: within one standard error over users of the difference (Breiman et al. 1984, "Classification and Regression
    Trees", the one standard error rule). The first of SHARES where there is too little to tell.
    """
    draw = np.random.default_rng(seed)
    most = max(1, round(_PAIRS * len(users_N) / max(1, len(clicked_P))))
    some = np.zeros(len(users_N), np.bool_)
    some[draw.choice(len(users_N), min(len(users_N), most), replace=False)] = True
    pairs, offsets_N1 = pairs_of(offsets_N1, some)
    features_PF, clicked_P, users_N, weight_N = features_PF[pairs], clicked_P[pairs], users_N[some], weight_N[some]
    fold_N = draw.integers(0, _FOLDS, users_N.max(initial=0) + 2)[users_N]  # the last place is of unknown users

    def ranked(fold: int, share: float) -> tuple[Bool, Double]:
        others_N = fold_N != fold
        taught, taught_N1 = pairs_of(offsets_N1, others_N)
        judged, judged_N1 = pairs_of(offsets_N1, ~others_N)
        blend = fit_blend(
            features_PF[taught], clicked_P[taught], taught_N1, users_N[others_N], weight_N=weight_N[others_N],
            share=share, names=names, seed=seed, members=1, threads=1,
        )  # fmt: skip
        raw_P = blend.predict(features_PF[judged], threads=1)
        return judged, raw_P / spread(raw_P, judged_N1)

    unknown = Mixture(share=SHARES[0], ndcg_S=np.full(len(SHARES), np.nan))
    if len(np.unique(fold_N)) < _FOLDS:
        return unknown
    works: list[Callable[[], tuple[Bool, Double]]] = []
    works += [partial(ranked, fold, share) for share in (0.0, 1.0) for fold in range(_FOLDS)]
    try:
        found = list(in_threads(lambda work: work(), works, 0))
    except ContractError:  # the users of a fold have nothing to learn from
        return unknown
    trees_P, networks_P = np.empty((2, len(clicked_P)))
    for place, (judged, raw_P) in enumerate(found):
        (trees_P if place < _FOLDS else networks_P)[judged] = raw_P
    ndcg_SN = np.array(
        [
            evaluate((1 - share) * trees_P + share * networks_P, clicked_P, offsets_N1)["ndcg@10"] * weight_N
            for share in SHARES
        ]
    ) / np.mean(weight_N)
    ndcg_S = ndcg_SN.mean(axis=1)
    best = int(np.argmax(ndcg_S))
    errors_S = [_standard_error(ndcg_SN[best] - each_N, users_N) for each_N in ndcg_SN]
    chosen = int(np.argmax(ndcg_S >= ndcg_S[best] - errors_S))
    return Mixture(share=SHARES[chosen], ndcg_S=ndcg_S)


def _standard_error(difference_N: Double, users_N: Int) -> float:
    """Of the mean, where the impressions of a user go together; those of unknown users are apart."""
    group_N = np.where(users_N < 0, np.arange(len(users_N)) + users_N.max(initial=0) + 1, users_N)
    sum_U = np.bincount(group_N, weights=difference_N - difference_N.mean())
    return float(np.sqrt(np.sum(sum_U**2)) / len(users_N))
