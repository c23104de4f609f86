"""Prune: versions too old to keep, and parts that nobody will commit. Knows the store, no lake and no model."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from feature_store import Store, UnknownVersion, VersionInfo
from recsys_text.config import Settings
from recsys_text.lake.windows import window_of
from recsys_text.publications import SHADOW, is_before
from recsys_text.steps.inputs import ITEM_VECTORS, USER_VECTORS, VIEW

#: No publication lets so much time pass between two parts of a version.
ABANDONED = timedelta(days=1)


def prune(store: Store, settings: Settings) -> None:
    """Keeps the newest versions of each view, the scores that are still to be measured, and vectors whose scores stay.

    What a publication staged that never came to its commit goes once nobody has written to it for a day and scores of
    a later time are served, as it would be refused for its age. What `score` staged for the present waits.
    """
    keep, listed = settings.publish.keep, store.versions(VIEW)
    if listed:
        store.prune(VIEW, keep, spare=_to_be_measured(listed, settings.windows.span))
    scores = {info.version for info in store.versions(VIEW)}
    served = store.current(VIEW)
    for view in (VIEW, ITEM_VECTORS, USER_VECTORS, SHADOW):
        if view != VIEW and store.versions(view):
            store.prune(view, keep, spare=scores)
        for version, untouched in store.staged(view).items():
            if served is not None and untouched > ABANDONED and is_before(version, served):
                drop(store, view, version)


def drop(store: Store, view: str, version: str) -> None:
    """Removes what is staged under this name, unless it was committed or refused."""
    if version not in {info.version for info in store.versions(view)}:
        with suppress(UnknownVersion):  # where this commit is tried again
            store.delete(view, version)


def _to_be_measured(listed: Sequence[VersionInfo], span: timedelta) -> set[str]:
    """What clicks of the present window, and of the one before it, are held against: the newest as of their starts.

    Refreshes would push them out within the hour, and `keep = 1` the one before at once.
    """
    times = {info.version: info.as_of for info in listed if info.as_of is not None and not info.problem}
    if not times:
        return set()
    start = window_of(max(times.values()), span).start
    before = [[name for name in times if times[name] <= since] for since in (start, start - span)]
    return {max(names, key=lambda name: times[name]) for names in before if names}
