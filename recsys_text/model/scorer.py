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

from recsys_text.config import Model
from recsys_text.model.encoder import Attention, Encoder, mask_of

_LARGEST_SCALE = 100.0


class UserTower(nn.Module):
    """The vector of a user from the vectors of the items clicked, oldest first.

    Attention over the clicks (with a bias for how many clicks ago) gathers a profile in the space of
    the items; a GRU adds what their order says, through a gate. A user without clicks gets a learned
    vector. The vectors have unit length.
    """

    def __init__(self, settings: Model) -> None:
        super().__init__()
        self.attention = Attention(settings.dim)
        self.recency = nn.Parameter(torch.zeros(settings.history))
        self.rnn = nn.GRU(settings.dim, settings.dim, batch_first=True)
        self.project = nn.Linear(settings.dim, settings.dim)
        self.gate = nn.Linear(settings.dim, 1)
        self.nobody = nn.Parameter(torch.randn(settings.dim))
        # Nearly closed: training starts from the profile, which means something before the GRU does.
        nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, vec_ID: Tensor, history_BH: Tensor) -> Tensor:
        """vec_BD from vec_ID and the positions history_BH, wherever its padding is."""
        padding_BH = history_BH < 0
        order_BH = padding_BH.to(torch.uint8).argsort(dim=1, stable=True)
        lengths_B = (~padding_BH).sum(1)
        # functional.embedding rather than indexing: its gradient is a deterministic and fast sum.
        vec_BHD = functional.embedding(history_BH.gather(1, order_BH).clamp(min=0), vec_ID)
        mask_BH = mask_of(lengths_B, history_BH.shape[1], vec_ID.device)
        ago_BH = (lengths_B[:, None] - 1 - torch.arange(history_BH.shape[1], device=vec_ID.device)).clamp(
            0, len(self.recency) - 1
        )
        weights_BH = self.attention(vec_BHD, mask_BH, functional.embedding(ago_BH, self.recency[:, None]).squeeze(-1))
        profile_BD = torch.einsum("bh,bhd->bd", weights_BH, vec_BHD)
        states_BHD, _ = self.rnn(vec_BHD)
        last_B11 = (lengths_B - 1).clamp(min=0)[:, None, None]
        last_BD = states_BHD.gather(1, last_B11.expand(-1, 1, states_BHD.shape[2])).squeeze(1)
        vec_BD = profile_BD + torch.sigmoid(self.gate(profile_BD)) * self.project(last_BD)
        return functional.normalize(torch.where(lengths_B[:, None] > 0, vec_BD, self.nobody), dim=-1)


class Interest(nn.Module):
    """Encoder and user tower. Interest = dot product of the two unit vectors, times a learned scale."""

    def __init__(self, settings: Model, vocabulary: int) -> None:
        super().__init__()
        self.settings, self.vocabulary = settings, vocabulary
        self.encoder = Encoder(settings, vocabulary)
        self.tower = UserTower(settings)
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())

    @property
    def scale(self) -> Tensor:
        return self.log_scale.exp().clamp(max=_LARGEST_SCALE)

    def users(self, vec_ID: Tensor, history_BH: Tensor) -> Tensor:
        """vec_BD of unit length times the scale: its dot product with an item's vector is the interest."""
        if history_BH.shape[1] == 0:
            history_BH = history_BH.new_full((len(history_BH), 1), -1)
        vec_BD: Tensor = self.scale * self.tower(vec_ID, history_BH)
        return vec_BD

    def forward(self, vec_ID: Tensor, history_BH: Tensor, candidates_BC: Tensor) -> Tensor:
        """interest_BC in float32, -inf where a candidate is padding."""
        vec_BCD = functional.embedding(candidates_BC.clamp(min=0), vec_ID)
        interest_BC = torch.einsum("bd,bcd->bc", self.users(vec_ID, history_BH), vec_BCD)
        return interest_BC.masked_fill(candidates_BC < 0, -torch.inf)


def build(settings: Model, vocabulary: int, seed: int) -> Interest:
    """A new model; the same arguments give the same weights, and the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Interest(settings, vocabulary)


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
    model: Interest, item_vectors_ID: NDArray[np.float32], history_NH: NDArray[np.int32], batch: int = 4096
) -> NDArray[np.float32]:
    """vec_ND in float32, `batch` users at a time: `vec_ND @ item_vectors_ID.T` is the interest.

    Args:
        history_NH: positions in `item_vectors_ID` of each user's clicks, oldest first, padded with -1
            at either side; a row of -1 alone is a user without clicks.
    """
    vec_ND = np.empty((len(history_NH), model.settings.dim), dtype=np.float32)
    device = model.log_scale.device
    # A catalogue without items still has users: the row keeps the lookup of padding valid.
    vec_ID = torch.from_numpy(item_vectors_ID if len(item_vectors_ID) else np.zeros((1, vec_ND.shape[1]), np.float32))
    vec_ID = vec_ID.to(device)
    with _inference(model):
        for start in range(0, len(history_NH), batch):
            rows = slice(start, start + batch)
            history_BH = torch.from_numpy(history_NH[rows]).to(device, torch.int64)
            vec_ND[rows] = model.users(vec_ID, history_BH).cpu().numpy()
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
