"""The views of one publication: their name, and how they go back together. Knows the store, no model and no config."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from feature_store import CorruptVersion, Store, StoreError, UnknownVersion, VersionInfo

SCORES = "user_scores"
ITEMS = "item_vectors"
USERS = "user_vectors"
#: The challenger's scores, beside those that are served: what is measured against them, and what experiments may name.
SHADOW = "user_scores_shadow"

#: What the name of a version begins with: names sort by the time of which they speak.
_TIME = "%Y%m%dT%H%M%SZ"


def version_name(as_of: datetime, model_version: str, digest: str) -> str:
    """The name of what a model says as of a time, in UTC.

    model_version: for people alone. digest: of all else that it is made of, the run that made the model too.
    """
    return f"{as_of.astimezone(UTC):{_TIME}}-m{model_version}-{digest[:12]}"


def named_time(version: str) -> datetime | None:
    """The time of which a version speaks by its name; None where `version_name` did not make it."""
    try:
        return datetime.strptime(version.partition("-m")[0], _TIME).replace(tzinfo=UTC)
    except ValueError:
        return None


def model_of(info: VersionInfo) -> str | None:
    """The model that made a version: its run in MLflow. Two versions are of one model where these are equal.

    A registered version's number is unique within one registry only, and a new registry counts from 1 again. What an
    older release published tells nothing but the number, which equals no run: it goes with what is as old alone.
    """
    return run_of(info) or info.metadata.get("model_version")


def run_of(info: VersionInfo) -> str | None:
    """The run in MLflow that made the model of a version; None where an older release published it."""
    return info.metadata.get("model_run")


def is_before(version: str, other: str) -> bool:
    """Whether a version speaks of an earlier time than another, by their names."""
    time, later = named_time(version), named_time(other)
    return time is not None and later is not None and time < later


def same_but_time(version: str, other: str) -> bool:
    """Whether two versions are made of the same, and only speak of different times."""
    return named_time(version) is not None and version.partition("-")[2] == other.partition("-")[2]


@dataclass(frozen=True, kw_only=True)
class Move:
    """What a roll-back did to one view: the version served before, None where its name was damaged, and since."""

    view: str
    before: str | None
    after: str


def roll_back(store: Store, version: str | None = None) -> list[Move]:
    """Serves `version` of the scores, or the one before the served one; returns a move for each view that there is.

    Vectors go back with them, as `vectors_go_with` says. Raises what Store.rollback raises.
    """
    before = _served(store, SCORES)
    scores = store.rollback(SCORES, version)
    return [Move(view=SCORES, before=before, after=scores.version), *vectors_go_with(store, scores)]


def vectors_go_with(store: Store, scores: VersionInfo, first: Mapping[str, str | None] | None = None) -> list[Move]:
    """Serves vectors that go with the scores, as `go_with` says, of each view `first`; where none fit they stay.

    Readers do not combine those that stay. A view that fails keeps no other from its turn: its error is raised last.
    """
    moves, failures = [], []
    for view in (ITEMS, USERS):
        before = _served(store, view)
        try:
            after = go_with(store, view, scores, first=(first or {}).get(view)) or before
        except StoreError as error:
            failures.append(error)
            continue
        if after is not None:
            moves.append(Move(view=view, before=before, after=after))
    if failures:
        raise failures[0]
    return moves


def go_with(store: Store, view: str, published: VersionInfo, *, first: str | None = None) -> str | None:
    """Serves vectors of the model of `published`, a version of another view; returns their name, None where none fit.

    Of those of its model: `first`, else those of its name, else the newest ones. Damaged ones are passed over, and
    where none fit what is served stays.
    """
    model = model_of(published)
    whole = [info for info in reversed(store.versions(view)) if not info.problem]
    fitting = [info.version for info in whole if model_of(info) == model]
    wanted = [name for name in (first, published.version) if name in fitting]
    for version in dict.fromkeys([*wanted, *fitting]):
        if version == _served(store, view):
            return version
        with suppress(CorruptVersion, UnknownVersion):  # damaged, or deleted since it was listed
            store.rollback(view, version)
            return version
    return None


def found(store: Store, view: str, version: str | None) -> VersionInfo | None:
    """What was committed under this name; what was refused wasn't."""
    return next((info for info in store.versions(view) if info.version == version and not info.refused), None)


def _served(store: Store, view: str) -> str | None:
    try:
        return store.current(view)
    except StoreError:
        # A damaged pointer is what a roll-back by name mends.
        return None
