"""The interest of users in items: the encoder, a user tower and their dot product. Knows no training.

Legend: I distinct items, T tokens, D `dim`, B users (or clicks), H history, C candidates, N users. A
history or candidate is a position among the I items, -1 is padding.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from recsys_text.model.encoder import Attention, Encoder, mask_of
from recsys_text.sections import Model

_LARGEST_SCALE = 100.0
#: The share of users whose long-term vector is hidden while training.
_FORGOTTEN = 0.5
#: Of the ridge regression from texts to clicks, beside the mean square of a column.
_PENALTY = 0.1


class UserTower(nn.Module):
    """The vector of a user from the vectors of the clicks, oldest first.

    By `settings.user`: their mean; attention over them, with a bias for how many clicks ago; the last state of a GRU;
    or attention, to which a GRU adds what their order says, through a gate. A user without clicks gets a learned
    vector. The vectors have unit length.
    """

    def __init__(self, settings: Model) -> None:
        super().__init__()
        self.kind = settings.user
        self.nobody = nn.Parameter(torch.randn(settings.dim))
        if "attention" in self.kind:
            self.attention = Attention(settings.dim)
            self.recency = nn.Parameter(torch.zeros(settings.history))
        if "gru" in self.kind:
            self.rnn = nn.GRU(settings.dim, settings.dim, batch_first=True)
            self.project = nn.Linear(settings.dim, settings.dim)
        self.long_term_dropout = nn.Dropout1d(_FORGOTTEN) if settings.long_term else None
        if self.kind == "gru+attention":
            self.gate = nn.Linear(settings.dim, 1)
            # Nearly closed: training starts from the profile, which means something before the GRU does.
            nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, vec_ID: Tensor, history_BH: Tensor, start_BD: Tensor | None = None) -> Tensor:
        """vec_BD from the vectors of clicks vec_ID and the positions history_BH, wherever its padding is.

        start_BD: where the GRU starts, zero for a user that is not known.
        """
        padding_BH = history_BH < 0
        if self.kind == "mean":
            # Sums as it reads: a long history of wide vectors would fill the memory.
            shares_BH = (~padding_BH).to(vec_ID.dtype)
            sum_BD = functional.embedding_bag(history_BH.clamp(min=0), vec_ID, mode="sum", per_sample_weights=shares_BH)
            return functional.normalize(torch.where(~padding_BH.all(1, keepdim=True), sum_BD, self.nobody), dim=-1)
        order_BH = padding_BH.to(torch.uint8).argsort(dim=1, stable=True)
        lengths_B = (~padding_BH).sum(1)
        # functional.embedding rather than indexing: its gradient is a deterministic and fast sum.
        vec_BHD = functional.embedding(history_BH.gather(1, order_BH).clamp(min=0), vec_ID)
        mask_BH = mask_of(lengths_B, history_BH.shape[1], vec_ID.device)
        if self.kind == "gru":
            vec_BD = self._last(vec_BHD, lengths_B, start_BD)
        else:
            vec_BD = self._profile(vec_BHD, mask_BH, lengths_B)
        if self.kind == "gru+attention":
            vec_BD = vec_BD + torch.sigmoid(self.gate(vec_BD)) * self._last(vec_BHD, lengths_B, start_BD)
        return functional.normalize(torch.where(lengths_B[:, None] > 0, vec_BD, self.nobody), dim=-1)

    def _profile(self, vec_BHD: Tensor, mask_BH: Tensor, lengths_B: Tensor) -> Tensor:
        place_H = torch.arange(vec_BHD.shape[1], device=vec_BHD.device)
        ago_BH = (lengths_B[:, None] - 1 - place_H).clamp(0, len(self.recency) - 1)
        bias_BH = functional.embedding(ago_BH, self.recency[:, None]).squeeze(-1)
        return torch.einsum("bh,bhd->bd", self.attention(vec_BHD, mask_BH, bias_BH), vec_BHD)

    def _last(self, vec_BHD: Tensor, lengths_B: Tensor, start_BD: Tensor | None) -> Tensor:
        if start_BD is not None and self.long_term_dropout is not None:
            # A whole user at a time, so that the clicks alone must do too (An et al. 2019).
            start_BD = self.long_term_dropout(start_BD[None])[0]
        states_BHD, _ = self.rnn(vec_BHD, None if start_BD is None else start_BD[None].contiguous())
        last_B11 = (lengths_B - 1).clamp(min=0)[:, None, None]
        vec_BD: Tensor = self.project(states_BHD.gather(1, last_B11.expand(-1, 1, states_BHD.shape[2])).squeeze(1))
        return vec_BD


class Interest(nn.Module):
    """Encoder and user tower. Interest = dot product of the vectors of user and item, times a learned scale.

    Where `settings.clicks` is "learned", a click on one of the items that training knew has a vector of its own, a row
    of `table`, which has `items`; on any other, the vector of its text through `translation`, which `translate` fits.
    With `settings.long_term` each of the `people` that training knew has a vector in `long_term`.
    """

    translation: Tensor

    def __init__(self, settings: Model, vocabulary: int, items: int = 0, people: int = 0) -> None:
        super().__init__()
        self.settings, self.vocabulary = settings, vocabulary
        self.encoder = Encoder(settings, vocabulary)
        self.tower = UserTower(settings)
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())
        self.table: nn.Parameter | None = None
        if settings.clicks == "learned":
            self.table = nn.Parameter(torch.randn(items, settings.dim) * settings.dim**-0.5)
            self.register_buffer("translation", torch.eye(settings.dim))
        # Zero, which is where the GRU starts for a stranger.
        self.long_term = nn.Parameter(torch.zeros(people, settings.dim)) if settings.long_term else None

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp().clamp(max=_LARGEST_SCALE)

    def users(self, click_ID: Tensor, history_BH: Tensor, who_B: Tensor | None = None) -> Tensor:
        """vec_BD of unit length times the scale: its dot product with an item's vector is the interest.

        who_B: rows of `long_term`, -1 for a user that training did not know.
        """
        if history_BH.shape[1] == 0:
            history_BH = history_BH.new_full((len(history_BH), 1), -1)
        start_BD = None
        if self.long_term is not None and who_B is not None and len(self.long_term):
            start_BD = functional.embedding(who_B.clamp(min=0), self.long_term) * (who_B >= 0)[:, None]
        vec_BD: Tensor = self.scale * self.tower(click_ID, history_BH, start_BD)
        return vec_BD

    def forward(self, vec_ID: Tensor, history_BH: Tensor, candidates_BC: Tensor, who_B: Tensor | None = None) -> Tensor:
        """interest_BC in float32, -inf where a candidate is padding.

        history_BH: positions in vec_ID, or in the table where there is one; who_B: see `users`.
        """
        user_BD = self.users(vec_ID if self.table is None else self.table, history_BH, who_B)
        interest_BC = (user_BD @ vec_ID.T).gather(1, candidates_BC.clamp(min=0))
        return interest_BC.masked_fill(candidates_BC < 0, -torch.inf)

    def translate(self, vec_ID: NDArray[np.float32], rows_I: NDArray[np.int64]) -> None:
        """Fits the translation by ridge regression of the rows `rows_I` of the table on the texts of the same items.

        The table keeps these rows alone, in that order.
        """
        assert self.table is not None
        text_ID = torch.from_numpy(vec_ID).to(self.table.device)
        with torch.no_grad():
            self.table = nn.Parameter(self.table[torch.from_numpy(rows_I)])
            square_DD = text_ID.T @ text_ID
            square_DD += _PENALTY * square_DD.diagonal().mean() * torch.eye(len(square_DD), device=text_ID.device)
            self.translation.copy_(torch.linalg.solve(square_DD, text_ID.T @ self.table))


def build(settings: Model, vocabulary: int, seed: int, items: int = 0, people: int = 0) -> Interest:
    """A new model; the same arguments give the same weights, and the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Interest(settings, vocabulary, items, people)


