"""Versions and roll-back of what is published. Knows the store, no model."""

from feature_store import Store, VersionInfo
from recsys_text.config import Settings
from recsys_text.steps.inputs import ITEM_VECTORS, USER_VECTORS, VIEW, the_store


def versions(settings: Settings) -> tuple[list[VersionInfo], str | None]:
    """Every published version of the scores, oldest first, and the name of the served one."""
    with the_store(settings) as store:
        return store.versions(VIEW), store.current(VIEW)


def rollback(settings: Settings, version: str | None = None) -> str:
    """Serves `version` of the scores, or the one before the served one; returns its name.

    Vectors go back with them: to the version of that name, else to the newest of the same model; where there is none
    they stay, and readers do not combine them.
    """
    with the_store(settings) as store:
        scores = store.rollback(VIEW, version)
        for view in (ITEM_VECTORS, USER_VECTORS):
            go_with(store, view, scores)
        return scores.version


def go_with(store: Store, view: str, scores: VersionInfo) -> None:
    """Serves the vectors of the scores' name, else the newest of their model; where there are none, what is served."""
    model = scores.metadata.get("model_version")
    whole = [info for info in store.versions(view) if not info.problem]
    fitting = [info.version for info in whole if info.metadata.get("model_version") == model]
    target = scores.version if scores.version in fitting else next(reversed(fitting), None)
    if target is not None and target != store.current(view):
        store.rollback(view, target)
