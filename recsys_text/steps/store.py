"""Versions and roll-back of what is published. Knows the store, no model."""

from feature_store import VersionInfo
from recsys_text.config import Settings
from recsys_text.publications import roll_back
from recsys_text.steps.inputs import VIEW, the_store


def versions(settings: Settings) -> tuple[list[VersionInfo], str | None]:
    """Every published version of the scores, oldest first, and the name of the served one."""
    with the_store(settings) as store:
        return store.versions(VIEW), store.current(VIEW)


def rollback(settings: Settings, version: str | None = None) -> str:
    """Serves `version` of the scores, or the one before the served one, and its vectors; returns its name."""
    with the_store(settings) as store:
        return roll_back(store, version)[0].after
