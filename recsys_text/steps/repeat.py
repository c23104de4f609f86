"""Repeat: the training of a registered version once more, to compare. Registers nothing."""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.fitting import Stages
from recsys_text.model.checkpoint import Checkpoint
from recsys_text.steps.evaluate import figures, measure
from recsys_text.steps.inputs import inputs, tracker
from recsys_text.steps.lineage import as_trained, check_windows, lineage
from recsys_text.steps.train import fitted
from recsys_text.tracking import environment


@dataclass(frozen=True, kw_only=True)
class Repeated:
    """A version, its run, and the names of the bundle's files that came out otherwise: none where all bytes are equal.

    metrics: name to (then, now), both measured now, where some do. changed: what the run ran on to (then, now), where
    it is another now.
    """

    version: str
    run_id: str
    differs: list[str]
    metrics: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    changed: Mapping[str, tuple[str, str]] = field(default_factory=dict)


def repeat(settings: Settings, like: str, *, progress: Stages) -> Repeated:
    """Trains with the sections of the configuration, the plan, the cutoff, the windows, the seed and the parent of a
    version.

    like: a version's number, champion, challenger, or a published version of the scores. Raises ConfigError where there
    is none, ContractError where a window is gone or was changed since, or the run does not tell what it read.
    """
    registry = tracker(settings)
    found = lineage(settings, registry, like)
    check_windows(settings, found)
    then = as_trained(settings, found)
    before = inputs(then, only=found.windows)
    former = registry.bundle(found.version)
    with tempfile.TemporaryDirectory(prefix="recsys-text-") as scratch:
        folder = Path(scratch)
        checkpoint = Checkpoint(folder / "checkpoint")
        bundle, *_ = fitted(
            then,
            before,
            found.cutoff,
            registry,
            found.parent,
            checkpoint=checkpoint,
            progress=progress,
            plan=Bundle.load(former).plan,
        )
        bundle.save(folder / "bundle")
        own, other = _checksums(folder / "bundle"), _checksums(former)
    differs = sorted(name for name in own.keys() | other.keys() if own.get(name) != other.get(name))
    metrics: dict[str, tuple[float, float]] = {}
    if differs:
        one, two = (figures(measure(settings, each, progress=progress).table) for each in (Bundle.load(former), bundle))
        metrics = {name: (one[name], two[name]) for name in one if name in two and name.startswith("score/")}
    now = environment()
    changed = {
        name: (found.environment[name], now.get(name, "none"))
        for name in sorted(found.environment.keys() & now.keys())
        if found.environment[name] != now[name]
    }
    return Repeated(version=found.version, run_id=found.run_id, differs=differs, metrics=metrics, changed=changed)


def _checksums(folder: Path) -> dict[str, str]:
    return dict(json.loads((folder / "bundle.json").read_text())["sha256"])
