"""Where and how weights are updated: device, optimiser, learning rate. Knows nothing of texts and clicks."""

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from recsys_text.errors import ConfigError
from recsys_text.sections import Training

_WARM_UP = 0.05
_LARGEST_GRADIENT = 1.0


def resolve_device(name: str) -> torch.device:
    """`auto` is CUDA where there is one. Raises ConfigError for `cuda` where there is none."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ConfigError("training.device = 'cuda', and no CUDA device is visible; use 'auto' or 'cpu'")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where a GPU gains from it, float32 on the CPU."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """To a GPU from pinned memory, so that the copy runs beside the computation; on the CPU itself."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """Leaves the global random state and switches as they were; on CPU only deterministic kernels run.

    On CUDA the seeds hold, but some kernels (cuBLAS, cuDNN's RNNs) may differ in the last bits.
    """
    before = torch.are_deterministic_algorithms_enabled()
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.use_deterministic_algorithms(device.type == "cpu" or before)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)


def adamw(model: nn.Module, training: Training) -> torch.optim.AdamW:
    """AdamW that decays matrices only: no bias, norm, scale or lone vector."""
    matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": training.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=training.learning_rate)


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Rises linearly over the first 5% of the steps, then falls to zero along a cosine."""
    warm_up = max(1, round(_WARM_UP * steps))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    return peak * 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))


def update(optimizer: torch.optim.AdamW, loss: torch.Tensor, rate: float) -> None:
    """One step down the gradient of `loss`, clipped to norm 1."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    nn.utils.clip_grad_norm_(parameters, _LARGEST_GRADIENT)
    optimizer.step()


def weights_digest(model: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of the weights."""
    digest = hashlib.sha256()
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        digest.update(weight.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
