"""Versions and roll-back of published scores. Knows the store, no model."""

from feature_store import VersionInfo
from recsys_text.config import Settings
from recsys_text.steps.inputs import VIEW, the_store


def versions(settings: Settings) -> tuple[list[VersionInfo], str | None]:
    """Every published version, oldest first, and the name of the served one."""
    with the_store(settings) as store:
        return store.versions(VIEW), store.current(VIEW)


def rollback(settings: Settings, version: str | None = None) -> str:
    """Serves `version`, or the one before the served one; returns its name."""
    with the_store(settings) as store:
        return store.rollback(VIEW, version).version
