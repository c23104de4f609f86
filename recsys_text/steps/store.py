"""Versions and roll-back of what is published. Knows the store, no model."""

from feature_store import VersionInfo, shown_url
from feature_store.rules import previous_version
from recsys_text.config import Settings
from recsys_text.publications import SHADOW, roll_back
from recsys_text.steps.inputs import ITEM_VECTORS, USER_VECTORS, VIEW, the_store


def versions(settings: Settings) -> dict[str, tuple[list[VersionInfo], str | None]]:
    """Of each view every published or refused version, oldest first, and the name of the served one; the scores first.

    A view of which there is none is left out.
    """
    with the_store(settings) as store:
        shown = VIEW, ITEM_VECTORS, USER_VECTORS, SHADOW
        views = {view: (store.versions(view), store.current(view)) for view in shown}
    return {view: listed for view, listed in views.items() if listed[0]}


def previous(settings: Settings) -> str:
    """The version of the scores that a roll-back without a name goes back to. Raises ConfigError without one."""
    with the_store(settings) as store:
        return previous_version(VIEW, shown_url(settings.store_url), store.current(VIEW), store.versions(VIEW))


def rollback(settings: Settings, version: str | None = None, *, shadow: bool = False) -> str:
    """Serves `version` of the scores, or the one before the served one, and its vectors; returns its name.

    shadow: of the challenger's scores instead, which have no vectors.
    """
    with the_store(settings) as store:
        if shadow:
            return store.rollback(SHADOW, version).version
        return roll_back(store, version)[0].after
