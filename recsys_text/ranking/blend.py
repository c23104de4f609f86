"""Learns to order the candidates of an impression from their features. Knows no feature's meaning.

Two kinds of ranker learn from the same rows: trees, which cut, and networks, which weigh; their sum errs less than
either. Of each kind several learn with seeds of their own, and their mean errs less than one (Breiman 1996, "Bagging
predictors", without the resampling): clicks on rarely clicked items are few, and what one ranker makes of them is
largely chance.

Shapes: N impressions, P pairs of an impression and a candidate, F features. The pairs of impression n
are the slice offsets_N1[n]:offsets_N1[n + 1].
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from recsys_text.errors import ContractError
from recsys_text.ranking.listwise import Network, fit_network
from recsys_text.ranking.trees import fit_trees, more_trees, rows_of
from recsys_text.threads import in_threads
from recsys_text.torch_threads import one_thread

Float32 = NDArray[np.float32]
Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.integer[Any]]

# LambdaRank's limit of candidates of one impression.
MAX_CANDIDATES = 10_000
#: Rankers of each kind: what a fourth adds is little beside what its trees cost. See benchmarks/blend.py.
MEMBERS = 3
# Scores that spread less are equal but for rounding.
_SPREAD = 1e-6
_ABOUT = "blend.json"


@dataclass(frozen=True, kw_only=True)
class Blend:
    """A fitted ranker; `features` are the names of its columns, in order.

    Its raw score is the sum of the mean of the trees and the mean of the networks, each divided by its spread: how far
    apart it puts the candidates of an impression of the training. `share` is what the networks count for, of 1; where
    it is 0 or 1, there is one kind alone.
    """

    features: tuple[str, ...]
    trees: tuple[lgb.Booster, ...]
    networks: tuple[Network, ...]
    share: float
    spreads: tuple[float, float] = (1.0, 1.0)

    def predict(self, features_PF: Float32, *, threads: int = 0) -> Double:
        """Raw scores, float64[P], higher is better; only their order within an impression has a meaning.

        threads: of the trees, 0 takes all cores. Raises ContractError where the columns are not as many as it learned
        from.
        """
        if features_PF.shape[1] != len(self.features):
            raise ContractError(
                f"the blend knows {len(self.features)} features and got {features_PF.shape[1]}; train the bundle again"
            )
        raw_P = np.zeros(len(features_PF))
        if self.trees:
            raw_P += (1 - self.share) / self.spreads[0] * _of_trees(self.trees, features_PF, threads)
        if self.networks:
            raw_P += self.share / self.spreads[1] * _of_networks(self.networks, features_PF)
        return raw_P

    def importance(self) -> dict[str, float]:
        """The share of each feature in the gain of all splits of the trees, most first; empty without trees."""
        if not self.trees:
            return {}
        gain = np.sum([each.feature_importance("gain") for each in self.trees], axis=0)
        order = np.argsort(-gain, kind="stable")
        return {self.features[at]: float(gain[at] / max(gain.sum(), 1e-12)) for at in order}

    def save(self, folder: Path) -> None:
        """Writes JSON, LightGBM's own text and safetensors: what there is of them."""
        about = {"features": self.features, "share": self.share, "spreads": self.spreads, "trees": len(self.trees)}
        (folder / _ABOUT).write_text(json.dumps(about | {"networks": len(self.networks)}))
        for number, trees in enumerate(self.trees):
            _trees_file(folder, number).write_text(trees.model_to_string())
        for number, network in enumerate(self.networks):
            save_file(network.tensors(), _network_file(folder, number))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote; it predicts the same to the last bit on the same device."""
        about = json.loads((folder / _ABOUT).read_text())
        return cls(
            features=tuple(about["features"]),
            trees=tuple(
                lgb.Booster(model_str=_trees_file(folder, number).read_text()) for number in range(about["trees"])
            ),
            networks=tuple(
                Network.from_tensors(load_file(_network_file(folder, number))) for number in range(about["networks"])
            ),
            share=about["share"],
            spreads=tuple(about["spreads"]),
        )


def fit_blend(
    features_PF: Float32,
    clicked_P: Bool,
    offsets_N1: Int,
    users_N: Int,
    *,
    share: float,
    names: Sequence[str],
    seed: int,
    weight_N: Float32 | None = None,
    members: int = MEMBERS,
    threads: int = 0,
    on_part: Callable[[int], None] = lambda _: None,
) -> Blend:
    """Learns from the impressions that have both a clicked candidate and another, and leaves the rest out.

    See `fit_trees` and `fit_network`. share: what the networks count for, of 1; there are `members` of each kind that
    counts. weight_N: of each impression, by default 1. `on_part` is called when a ranker is fitted, with the number of
    all.

    Raises ContractError where no impression is left, or one has more than MAX_CANDIDATES candidates.
    """
    features_PF, clicked_P, offsets_N1, useful_N = _useful(features_PF, clicked_P, offsets_N1)
    users_N, weight_N = users_N[useful_N], _weights(weight_N, useful_N)
    seeds = [seed * members + number for number in range(members)]
    fits: list[Callable[[], lgb.Booster | Network]] = []
    if share < 1:
        rows = rows_of(features_PF, clicked_P, offsets_N1, weight_N, names=names).construct()
        fits += [partial(fit_trees, rows, offsets_N1, users_N, seed=own) for own in seeds]
    if share > 0:
        network = partial(fit_network, features_PF, clicked_P, offsets_N1, weight_N=weight_N)
        fits += [partial(network, seed=own) for own in seeds]
    trees, networks = _fitted(fits, threads, on_part)
    blend = Blend(features=tuple(names), trees=trees, networks=networks, share=share)
    return _even(blend, features_PF, offsets_N1, threads)


def continue_blend(
    former: Blend,
    features_PF: Float32,
    clicked_P: Bool,
    offsets_N1: Int,
    *,
    seed: int,
    weight_N: Float32 | None = None,
    threads: int = 0,
    on_part: Callable[[int], None] = lambda _: None,
) -> Blend:
    """The former blend, whose rankers all go on with these impressions in small steps: see `more_trees`, `fit_network`.

    Raises as `fit_blend` does.
    """
    features_PF, clicked_P, offsets_N1, useful_N = _useful(features_PF, clicked_P, offsets_N1)
    weight_N = _weights(weight_N, useful_N)

    def grown(number: int, each: lgb.Booster) -> lgb.Booster:
        rows = rows_of(features_PF, clicked_P, offsets_N1, weight_N, names=former.features)
        return more_trees(each, rows, seed=seed * MEMBERS + number)

    def learned(number: int, each: Network) -> Network:
        own = seed * MEMBERS + number
        return fit_network(features_PF, clicked_P, offsets_N1, weight_N=weight_N, seed=own, former=each)

    fits: list[Callable[[], lgb.Booster | Network]] = []
    fits += [partial(grown, number, each) for number, each in enumerate(former.trees)]
    fits += [partial(learned, number, each) for number, each in enumerate(former.networks)]
    trees, networks = _fitted(fits, threads, on_part)
    return _even(replace(former, trees=trees, networks=networks), features_PF, offsets_N1, threads)


def _fitted(
    fits: Sequence[Callable[[], lgb.Booster | Network]], threads: int, on_part: Callable[[int], None]
) -> tuple[tuple[lgb.Booster, ...], tuple[Network, ...]]:
    """The rankers, several at a time with a thread each: threads that share the small steps of one wait for each
    other.
    """
    rankers = []
    with one_thread():
        for ranker in in_threads(lambda fit: fit(), fits, threads):
            on_part(len(fits))
            rankers.append(ranker)
    trees = tuple(each for each in rankers if isinstance(each, lgb.Booster))
    return trees, tuple(each for each in rankers if isinstance(each, Network))


def _useful(features_PF: Float32, clicked_P: Bool, offsets_N1: Int) -> tuple[Float32, Bool, Int, Bool]:
    """The impressions with both a clicked candidate and another, and which of all they are."""
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
    if not useful_N.all():
        rows_P, offsets_N1 = pairs_of(offsets_N1, useful_N)
        features_PF, clicked_P = features_PF[rows_P], clicked_P[rows_P]
    return features_PF, clicked_P, offsets_N1, useful_N


def pairs_of(offsets_N1: Int, chosen_N: Bool) -> tuple[Bool, Int]:
    """Return which pairs are of the chosen impressions, bool[P], and where those of each begin and end among them."""
    length_N = np.diff(offsets_N1)
    return np.repeat(chosen_N, length_N), np.concatenate([[0], np.cumsum(length_N[chosen_N])])


def _weights(weight_N: Float32 | None, useful_N: Bool) -> Float32:
    return np.ones(int(useful_N.sum()), np.float32) if weight_N is None else weight_N[useful_N]


def _even(blend: Blend, features_PF: Float32, offsets_N1: Int, threads: int) -> Blend:
    """The blend with the spreads of its two kinds, where it has both."""
    if not (blend.trees and blend.networks):
        return blend
    of_trees, of_networks = _of_trees(blend.trees, features_PF, threads), _of_networks(blend.networks, features_PF)
    return replace(blend, spreads=(spread(of_trees, offsets_N1), spread(of_networks, offsets_N1)))


def _of_trees(trees: Sequence[lgb.Booster], features_PF: Float32, threads: int) -> Double:
    """The mean of their scores, float64[P]."""
    sum_P = np.zeros(len(features_PF))
    if len(features_PF):  # LightGBM takes no empty table
        for each in trees:
            sum_P += each.predict(features_PF, num_threads=threads)
    return sum_P / len(trees)


def _of_networks(networks: Sequence[Network], features_PF: Float32) -> Double:
    """The mean of their scores, float64[P]."""
    sum_P = np.zeros(len(features_PF))
    for each in networks:
        sum_P += each.predict(features_PF)
    return sum_P / len(networks)


def _trees_file(folder: Path, number: int) -> Path:
    return folder / f"blend-{number}.txt"


def _network_file(folder: Path, number: int) -> Path:
    return folder / f"blend-{number}.safetensors"


def spread(raw_P: Double, offsets_N1: Int) -> float:
    """Return the standard deviation of raw scores within impressions, 1 where all candidates are at one place."""
    length_N = np.diff(offsets_N1)
    mean_N = np.add.reduceat(raw_P, offsets_N1[:-1]) / length_N
    found = float(np.std(raw_P - np.repeat(mean_N, length_N)))
    return found if found > _SPREAD else 1.0
