"""Prune: versions too old to keep, and parts that nobody will commit. Knows the store, no lake and no model."""

from contextlib import suppress
from datetime import timedelta

from feature_store import Store, UnknownVersion
from recsys_text.publications import named_time
from recsys_text.steps.inputs import ITEM_VECTORS, USER_VECTORS, VIEW

#: No publication lets so much time pass between two parts of a version.
ABANDONED = timedelta(days=1)


def prune(store: Store, keep: int) -> None:
    """Keeps the newest versions of each view, and of the vectors those that go with scores that are kept.

    What a publication staged that never came to its commit goes once nobody has written to it for a day and scores of
    a later time are served, as it would be refused for its age. What `score` staged for the present waits.
    """
    if store.versions(VIEW):
        store.prune(VIEW, keep)
    scores = {info.version for info in store.versions(VIEW)}
    served = store.current(VIEW)
    for view in (VIEW, ITEM_VECTORS, USER_VECTORS):
        if view != VIEW and store.versions(view):
            store.prune(view, keep, spare=scores)
        for version, untouched in store.staged(view).items():
            if served is not None and untouched > ABANDONED and _is_before(version, served):
                drop(store, view, version)


def drop(store: Store, view: str, version: str) -> None:
    """Removes what is staged under this name, unless it was committed or refused."""
    if version not in {info.version for info in store.versions(view)}:
        with suppress(UnknownVersion):  # where this commit is tried again
            store.delete(view, version)


def _is_before(version: str, served: str) -> bool:
    time, newer = named_time(version), named_time(served)
    return time is not None and newer is not None and time < newer
