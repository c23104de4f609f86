"""The CNN-RNN that turns the tokens of a text into a vector. Knows token ids, no users and no training.

Legend of the shape suffixes: B texts, T tokens, E embedding, C channels of all kernels together, S
positions after the convolutions, N positions after pooling, R features of a state, D `dim`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from recsys_text.config import Model
from recsys_text.text.tokenizer import PADDING

_RNN: dict[str, type[nn.RNN | nn.LSTM | nn.GRU]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
#: Added before the ReLU; finite, so that it survives bfloat16 and a product with zero.
_NEVER = -1e9
#: Texts of about the same length that are encoded together on a CPU: no time goes into padding, and less into memory.
_GROUP = 512


class Encoder(nn.Module):
    """Embed, convolve, pool, RNN, read out, project; plus the mean of a second embedding (the bag).

    Every stage masks what lies beyond the end of a text, so that its vector does not depend on the
    texts that share its batch. The vectors have unit length.
    """

    def __init__(self, settings: Model, vocabulary: int) -> None:
        super().__init__()
        self.stride, self.same = settings.stride, settings.padding == "same"
        self.pool, self.pool_size = settings.pool, settings.pool_size
        # The tokens that one position needs: where nothing is padded, all that the widest kernel sees.
        self.span = 1 if self.same else max(settings.kernel_sizes)
        width = settings.channels * len(settings.kernel_sizes)
        states = settings.hidden * (2 if settings.bidirectional else 1)
        self.embedding = nn.Embedding(vocabulary, settings.embedding, padding_idx=PADDING)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(settings.embedding, settings.channels, size, stride=settings.stride)
            for size in settings.kernel_sizes
        )
        self.norm = nn.LayerNorm(width)
        self.rnn = _RNN[settings.rnn](width, settings.hidden, batch_first=True, bidirectional=settings.bidirectional)
        self.attention = Attention(states) if settings.readout == "attention" else None
        self.project = nn.Linear(states, settings.dim)
        self.bag = nn.Embedding(vocabulary, settings.dim, padding_idx=PADDING) if settings.bag else None
        self.dropout = nn.Dropout(settings.dropout)
        # Small beside the steps of AdamW, or the vectors of words hardly move from where they started.
        for words in filter(None, (self.embedding, self.bag)):
            nn.init.normal_(words.weight, std=words.embedding_dim**-0.5)
            with torch.no_grad():
                words.weight[PADDING].zero_()

    def forward(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """vec_BD from ids_BT, which hold 0 beyond `lengths_B`; `lengths_B` is on the CPU, for packing."""
        assert lengths_B.device.type == "cpu"
        lengths_B = lengths_B.clamp(min=1)
        # A GPU would rather have one large group: it waits for launches, not for the padding.
        groups = -(-len(ids_BT) // _GROUP) if ids_BT.device.type == "cpu" else 1
        if groups <= 1:
            return self._encode(ids_BT, lengths_B)
        order_B = lengths_B.argsort(descending=True, stable=True)
        vec_BD = torch.cat([self._encode(ids_BT[rows], lengths_B[rows]) for rows in order_B.chunk(groups)])
        return functional.embedding(order_B.argsort(), vec_BD)

    def _encode(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """vec_BD of texts that are padded to the longest of them."""
        ids_BT = ids_BT[:, : int(lengths_B.max())]
        pooled_BNC, pooled_lengths_B = self._convolve(self.dropout(self.embedding(ids_BT)), lengths_B)
        # cuDNN's RNNs would run in float16 under autocast, whose gradients vanish without loss scaling.
        with torch.autocast(ids_BT.device.type, enabled=False):
            states_BR = self._read(self.norm(pooled_BNC.float()), pooled_lengths_B)
        vec_BD = self.project(self.dropout(states_BR)).float()
        if self.bag is not None:
            tokens_B1 = lengths_B[:, None].to(vec_BD.device, non_blocking=True)
            vec_BD = vec_BD + self.dropout(self.bag(ids_BT)).sum(1) / tokens_B1
        return functional.normalize(vec_BD, dim=-1)

    def _convolve(self, text_BTE: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """pooled_BNC and the number of pooled positions of each text."""
        missing = max(0, self.span - text_BTE.shape[1])
        text_BET = functional.pad(text_BTE.transpose(1, 2), (0, missing))
        lengths_B = (lengths_B.clamp(min=self.span) - self.span) // self.stride + 1
        positions = int(lengths_B.max())
        parts = []
        for convolution in self.convolutions:
            assert isinstance(convolution, nn.Conv1d)
            around = convolution.kernel_size[0] - 1 if self.same else 0
            padded = functional.pad(text_BET, (around // 2, around - around // 2))
            # A narrower kernel has more positions; the RNN reads those that all kernels have.
            parts.append(convolution(padded)[:, :, :positions])
        beyond_BS = ~mask_of(lengths_B, positions, text_BTE.device)
        # What lies beyond a text becomes the zero of the ReLU, which neither a maximum nor a sum sees.
        features_BCS = torch.cat(parts, dim=1).add_(_NEVER * beyond_BS[:, None]).relu_()
        size = self.pool_size
        if self.pool == "max":
            pooled_BCN = functional.max_pool1d(features_BCS, size, ceil_mode=True)
        else:
            missing = -positions % size
            sums_BCN = functional.avg_pool1d(functional.pad(features_BCS, (0, missing)), size) * size
            counts_BN = functional.pad(~beyond_BS, (0, missing)).reshape(len(beyond_BS), -1, size).sum(-1)
            pooled_BCN = sums_BCN / counts_BN.clamp(min=1)[:, None]
        return pooled_BCN.transpose(1, 2), (lengths_B + size - 1) // size

    def _read(self, pooled_BNC: Tensor, lengths_B: Tensor) -> Tensor:
        """states_BR: what attention gathers from all states, or the last state of each direction."""
        packed = pack_padded_sequence(pooled_BNC, lengths_B, batch_first=True, enforce_sorted=False)
        output, last = self.rnn(packed)
        if self.attention is None:
            state_XBR: Tensor = last[0] if isinstance(last, tuple) else last
            return state_XBR.transpose(0, 1).flatten(1)
        states_BNR, _ = pad_packed_sequence(output, batch_first=True)
        weights_BN = self.attention(states_BNR, mask_of(lengths_B, states_BNR.shape[1], states_BNR.device))
        return torch.einsum("bn,bnr->br", weights_BN, states_BNR)


class Attention(nn.Module):
    """Additive attention with one learned query (Yang et al. 2016, Hierarchical Attention Networks)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, features)
        self.query = nn.Linear(features, 1, bias=False)

    def forward(self, states_BNR: Tensor, mask_BN: Tensor, bias_BN: Tensor | None = None) -> Tensor:
        """weights_BN, zero where the mask is; a row without any position gets equal weights."""
        scores_BN = self.query(torch.tanh(self.hidden(states_BNR))).squeeze(-1)
        if bias_BN is not None:
            scores_BN = scores_BN + bias_BN
        weights_BN: Tensor = scores_BN.masked_fill(~mask_BN, torch.finfo(scores_BN.dtype).min).softmax(-1)
        return weights_BN


def mask_of(lengths_B: Tensor, width: int, device: torch.device) -> Tensor:
    """bool [B, width], true before each length."""
    lengths_B = lengths_B.to(device, non_blocking=True)
    return torch.arange(width, device=device) < lengths_B[:, None]
