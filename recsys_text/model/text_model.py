"""Tokenizer, network and wide path as one: texts in, vectors out, whose dot product is the interest. Knows no training
loop and no time.

Legend: I items, N users, H history, D `dim` of the network, M `match`, R `collaborative`, S `content`,
W = D + M + R + S + 1 columns.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import csr_matrix
from scipy.special import logsumexp

from recsys_text.model.checkpoint import load_model, save_model
from recsys_text.model.data import TrainSet
from recsys_text.model.scorer import Interest, click_vectors, item_vectors, user_vectors
from recsys_text.model.wide import Wide, once
from recsys_text.sections import Model
from recsys_text.text.normalise import FIELDS
from recsys_text.text.tokenizer import Tokenizer

Floats = NDArray[np.float32]
#: Of network, match, collaborative, content and appeal.
Weights = tuple[float, ...]

#: What the parts weigh before anything is known; fitting starts and is drawn there.
PRIOR = (1.0, 1.0, 4.0, 2.0, 0.3)
#: The network without the wide path.
ALONE = (1.0, 0.0, 0.0, 0.0, 0.0)
_PULL = 10.0
#: Of its prior, what a part weighs at least before new items are looked at: all clicks may say 0 of it.
_LEAST = 0.1
#: What a click may weigh beside the next one, what is taken before anything is known first.
DECAYS = (0.9, 1.0, 0.97, 0.8, 0.6)
#: Clicks of a user that the wide path sums: what readers of books had beyond the newest 30 of them made a fifth of how
#: well it ranked books that nobody had read. The network reads the last `model.history` of them.
_WIDE_HISTORY = 200
#: Users whose clicks are summed at a time.
_USERS = 2048


def clicks_read(settings: Model) -> int:
    """How many of a user's last clicks make its vector."""
    return max(settings.history, _WIDE_HISTORY) if settings.wide else settings.history