def click_vectors(
    model: Interest, item_vectors_ID: NDArray[np.float32], rows_I: NDArray[np.int64]
) -> NDArray[np.float32]:
    """vec_ID of items as clicks of a history. rows_I: each item's row of the table, -1 where it has none."""
    if model.table is None:
        return item_vectors_ID
    click_ID = np.asarray(item_vectors_ID @ model.translation.cpu().numpy(), np.float32)
    click_ID[rows_I >= 0] = model.table.detach().cpu().numpy()[rows_I[rows_I >= 0]]
    return click_ID


def item_vectors(
    model: Interest, tokens_IT: NDArray[np.int32], lengths_I: NDArray[np.int32], batch: int = 1024
) -> NDArray[np.float32]:
    """vec_ID in float32, encoded `batch` texts at a time on the model's device, without dropout."""
    vec_ID = np.empty((len(tokens_IT), model.settings.dim), dtype=np.float32)
    device = model.log_scale.device
    with _inference(model):
        for start in range(0, len(tokens_IT), batch):
            rows = slice(start, start + batch)
            ids_BT = torch.from_numpy(tokens_IT[rows]).to(device)
            vec_ID[rows] = model.encoder(ids_BT, torch.from_numpy(lengths_I[rows])).cpu().numpy()
    return vec_ID


def user_vectors(
    model: Interest,
    click_vectors_ID: NDArray[np.float32],
    history_NH: NDArray[np.int32],
    batch: int = 4096,
    who_N: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """vec_ND in float32, `batch` users at a time: `vec_ND @ item_vectors_ID.T` is the interest.

    Args:
        history_NH: positions in `click_vectors_ID` of each user's clicks, oldest first, padded with -1
            at either side; a row of -1 alone is a user without clicks.
        who_N: rows of `long_term`, -1 for a user that training did not know; None where nobody is known.
    """
    vec_ND = np.empty((len(history_NH), model.settings.dim), dtype=np.float32)
    device = model.log_scale.device
    # A catalogue without items still has users: the row keeps the lookup of padding valid.
    vec_ID = torch.from_numpy(click_vectors_ID if len(click_vectors_ID) else np.zeros((1, vec_ND.shape[1]), np.float32))
    vec_ID = vec_ID.to(device)
    with _inference(model):
        for start in range(0, len(history_NH), batch):
            rows = slice(start, start + batch)
            history_BH = torch.from_numpy(history_NH[rows]).to(device, torch.int64)
            who_B = None if who_N is None else torch.from_numpy(who_N[rows]).to(device)
            vec_ND[rows] = model.users(vec_ID, history_BH, who_B).cpu().numpy()
    return vec_ND


@contextmanager
def _inference(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; the model's own mode comes back afterwards."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        model.train(training)
