"""The views of one publication, and how they go back together. Knows the store, no model and no config."""

from dataclasses import dataclass

from feature_store import Store, StoreError, VersionInfo

SCORES = "user_scores"
ITEMS = "item_vectors"
USERS = "user_vectors"


@dataclass(frozen=True, kw_only=True)
class Move:
    """What a roll-back did to one view: the version served before, None where its name was damaged, and since."""

    view: str
    before: str | None
    after: str


def roll_back(store: Store, version: str | None = None) -> list[Move]:
    """Serves `version` of the scores, or the one before the served one; returns a move for each view that there is.

    Vectors go back with them, as `go_with` says; where none fit they stay, and readers do not combine them. Raises what
    Store.rollback raises.
    """
    before = _served(store, SCORES)
    scores = store.rollback(SCORES, version)
    moves = [Move(view=SCORES, before=before, after=scores.version)]
    for view in (ITEMS, USERS):
        before = _served(store, view)
        after = go_with(store, view, scores) or before
        if after is not None:
            moves.append(Move(view=view, before=before, after=after))
    return moves


def go_with(store: Store, view: str, scores: VersionInfo) -> str | None:
    """Serves the vectors of the scores' name, else the newest of their model; None where there are none of it."""
    model = scores.metadata.get("model_version")
    whole = [info for info in store.versions(view) if not info.problem]
    fitting = [info.version for info in whole if info.metadata.get("model_version") == model]
    target = scores.version if scores.version in fitting else next(reversed(fitting), None)
    if target is not None and target != _served(store, view):
        store.rollback(view, target)
    return target


def _served(store: Store, view: str) -> str | None:
    try:
        return store.current(view)
    except StoreError:
        # A damaged pointer is what a roll-back by name mends.
        return None
