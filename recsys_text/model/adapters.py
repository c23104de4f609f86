"""Low-rank adapters: a few weights that are trained in place of all. Knows modules, no texts and no clicks.

Hu et al. 2022, "LoRA: Low-rank adaptation of large language models": a matrix W becomes W + U D, of which only the thin
U and D are trained. The sum is written into W after every step, so that the network is run, kept and saved as it is.
"""

from typing import Any

import torch
from torch import Tensor, nn

#: Of all weights of a network, those that adapters may have at most.
SHARE = 0.05
#: More says little: what a day changes has few directions.
_HIGHEST_RANK = 8


class Adapters(nn.Module):
    """Adapters of a model's matrices, whose other weights stand still until `release`.

    Its parameters are what an optimiser is to move, which `follow` must know. All matrices have the same rank, the
    highest with which no more than SHARE of the weights are trained; where rank 1 is too much, the largest have none.
    """

    def __init__(self, model: nn.Module, seed: int) -> None:
        super().__init__()
        room = int(SHARE * sum(weight.numel() for weight in model.parameters()))
        matrices = sorted((weight for weight in model.parameters() if weight.ndim >= 2), key=Tensor.numel)
        while matrices and _size(matrices, 1) > room:
            matrices.pop()
        rank = max((rank for rank in range(1, _HIGHEST_RANK + 1) if _size(matrices, rank) <= room), default=0)
        draw = torch.Generator().manual_seed(seed)
        self._model = [model]  # in a list: it is no part of this module
        self._matrices, self._begun = matrices, [weight.detach().clone() for weight in matrices]
        # U starts at zero, and so does U D.
        self.up = nn.ParameterList(torch.zeros(len(weight), _rank(weight, rank)) for weight in matrices)
        self.down = nn.ParameterList(
            torch.randn(_rank(weight, rank), weight[0].numel(), generator=draw) * _rank(weight, rank) ** -0.5
            for weight in matrices
        )
        if matrices:
            self.to(matrices[0].device)
        model.requires_grad_(False)
        self._hooks: list[Any] = []
        for place, weight in enumerate(matrices):
            weight.requires_grad_(True)
            hook = weight.register_post_accumulate_grad_hook(self._pass_on(place))  # type: ignore[no-untyped-call]
            self._hooks.append(hook)

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """After each of its steps the adapters are written into the model."""
        self._hooks.append(optimizer.register_step_post_hook(lambda *_: self._write()))

    def release(self) -> None:
        """The model's weights are its own again, as they are now."""
        for hook in self._hooks:
            hook.remove()
        self._model[0].requires_grad_(True)

    def _pass_on(self, place: int) -> Any:
        """By the chain rule, the gradient of W is that of U D."""

        def hand(weight: Tensor) -> None:
            assert weight.grad is not None
            gradient, up, down = weight.grad.flatten(1), self.up[place], self.down[place]
            up.grad, down.grad, weight.grad = gradient @ down.detach().T, up.detach().T @ gradient, None

        return hand

    @torch.no_grad()
    def _write(self) -> None:
        for weight, begun, up, down in zip(self._matrices, self._begun, self.up, self.down, strict=True):
            weight.copy_(begun + (up @ down).view_as(weight))


def _rank(weight: Tensor, rank: int) -> int:
    return min(rank, len(weight), weight[0].numel())


def _size(matrices: list[nn.Parameter], rank: int) -> int:
    return sum(_rank(weight, rank) * (len(weight) + weight[0].numel()) for weight in matrices)