def tokens_of(
    tokenizer: Tokenizer, texts: Sequence[str], settings: Model
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """What the encoder reads of texts: ids_IT, with the fields by themselves where it wants them, and lengths_I."""
    if settings.views:
        return tokenizer.encode_views(texts, settings.max_tokens, len(FIELDS))
    return tokenizer.encode(texts, settings.max_tokens)


@dataclass(frozen=True, kw_only=True, eq=False)
class Items:
    """I items as candidates, float32[I, W], and as clicks of a history, float32[I, W - 1].

    about: float32[I, S], or the network's float32[I, D] where S is 0; its cosine says how alike two texts are.
    """

    candidate: Floats
    click: Floats
    about: Floats

    def __len__(self) -> int:
        return len(self.about)


@dataclass(frozen=True, kw_only=True, eq=False)
class TextModel:
    """Interest = weighted sum of what the network and the parts of the wide path say, all of it from texts.

    The wide path takes a user's history as the mean of its clicks, each weighing `decay` times the next one.
    The weights and the decay are fitted together (see `weighed`).
    """

    tokenizer: Tokenizer
    network: Interest
    wide: Wide
    weights: Weights
    decay: float = DECAYS[0]
    #: The items whose clicks have vectors of their own in the network, in the order of its table.
    item_ids: tuple[str, ...] = ()
    #: The users who have vectors of their own, in the order of the network's long-term ones.
    user_ids: tuple[str, ...] = ()

    @property
    def settings(self) -> Model:
        return self.network.settings

    def items(
        self,
        texts: Sequence[str],
        item_ids: Sequence[str] | None = None,
        of_wide: tuple[Floats, Floats] | None = None,
    ) -> Items:
        """The vectors of texts; with their ids, clicks on items that training knew have places of their own.

        of_wide: what the wide path's `items` gave for the same, where it was asked before.
        """
        distinct, place_I = once(texts)
        text_ID = item_vectors(self.network, *tokens_of(self.tokenizer, distinct, self.settings))[place_I]
        row_of = {item_id: row for row, item_id in enumerate(self.item_ids)}
        rows_I = np.full(len(texts), -1)
        if item_ids is not None:
            rows_I[:] = [row_of.get(item_id, -1) for item_id in item_ids]
        click_ID = click_vectors(self.network, text_ID, rows_I)
        candidate, click = of_wide or self.wide.items(texts, item_ids)
        content, last = self.wide.width[2], candidate.shape[1] - 1
        about = np.ascontiguousarray(candidate[:, last - content : last]) if content else text_ID
        return Items(candidate=np.hstack([text_ID, candidate]), click=np.hstack([click_ID, click]), about=about)

    @cached_property
    def _person(self) -> dict[str, int]:
        return {user_id: row for row, user_id in enumerate(self.user_ids)}

    def who(self, user_N: NDArray[np.integer[Any]], user_ids: Sequence[str]) -> NDArray[np.int64] | None:
        """The rows of users in the network's long-term vectors, -1 for a stranger; None where it has none.

        user_N: positions in `user_ids`, -1 for a user without an id.
        """
        if not self.user_ids:
            return None
        distinct, which_N = np.unique(user_N, return_inverse=True)
        rows = [self._person.get(user_ids[user], -1) if user >= 0 else -1 for user in distinct.tolist()]
        return np.array(rows, np.int64)[which_N]

    def users(self, items: Items, history_NH: NDArray[np.int32], who_N: NDArray[np.int64] | None = None) -> Floats:
        """float32[N, W]: its dot product with `items.candidate` is the interest.

        history_NH: positions in `items` of the last clicks of each (see `clicks_read`), oldest first; padding, -1,
        before the oldest. who_N: from `who`.
        """
        dim, length = self.settings.dim, history_NH.shape[1]
        newest_NH = np.ascontiguousarray(history_NH[:, -self.settings.history :])
        network_ID = np.ascontiguousarray(items.click[:, :dim])
        user_NW = np.empty((len(history_NH), items.candidate.shape[1]), np.float32)
        known_NH = history_NH >= 0
        ends_N = np.concatenate([[0], np.cumsum(known_NH.sum(axis=1))])
        age_Q = length - 1 - np.nonzero(known_NH)[1]
        decay_Q = np.float32(self.decay) ** age_Q.astype(np.float32)
        clicks_NI = csr_matrix((decay_Q, history_NH[known_NH], ends_N), (len(history_NH), len(items.click)))
        ends = np.cumsum([dim, *self.wide.width])
        for start in range(0, len(history_NH), _USERS):
            part = slice(start, start + _USERS)
            sums_NC = np.asarray(clicks_NI[part] @ items.click)
            for weight, low, high in zip(self.weights[1:-1], ends[:-1], ends[1:], strict=True):
                sum_NC = sums_NC[:, low:high]
                length_N1 = np.linalg.norm(sum_NC, axis=1, keepdims=True)
                user_NW[part, low:high] = weight * sum_NC / np.where(length_N1 > 0, length_N1, 1)
        user_NW[:, :dim] = self.weights[0] * user_vectors(self.network, network_ID, newest_NH, who_N=who_N)
        user_NW[:, ends[-1]] = self.weights[-1]
        return user_NW

    def weighed_for_masked_items(self, items: Items, rows: TrainSet) -> Self:
        """Return the same model without decay and with the weights that `weighed` begins with.

        Where items are masked, no click of a user is newer than another, and next clicks on items that taught the parts
        are no judge of new ones.
        """
        alike = replace(self, weights=(1.0,) * len(PRIOR), decay=1.0)
        return replace(alike, weights=_prior(alike._said(items, rows), rows.candidates_NC < 0))

    def weighed(self, items: Items, rows: TrainSet, fresh_N: NDArray[np.bool_]) -> Self:
        """The same model with the decay and the weights under which the clicks of these rows are likeliest.

        A conditional logit (McFadden 1974) over each row's candidates, no weight below 0, drawn as by ten more rows to
        PRIOR, but for the network, whose prior lets it tell candidates as far apart as match does: few rows change
        little. The rows must be later than what any part has seen. Those of fresh_N, clicks on items that no part has
        seen clicked, are looked at again, drawn to what all rows say: what a part says of an item that taught it proves
        little of new ones, and where few clicks are on new ones it is what counts.
        """
        best: tuple[float, float, NDArray[np.float64], Weights]
        best = (np.inf, DECAYS[0], np.zeros((0, 1, len(PRIOR))), PRIOR)
        for decay in DECAYS:
            said_NCK = replace(self, weights=(1.0,) * len(PRIOR), decay=decay)._said(items, rows)
            missing_NC = rows.candidates_NC < 0
            prior = _prior(said_NCK, missing_NC)
            loss, weights = _likeliest(said_NCK, missing_NC, prior)
            if loss < best[0]:  # of equals the first
                best = (loss, decay, said_NCK, tuple(np.maximum(weights, _LEAST * np.array(prior)).tolist()))
        _, decay, said_NCK, of_all = best
        _, weights = _likeliest(said_NCK[fresh_N], rows.candidates_NC[fresh_N] < 0, of_all)
        return replace(self, weights=weights, decay=decay)

    def _said(self, items: Items, rows: TrainSet) -> NDArray[np.float64]:
        """float64[N, C, 5]: what each part says of the candidates of each row."""
        parts = np.cumsum([0, self.settings.dim, *self.wide.width, 1])
        who_N = None if rows.user_N is None or not self.user_ids else rows.user_N.astype(np.int64)
        users_NW = self.users(items, rows.history_NH, who_N)
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
        about = {"weights": self.weights, "decay": self.decay, "item_ids": self.item_ids, "user_ids": self.user_ids}
        (folder / "weights.json").write_text(json.dumps(about))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Reads what `save` wrote. Raises ContractError for a damaged network; the rest raises what its reader does."""
        about = json.loads((folder / "weights.json").read_text())
        return cls(
            tokenizer=Tokenizer.from_json((folder / "tokenizer.json").read_text()),
            network=load_model(folder),
            wide=Wide.load(folder),
            weights=tuple(about["weights"]),
            decay=about["decay"],
            item_ids=tuple(about["item_ids"]),
            user_ids=tuple(about["user_ids"]),
        )


def _prior(said_NCK: NDArray[np.float64], missing_NC: NDArray[np.bool_]) -> Weights:
    """PRIOR with the network's part scaled to the spread of match among the candidates of a row."""
    known_NC1 = ~missing_NC[..., None]
    size_N1 = np.maximum(known_NC1.sum(axis=1), 1)
    away_NCK = (said_NCK - ((said_NCK * known_NC1).sum(axis=1) / size_N1)[:, None]) * known_NC1
    network, match = np.sqrt((away_NCK**2).sum(axis=(0, 1)))[:2].tolist()
    alike = PRIOR[1] * match / network if network > 0 and match > 0 else PRIOR[0]
    return (alike, *PRIOR[1:])


def _likeliest(
    said_NCK: NDArray[np.float64], missing_NC: NDArray[np.bool_], drawn_to: Weights
) -> tuple[float, Weights]:
    """The loss, in nats, and the weights of the conditional logit in which each row's first candidate was chosen."""
    prior = np.array(drawn_to)

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logit_NC = np.where(missing_NC, -np.inf, said_NCK @ weights)
        normal_N1 = logsumexp(logit_NC, axis=1, keepdims=True)
        excess_NC = np.exp(logit_NC - normal_N1)
        excess_NC[:, 0] -= 1
        away = (weights - prior) / prior
        value = float(np.sum(normal_N1[:, 0] - logit_NC[:, 0]) + _PULL * away @ away)
        return value, np.einsum("nc,nck->k", excess_NC, said_NCK) + 2 * _PULL * away / prior

    found = minimize(loss, prior, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(prior))
    return float(found.fun), tuple(found.x.tolist())
