"""The CNN-RNN that turns the tokens of a text into a vector. Knows token ids, no users and no training.

Legend of the shape suffixes: B texts, T tokens, E embedding, C channels of all kernels together, S
positions after the convolutions, N positions after pooling, R features of a state, D `dim`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from recsys_text.sections import Model
from recsys_text.text.tokenizer import PADDING

_RNN: dict[str, type[nn.RNN | nn.LSTM | nn.GRU]] = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
#: Added before the ReLU; finite, so that it survives bfloat16 and a product with zero.
_NEVER = -1e9
#: Texts of about the same length that are encoded together on a CPU: no time goes into padding, and less into memory.
_GROUP = 512
#: Rows of the bag that pairs of adjacent tokens share, by a hash (Weinberger et al. 2009).
BUCKETS = 1 << 14


class Encoder(nn.Module):
    """Embed, convolve, pool, RNN, read out, project; plus the bag, a sum of vectors of tokens and of hashed pairs.

    Convolutions and RNN, which read the first `sequence` tokens, can each be left out; the bag reads all, each token
    and pair by its `rarity` (idf), the weights of a text having length 1. Every stage masks what lies beyond the end of
    a text, so that its vector does not depend on the texts that share its batch. The length of a vector says how sure
    of it the text makes.
    """

    rarity: Tensor

    def __init__(self, settings: Model, vocabulary: int) -> None:
        super().__init__()
        self.stride, self.same = settings.stride, settings.padding == "same"
        self.pool, self.pool_size, self.sequence = settings.pool, settings.pool_size, settings.sequence
        # The tokens that one position needs: where nothing is padded, all that the widest kernel sees.
        self.span = 1 if self.same else max(settings.kernel_sizes, default=1)
        self.vocabulary, self.dim = vocabulary, settings.dim
        self.width = settings.max_tokens
        self.views = Attention(settings.dim) if settings.views else None
        self.dropout = nn.Dropout(settings.dropout)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(settings.embedding, settings.channels, size, stride=settings.stride)
            for size in settings.kernel_sizes
        )
        self.deep = bool(settings.kernel_sizes) or settings.rnn != "none"
        self.rnn, self.attention = None, None
        if self.deep:
            width = settings.channels * len(settings.kernel_sizes) or settings.embedding
            self.embedding = nn.Embedding(vocabulary, settings.embedding, padding_idx=PADDING)
            self.norm = nn.LayerNorm(width)
            if settings.rnn != "none":
                self.rnn = _RNN[settings.rnn](
                    width, settings.hidden, batch_first=True, bidirectional=settings.bidirectional
                )
                width = settings.hidden * (2 if settings.bidirectional else 1)
            if settings.readout == "attention":
                self.attention = Attention(width)
            self.project = nn.Linear(width, settings.dim)
            # Small beside the steps of AdamW, or the vectors of words hardly move from where they started.
            nn.init.normal_(self.embedding.weight, std=settings.embedding**-0.5)
            with torch.no_grad():
                self.embedding.weight[PADDING].zero_()
        self.bag = nn.Embedding(vocabulary + BUCKETS, settings.dim, padding_idx=PADDING) if settings.bag else None
        if self.bag is not None:
            nn.init.normal_(self.bag.weight, std=settings.dim**-0.5)
            with torch.no_grad():
                self.bag.weight[PADDING].zero_()
        self.register_buffer("rarity", torch.ones(vocabulary + BUCKETS if settings.bag else 0))

    def forward(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """vec_BD from ids_BT, which hold 0 beyond `lengths_B`; `lengths_B` is on the CPU, for packing."""
        assert lengths_B.device.type == "cpu"
        lengths_B = lengths_B.clamp(min=1)
        vec_BD = torch.zeros(len(ids_BT), self.dim, device=ids_BT.device)
        if self.deep:
            vec_BD = self._grouped(ids_BT, lengths_B)
        if self.bag is not None:
            grams_BG = grams(ids_BT[:, : min(self.width, int(lengths_B.max()))], self.vocabulary)
            sum_BD = functional.embedding_bag(
                grams_BG, self.bag.weight, mode="sum", per_sample_weights=self.shares(grams_BG), padding_idx=PADDING
            )
            vec_BD = vec_BD + self.dropout(sum_BD)
        return vec_BD

    def _grouped(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """vec_BD of convolutions and RNN, texts of about the same length at a time."""
        # A GPU would rather have one large group: it waits for launches, not for the padding.
        groups = -(-len(ids_BT) // _GROUP) if ids_BT.device.type == "cpu" else 1
        if groups <= 1:
            return self._encode(ids_BT, lengths_B)
        order_B = lengths_B.argsort(descending=True, stable=True)
        vec_BD = torch.cat([self._encode(ids_BT[rows], lengths_B[rows]) for rows in order_B.chunk(groups)])
        return functional.embedding(order_B.argsort(), vec_BD)

    def _encode(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """vec_BD of texts that are padded to the longest of them."""
        if self.views is not None:
            return self._join(ids_BT[:, self.width :].reshape(len(ids_BT), -1, self.width))
        return self._deep(ids_BT[:, : int(lengths_B.max())], lengths_B)

    def _deep(self, ids_BT: Tensor, lengths_B: Tensor) -> Tensor:
        """vec_BD of what convolutions and RNN read."""
        read_B = lengths_B.clamp(max=self.sequence)
        words_BTE = self.dropout(self.embedding(ids_BT[:, : self.sequence]))
        if len(self.convolutions):
            words_BTE, read_B = self._convolve(words_BTE, read_B)
        # cuDNN's RNNs would run in float16 under autocast, whose gradients vanish without loss scaling.
        with torch.autocast(ids_BT.device.type, enabled=False):
            states_BR = self._read(self.norm(words_BTE.float()), read_B)
        vec_BD: Tensor = self.project(self.dropout(states_BR)).float()
        return vec_BD

    def _join(self, views_BVT: Tensor) -> Tensor:
        """vec_BD: what attention gathers from the views that have a text (Wu et al. 2019, NAML)."""
        assert self.views is not None
        lengths_BV = (views_BVT != PADDING).sum(2)
        lengths_X = lengths_BV.flatten().cpu().clamp(min=1)
        ids_XT = views_BVT.flatten(0, 1)[:, : int(lengths_X.max())]
        vec_BVD = self._deep(ids_XT, lengths_X).view(*views_BVT.shape[:2], -1)
        return torch.einsum("bv,bvd->bd", self.views(vec_BVD, lengths_BV > 0), vec_BVD)

    def shares(self, grams_BG: Tensor) -> Tensor:
        """What each gram of a text weighs, float32 [B, G]: by its rarity, rows of length 1, padding 0."""
        weight_BG = self.rarity[grams_BG].masked_fill(grams_BG == PADDING, 0)
        return functional.normalize(weight_BG, dim=1)

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
        if self.rnn is None:
            states_BNR = pooled_BNC
        else:
            packed = pack_padded_sequence(pooled_BNC, lengths_B, batch_first=True, enforce_sorted=False)
            output, last = self.rnn(packed)
            if self.attention is None:
                state_XBR: Tensor = last[0] if isinstance(last, tuple) else last
                return state_XBR.transpose(0, 1).flatten(1)
            states_BNR, _ = pad_packed_sequence(output, batch_first=True)
        assert self.attention is not None
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


def grams(ids_BT: Tensor, vocabulary: int) -> Tensor:
    """The rows of the bag that texts read, [B, 2 T - 1]: their tokens, then their pairs; PADDING beyond the end."""
    first_BT, second_BT = ids_BT[:, :-1].long(), ids_BT[:, 1:].long()
    pair_BT = vocabulary + (first_BT * 40_503 + second_BT) % BUCKETS
    return torch.cat([ids_BT.long(), pair_BT.masked_fill(second_BT == PADDING, PADDING)], dim=1)


def mask_of(lengths_B: Tensor, width: int, device: torch.device) -> Tensor:
    """bool [B, width], true before each length."""
    lengths_B = lengths_B.to(device, non_blocking=True)
    return torch.arange(width, device=device) < lengths_B[:, None]
