"""Tokenizer, network and wide path as one: texts in, vectors out, whose dot product is the interest. Knows no training
loop and no time.

Legend: I items, N users, H history, D `dim` of the network, M `match`, R `collaborative`, W = D + M + R + 1 columns.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

from recsys_text.config import Model
from recsys_text.model.checkpoint import load_model, save_model
from recsys_text.model.data import TrainSet
from recsys_text.model.scorer import Interest, item_vectors, user_vectors
from recsys_text.model.wide import Wide
from recsys_text.text.tokenizer import Tokenizer

Floats = NDArray[np.float32]

#: What network, match, collaborative and appeal weigh before anything is known; fitting starts and is drawn there.
PRIOR = (1.0, 1.0, 4.0, 0.3)
#: The network without the wide path.
ALONE = (1.0, 0.0, 0.0, 0.0)
_PULL = 10.0
#: What a click may weigh beside the next one, what is taken before anything is known first.
DECAYS = (0.9, 1.0, 0.97, 0.8, 0.6)
_USERS = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class Items:
    """I items as candidates, float32[I, W], and as clicks of a history, float32[I, W - 1].

    text: float32[I, D] of length 1, the network's; its cosine says how alike two texts are.
    """

    candidate: Floats
    click: Floats
    text: Floats

    def __len__(self) -> int:
        return len(self.text)


@dataclass(frozen=True, kw_only=True, eq=False)
class TextModel:
    """Interest = weighted sum of what the network and the parts of the wide path say, all of it from texts.

    The wide path takes a user's history as the mean of its clicks, each weighing `decay` times the next one.
    The weights and the decay are fitted together (see `weighed`).
    """

    tokenizer: Tokenizer
    network: Interest
    wide: Wide
    weights: tuple[float, float, float, float]
    decay: float = DECAYS[0]

    @property
    def settings(self) -> Model:
        return self.network.settings

    def items(self, texts: Sequence[str], item_ids: Sequence[str] | None = None) -> Items:
        """The vectors of texts; with their ids, clicks on items that training knew have places of their own."""
        text_ID = item_vectors(self.network, *self.tokenizer.encode(texts, self.settings.max_tokens))
        candidate, click = self.wide.items(texts, item_ids)
        return Items(candidate=np.hstack([text_ID, candidate]), click=np.hstack([text_ID, click]), text=text_ID)

    def users(self, items: Items, history_NH: NDArray[np.int32]) -> Floats:
        """float32[N, W]: its dot product with `items.candidate` is the interest.

        history_NH: positions in `items`, oldest first; padding, -1, before the oldest.
        """
        dim = items.text.shape[1]
        user_NW = np.empty((len(history_NH), items.candidate.shape[1]), np.float32)
        user_NW[:, :dim] = self.weights[0] * user_vectors(self.network, items.text, history_NH)
        ends = np.cumsum([dim, *self.wide.width])
        for start in range(0, len(history_NH), _USERS):
            part = slice(start, start + _USERS)
            sums_NC = np.zeros((len(history_NH[part]), ends[-1] - dim), np.float32)
            for history_N in history_NH[part].T:
                known_N = history_N >= 0
                sums_NC *= self.decay
                sums_NC[known_N] += items.click[history_N[known_N], dim:]
            for weight, low, high in zip(self.weights[1:3], ends[:-1], ends[1:], strict=True):
                sum_NC = sums_NC[:, low - dim : high - dim]
                length_N1 = np.linalg.norm(sum_NC, axis=1, keepdims=True)
                user_NW[part, low:high] = weight * sum_NC / np.where(length_N1 > 0, length_N1, 1)
        user_NW[:, ends[-1]] = self.weights[3]
        return user_NW

    def weighed(self, items: Items, rows: TrainSet) -> Self:
        """The same model with the weights and the decay under which the clicks of these rows are likeliest.

        A conditional logit (McFadden 1974) over each row's candidates, no weight below 0, drawn to PRIOR as by ten more
        rows, so that few rows change little. The rows must be later than what any part has seen.
        """
        found = []
        for decay in DECAYS:
            single = replace(self, weights=(1.0, 1.0, 1.0, 1.0), decay=decay)
            found.append((*_likeliest(single._said(items, rows), rows.candidates_NC < 0), decay))
        _, weights, decay = min(found, key=lambda each: each[0])  # of equals the first
        return replace(self, weights=weights, decay=decay)

    def _said(self, items: Items, rows: TrainSet) -> NDArray[np.float64]:
        """float64[N, C, 4]: what each part says of the candidates of each row."""
        parts = np.cumsum([0, items.text.shape[1], *self.wide.width, 1])
        users_NW = self.users(items, rows.history_NH)
        said_NCK = np.zeros((*rows.candidates_NC.shape, len(PRIOR)))
        for column, item_N in enumerate(rows.candidates_NC.T):
            product_NW = users_NW * items.candidate[item_N]
            for part, (low, high) in enumerate(itertools.pairwise(parts.tolist())):
                said_NCK[:, column, part] = product_NW[:, low:high].sum(axis=1)
        return said_NCK

    def save(self, folder: Path) -> None:
        """Writes the network, the tokenizer and the wide path into a folder that exists."""
        save_model(folder, self.network)
        (folder / "tokenizer.json").write_text(self.tokenizer.to_json())
        self.wide.save(folder)
        (folder / "weights.json").write_text(json.dumps({"weights": self.weights, "decay": self.decay}))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote. Raises ContractError for a damaged network; the rest raises what its reader does."""
        fitted = json.loads((folder / "weights.json").read_text())
        network, match, collaborative, appeal = fitted["weights"]
        return cls(
            tokenizer=Tokenizer.from_json((folder / "tokenizer.json").read_text()),
            network=load_model(folder),
            wide=Wide.load(folder),
            weights=(network, match, collaborative, appeal),
            decay=fitted["decay"],
        )


def _likeliest(
    said_NCK: NDArray[np.float64], missing_NC: NDArray[np.bool_]
) -> tuple[float, tuple[float, float, float, float]]:
    """The loss, in nats, and the weights of the conditional logit in which each row's first candidate was chosen."""
    prior = np.array(PRIOR)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logit_NC = np.where(missing_NC, -np.inf, said_NCK @ weights)
        normal_N1 = logsumexp(logit_NC, axis=1, keepdims=True)
        excess_NC = np.exp(logit_NC - normal_N1)
        excess_NC[:, 0] -= 1
        away = (weights - prior) / prior
        value = float(np.sum(normal_N1[:, 0] - logit_NC[:, 0]) + _PULL * away @ away)
        return value, np.einsum("nc,nck->k", excess_NC, said_NCK) + 2 * _PULL * away / prior

    found = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(prior))
    network, match, collaborative, appeal = (float(weight) for weight in found.x)
    return float(found.fun), (network, match, collaborative, appeal)
