"""Learns to order the candidates of an impression from their features. Knows no feature's meaning.

Two rankers learn from the same rows: trees, which cut, and a network, which weighs; their sum errs less than either.

Shapes: N impressions, P pairs of an impression and a candidate, F features. The pairs of impression n
are the slice offsets_N1[n]:offsets_N1[n + 1].
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from recsys_text.errors import ContractError
from recsys_text.ranking.listwise import Network, fit_network
from recsys_text.ranking.trees import fit_trees

Float32 = NDArray[np.float32]
Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.integer[Any]]
Kind = Literal["lightgbm", "mlp", "both"]

# LambdaRank's limit of candidates of one impression.
MAX_CANDIDATES = 10_000
# Scores that spread less are equal but for rounding.
_SPREAD = 1e-6
_TREES, _NETWORK, _ABOUT = "blend.txt", "blend.safetensors", "blend.json"


@dataclass(frozen=True, kw_only=True)
class Blend:
    """A fitted ranker; `features` are the names of its columns, in order.

    Its raw score is the sum of those of its parts, each divided by its spread: how far apart it puts the candidates
    of an impression of the training.
    """

    features: tuple[str, ...]
    trees: lgb.Booster | None
    network: Network | None
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
        if self.trees is not None and len(features_PF):
            raw_P += np.asarray(self.trees.predict(features_PF, num_threads=threads), np.float64) / self.spreads[0]
        if self.network is not None:
            raw_P += self.network.predict(features_PF) / self.spreads[1]
        return raw_P

    def importance(self) -> dict[str, float]:
        """The share of each feature in the gain of all splits of the trees, most first; empty without trees."""
        if self.trees is None:
            return {}
        gain = self.trees.feature_importance("gain")
        order = np.argsort(-gain, kind="stable")
        return {self.features[at]: float(gain[at] / max(gain.sum(), 1e-12)) for at in order}

    def save(self, folder: Path) -> None:
        """Writes JSON, LightGBM's own text and safetensors: what there is of them."""
        (folder / _ABOUT).write_text(json.dumps({"features": self.features, "spreads": self.spreads}))
        if self.trees is not None:
            (folder / _TREES).write_text(self.trees.model_to_string())
        if self.network is not None:
            save_file(self.network.tensors(), folder / _NETWORK)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote; it predicts the same to the last bit on the same device."""
        about = json.loads((folder / _ABOUT).read_text())
        trees, network = folder / _TREES, folder / _NETWORK
        return cls(
            features=tuple(about["features"]),
            trees=lgb.Booster(model_str=trees.read_text()) if trees.exists() else None,
            network=Network.from_tensors(load_file(network)) if network.exists() else None,
            spreads=tuple(about["spreads"]),
        )


def fit_blend(
    features_PF: Float32,
    clicked_P: Bool,
    offsets_N1: Int,
    users_N: Int,
    *,
    kind: Kind,
    names: Sequence[str],
    seed: int,
    threads: int = 0,
) -> Blend:
    """Learns from the impressions that have both a clicked candidate and another, and leaves the rest out.

    See `fit_trees` and `fit_network`: which of them, says `kind`.

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
    rows_P = np.repeat(useful_N, length_N)
    if not rows_P.all():
        features_PF, clicked_P, users_N = features_PF[rows_P], clicked_P[rows_P], users_N[useful_N]
        offsets_N1 = np.concatenate([[0], np.cumsum(length_N[useful_N])])
    trees = network = None
    if kind != "mlp":
        trees = fit_trees(features_PF, clicked_P, offsets_N1, users_N, names=names, seed=seed, threads=threads)
    if kind != "lightgbm":
        network = fit_network(features_PF, clicked_P, offsets_N1, seed=seed)
    alone = Blend(features=tuple(names), trees=trees, network=network)
    if trees is None or network is None:
        return alone
    of_trees = np.asarray(trees.predict(features_PF, num_threads=threads), np.float64)
    spreads = _spread(of_trees, offsets_N1), _spread(network.predict(features_PF), offsets_N1)
    return replace(alone, spreads=spreads)


def _spread(raw_P: Double, offsets_N1: Int) -> float:
    """The standard deviation within impressions; 1 where a part puts all candidates at one place."""
    length_N = np.diff(offsets_N1)
    mean_N = np.add.reduceat(raw_P, offsets_N1[:-1]) / length_N
    spread = float(np.std(raw_P - np.repeat(mean_N, length_N)))
    return spread if spread > _SPREAD else 1.0
