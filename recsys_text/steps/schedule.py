"""Whether scheduled training should run, and where it starts. Knows the lake's windows and the versions, no model."""

from datetime import datetime

from recsys_text import __version__
from recsys_text.config import Settings
from recsys_text.steps.alerts import asks_for_training
from recsys_text.steps.inputs import tracker, windows_of
from recsys_text.steps.lineage import config_of, cutoff_of, whole_cutoff
from recsys_text.tracking import CHALLENGER, CHAMPION


def due(settings: Settings) -> tuple[bool, str]:
    """Whether scheduled training should run now, and why: no model yet, an alert, or `training.every` new windows."""
    newest = windows_of(settings)[-1]
    registry = tracker(settings)
    versions = [version for alias in (CHALLENGER, CHAMPION) if (version := registry.version(alias)) is not None]
    if not versions:
        return len(windows_of(settings)) > 3, "there is no model yet; the first needs four windows"
    version = max(versions, key=int)
    cutoff = cutoff_of(registry, version)
    if (reason := asks_for_training(settings, cutoff, _next_cutoff(settings))) is not None:
        return True, f"an alert asks for it: {reason}"
    behind = (newest.start - cutoff) // settings.windows.span
    return (
        behind >= settings.training.every,
        f"version {version} is {behind} of {settings.training.every} windows behind",
    )


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
    config, now = config_of(registry, champion), settings.model_dump(mode="json", include={"model", "blend"})
    if config is None or {name: config.get(name) for name in now} != now:
        return False, f"champion {champion} is not known to be of this [model] and [blend]"
    cutoff = _next_cutoff(settings)
    if cutoff_of(registry, champion) >= cutoff:
        return False, f"champion {champion} has seen every window before {cutoff:%Y-%m-%dT%H:%MZ}"
    behind = (cutoff - whole_cutoff(registry, champion)) // settings.windows.span
    reason = f"the last whole training of champion {champion} is {behind} windows old, and full_every = {every}"
    return behind < every, reason


def _next_cutoff(settings: Settings) -> datetime:
    """The cutoff of a training that is scheduled now, which leaves the newest windows to the test."""
    return windows_of(settings)[-settings.evaluation.windows :][0].start
