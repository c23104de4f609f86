"""What `recsys-text tune` may change and within which bounds. Knows settings, no sampler and no data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Value = float | int | str | bool


@dataclass(frozen=True, kw_only=True)
class Range:
    """Real numbers from `low` to `high`; evenly in their logarithm where `low` is above 0."""

    low: float
    high: float

    def with_present(self, value: Value) -> "Range":
        return Range(low=min(self.low, float(value)), high=max(self.high, float(value)))


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of a few values."""

    values: tuple[Value, ...]

    def with_present(self, value: Value) -> "Choice":
        return self if value in self.values else Choice(values=(*self.values, value))


#: Keys of the configuration by section. `negatives` is not among them: they make the loss and nDCG of an epoch easier
#: or harder, so that trials could no longer be compared while they train. Nor is what bounds time and memory alone.
SPACE: Mapping[str, Range | Choice] = {
    "model.embedding": Choice(values=(32, 64, 128)),
    "model.channels": Choice(values=(16, 32, 64)),
    "model.rnn": Choice(values=("rnn", "lstm", "gru")),
    "model.hidden": Choice(values=(16, 32, 64)),
    "model.dim": Choice(values=(32, 64, 128)),
    "model.dropout": Range(low=0.0, high=0.5),
    "model.history": Choice(values=(5, 10, 20, 30)),
    "training.pretrain_epochs": Choice(values=(0, 5, 10, 20)),
    "training.distillation": Range(low=0.0, high=3.0),
    "training.epochs": Choice(values=(1, 2, 3, 5, 8)),
    "training.batch_size": Choice(values=(128, 256, 512, 1024)),
    "training.learning_rate": Range(low=5e-4, high=8e-3),
    "training.weight_decay": Range(low=1e-4, high=1e-1),
    "training.blend_windows": Choice(values=(1, 3, 7, 20, 60)),
    "training.blend_candidates": Choice(values=(30, 60, 120, 300)),
    "blend.kind": Choice(values=("lightgbm", "mlp", "both")),
}


def present(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Value]:
    """The value of each key of the space in settings as nested mappings."""
    return {key: settings[key.partition(".")[0]][key.partition(".")[2]] for key in SPACE}


def space_around(values: Mapping[str, Value]) -> dict[str, Range | Choice]:
    """The space, widened where one of the values is outside: the present configuration is always one of its points."""
    return {key: SPACE[key].with_present(value) for key, value in values.items()}


def changed(settings: Mapping[str, Any], values: Mapping[str, Value]) -> dict[str, Any]:
    """A copy of nested mappings with the values put in; sections that are missing are added."""
    result = {name: dict(section) if isinstance(section, Mapping) else section for name, section in settings.items()}
    for key, value in values.items():
        section, _, name = key.partition(".")
        result.setdefault(section, {})[name] = value
    return result
