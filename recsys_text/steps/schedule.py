"""Whether scheduled training should run, and where it starts. Knows the lake's windows and the versions, no model."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from recsys_text import __version__
from recsys_text.config import Settings
from recsys_text.sections.base import Section
from recsys_text.steps.alerts import asks_for_training
from recsys_text.steps.inputs import tracker, windows_of
from recsys_text.steps.lineage import config_of, cutoff_of, cutoffs
from recsys_text.tracking import CHALLENGER, CHAMPION

#: Windows that a training needs before its cutoff: of text, of the blend, and one before both.
_LEARNED = 3


def due(settings: Settings) -> tuple[bool, str]:
    """Whether scheduled training should run now, and why: no model yet, an alert, or `training.every` new windows.

    Counted is from the cutoff of the newest model, whatever became of it, to that of one trained now.
    """
    registry, least = tracker(settings), _LEARNED + settings.evaluation.windows
    known = cutoffs(registry)
    if not known or all(registry.version(alias) is None for alias in (CHALLENGER, CHAMPION)):
        return len(windows_of(settings)) >= least, f"there is no model yet; the first needs {least} windows"
    version, cutoff = max(known.items(), key=lambda told: (told[1], int(told[0])))
    if (reason := asks_for_training(settings, cutoff, _next_cutoff(settings))) is not None:
        return True, f"an alert asks for it: {reason}"
    behind = (_next_cutoff(settings) - cutoff) // settings.windows.span
    return (
        behind >= settings.training.every,
        f"version {version} is {behind} of {settings.training.every} windows behind",
    )


def unjudged(settings: Settings) -> Mapping[str, str] | None:
    """The challenger that the gate has not judged, as {"version", "run_id", "cutoff"}; None where there is none.

    A training that was stopped after it had registered its model leaves one.
    """
    registry = tracker(settings)
    version = registry.version(CHALLENGER)
    if version is None or any(key.startswith("gate.") for key in registry.tags(version)):
        return None
    return {
        "version": version,
        "run_id": registry.run_of(version)[0],
        "cutoff": cutoff_of(registry, version).isoformat(),
    }


def starts_warm(settings: Settings) -> tuple[bool, str]:
    """Whether training that is scheduled now starts from the champion, and why; see `training.full_every`."""
    every, registry = settings.training.full_every, tracker(settings)
    if every is None:
        return False, "training.full_every is not set, so every training is a whole one"
    champion = registry.version(CHAMPION)
    if champion is None:
        return False, "there is no champion to start from"
    made_by = registry.run_of(champion)[1].get("recsys_text")
    if made_by != __version__:  # its blend may know other features
        return False, f"champion {champion} was trained by recsys-text {made_by}, and this is {__version__}"
    config = config_of(registry, champion) or {}
    if not (_goes_on(config.get("model", {}), settings.model) and _goes_on(config.get("blend", {}), settings.blend)):
        return False, f"champion {champion} is not known to be of this [model] and [blend]"
    cutoff = _next_cutoff(settings)
    if cutoff_of(registry, champion) >= cutoff:
        return False, f"champion {champion} has seen every window before {cutoff:%Y-%m-%dT%H:%MZ}"
    # Also one that was refused: it was the chance of a whole training, and the next comes N windows later.
    behind = (cutoff - max(cutoffs(registry, whole=True).values())) // settings.windows.span
    return behind < every, f"the last whole training is {behind} windows old, and full_every = {every}"


def _goes_on(recorded: Mapping[str, Any], section: Section) -> bool:
    """Whether a section says what was recorded of a version's; with what it leaves open a warm start goes on."""
    said = section.model_dump(mode="json", exclude=set(section.AUTO - section.model_fields_set))
    return {name: recorded.get(name) for name in said} == said


def _next_cutoff(settings: Settings) -> datetime:
    """The cutoff of a training that is scheduled now, which leaves the newest windows to the test."""
    return windows_of(settings)[-settings.evaluation.windows :][0].start
