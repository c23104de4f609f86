"""Whether scheduled training should run. Knows the lake's windows and the registered versions, no model."""

from datetime import datetime

from recsys_text.config import Settings
from recsys_text.steps.alerts import asks_for_training
from recsys_text.steps.inputs import tracker, windows_of
from recsys_text.tracking import CHALLENGER, CHAMPION


def due(settings: Settings) -> tuple[bool, str]:
    """Whether scheduled training should run now, and why: no model yet, an alert, or `training.every` new windows."""
    newest = windows_of(settings)[-1]
    registry = tracker(settings)
    versions = [version for alias in (CHALLENGER, CHAMPION) if (version := registry.version(alias)) is not None]
    if not versions:
        return len(windows_of(settings)) > 3, "there is no model yet; the first needs four windows"
    version = max(versions, key=int)
    cutoff = datetime.fromisoformat(registry.tags(version)["cutoff"])
    if (reason := asks_for_training(settings, cutoff)) is not None:
        return True, f"an alert asks for it: {reason}"
    behind = (newest.start - cutoff) // settings.windows.span
    return (
        behind >= settings.training.every,
        f"version {version} is {behind} of {settings.training.every} windows behind",
    )
