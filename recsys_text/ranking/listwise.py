"""A small network that orders the candidates of an impression. Knows no feature's meaning.

Shapes: N impressions, P pairs of an impression and a candidate, F features, B impressions of a batch, C candidates of
the longest of them. The pairs of impression n are the slice offsets_N1[n]:offsets_N1[n + 1].
"""

import itertools
import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recsys_text.torch_threads import one_thread

Float32 = NDArray[np.float32]
Double = NDArray[np.float64]
Bool = NDArray[np.bool_]
Int = NDArray[np.integer[Any]]

_HIDDEN = (64, 64)
_EPOCHS = 10
_BATCH = 64
_LEARNING_RATE = 3e-3
#: A network that goes on from a former one: best on 8 to 10 March of caixin, of 3 to 10 epochs at 3e-4 to 2e-3.
_MORE_EPOCHS, _MORE_RATE = 3, 3e-4
_WEIGHT_DECAY = 1e-4
#: A standardised feature beyond this says no more: a burst that training has not seen must not shout all else down.
_LIMIT = 5.0
#: A feature that spreads less is constant but for rounding.
_SPREAD = 1e-6
#: Pairs that go through the network at a time: what a layer makes of them stays in a processor's cache.
_ROWS = 1 << 12


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """Standardised features through layers with SiLU between them: `weights` and `biases` from the first on."""

    mean_F: Tensor
    scale_F: Tensor
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def predict(self, features_PF: Float32) -> Double:
        """Logits, float64[P], on a GPU where there is one; only their order within an impression has a meaning."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        layers = [(w.to(device), b.to(device)) for w, b in zip(self.weights, self.biases, strict=True)]
        mean_F, scale_F = self.mean_F.to(device), self.scale_F.to(device)
        logit_P = np.empty(len(features_PF))
        with torch.inference_mode():
            for start in range(0, len(features_PF), _ROWS):
                rows = slice(start, start + _ROWS)
                x = _standard(torch.from_numpy(np.ascontiguousarray(features_PF[rows])).to(device), mean_F, scale_F)
                logit_P[rows] = _forward(layers, x).double().cpu().numpy()
        return logit_P

    def tensors(self) -> dict[str, Tensor]:
        """All of it by name, as safetensors keeps it."""
        layers = enumerate(zip(self.weights, self.biases, strict=True))
        named = {f"{kind}.{n}": tensor for n, pair in layers for kind, tensor in zip("wb", pair, strict=True)}
        return named | {"mean": self.mean_F, "scale": self.scale_F}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "Network":
        """What `tensors` named. Raises KeyError where one is missing."""
        depth = sum(name.startswith("w.") for name in tensors)
        # A file's tensors lie anywhere, and the last bits of a product depend on where.
        tensors = {name: tensor.clone() for name, tensor in tensors.items()}
        return cls(
            mean_F=tensors["mean"],
            scale_F=tensors["scale"],
            weights=tuple(tensors[f"w.{n}"] for n in range(depth)),
            biases=tuple(tensors[f"b.{n}"] for n in range(depth)),
        )


@one_thread()
def fit_network(
    features_PF: Float32,
    clicked_P: Bool,
    offsets_N1: Int,
    *,
    seed: int,
    weight_N: Float32 | None = None,
    former: Network | None = None,
) -> Network:
    """Softmax cross-entropy over the candidates of each impression (ListNet's top one; Cao et al. 2007).

    Each impression has at least one click; several share its weight, `weight_N`, by
    default 1. AdamW with warm-up and cosine decay,
    on a GPU where there is one. The same arguments give the same weights on a CPU, and the global random state is left
    alone. former: a network of the same features, from which this one goes on in fewer and smaller steps.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    epochs, rate = _EPOCHS, _LEARNING_RATE
    if former is None:
        mean_F, scale_F = _centre(features_PF)
    else:
        mean_F, scale_F, epochs, rate = former.mean_F, former.scale_F, _MORE_EPOCHS, _MORE_RATE
    raw_PF, mean_on_F, scale_on_F = (each.to(device) for each in (torch.from_numpy(features_PF), mean_F, scale_F))
    length_N = np.diff(offsets_N1)
    clicks_N = np.diff(np.concatenate([[0], np.cumsum(clicked_P)])[offsets_N1])
    # On average an impression weighs 1, so that weights change no learning rate.
    if weight_N is None:
        weight_N = np.ones(len(length_N), np.float32)
    weight_P = np.repeat(weight_N / np.mean(weight_N) / clicks_N, length_N)
    share_P = torch.from_numpy((clicked_P * weight_P).astype(np.float32)).to(device)
    begin_N, size_N = torch.from_numpy(offsets_N1[:-1].astype(np.int64)), torch.from_numpy(length_N.astype(np.int64))
    begin_N, size_N = begin_N.to(device), size_N.to(device)

    generator = torch.Generator().manual_seed(seed)
    if former is None:
        begun = _layers(features_PF.shape[1], generator)
    else:
        begun = [(w.clone(), b.clone()) for w, b in zip(former.weights, former.biases, strict=True)]
    layers = [(w.to(device), b.to(device)) for w, b in begun]
    parameters = [tensor.requires_grad_() for layer in layers for tensor in layer]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=_WEIGHT_DECAY)
    steps = epochs * -(-len(size_N) // _BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_rate, steps=steps))
    for _ in range(epochs):
        for batch_B in torch.randperm(len(size_N), generator=generator).to(device).split(_BATCH):  # type: ignore[no-untyped-call]
            place_C = torch.arange(int(size_N[batch_B].max()), device=device)
            real_BC = place_C < size_N[batch_B, None]
            pair_Q = (begin_N[batch_B, None] + place_C)[real_BC]
            logit_BC = torch.full(real_BC.shape, -torch.inf, device=device)
            # Here, not once for all: several networks learn at a time, and each would hold a copy of all rows.
            x_QF = _standard(raw_PF[pair_Q], mean_on_F, scale_on_F)
            logit_BC = logit_BC.masked_scatter(real_BC, _forward(layers, x_QF))
            log_BC = logit_BC.log_softmax(dim=1)
            loss = -(log_BC[real_BC] * share_P[pair_Q]).sum() / len(batch_B)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    trained = [tensor.detach().cpu() for tensor in parameters]
    return Network(mean_F=mean_F, scale_F=scale_F, weights=tuple(trained[::2]), biases=tuple(trained[1::2]))


def _rate(step: int, *, steps: int) -> float:
    """The share of the learning rate: a tenth of the steps up, then down half a cosine (Loshchilov and Hutter 2017)."""
    return min(1.0, (step + 1) / max(1, steps // 10)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _layers(features: int, generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    sizes = (features, *_HIDDEN, 1)
    layers = []
    for wide, narrow in itertools.pairwise(sizes):
        weight = torch.empty(narrow, wide)
        nn.init.kaiming_uniform_(weight, a=5**0.5, generator=generator)
        layers.append((weight, torch.zeros(narrow)))
    return layers


def _centre(features_PF: Float32) -> tuple[Tensor, Tensor]:
    """The mean and the spread of each feature, 1 where it is constant; what is not finite counts as 0."""
    mean_F, spread_F = np.empty((2, features_PF.shape[1]))
    # In double: a million squares of a large feature lose a small spread in single precision. One at a time: a copy of
    # all of them would take as much memory as all else here.
    for at, feature_P in enumerate(features_PF.T):
        finite_P = np.nan_to_num(feature_P, posinf=0.0, neginf=0.0).astype(np.float64)
        mean_F[at], spread_F[at] = finite_P.mean(), finite_P.std()
    spread = torch.from_numpy(spread_F).float()
    return torch.from_numpy(mean_F).float(), torch.where(spread > _SPREAD, spread, 1.0)


def _standard(x_PF: Tensor, mean_F: Tensor, scale_F: Tensor) -> Tensor:
    return (x_PF - mean_F).div_(scale_F).nan_to_num_(0.0).clamp_(-_LIMIT, _LIMIT)


def _forward(layers: list[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    for n, (weight, bias) in enumerate(layers):
        x = nn.functional.linear(nn.functional.silu(x) if n else x, weight, bias)
    return x.squeeze(-1)
