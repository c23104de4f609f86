"""The versions of the three views as the pages list them, and their roll-back. Knows no HTTP and no template."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from feature_store import InvalidInput, StoreError, VersionInfo, open_store
from recsys_text.errors import UnavailableError
from recsys_text.publications import ITEMS, SCORES, USERS, Move, roll_back
from recsys_text.service.views import Views

_FOLLOW_SECONDS = 5.0
_LOOK_SECONDS = 0.05


class Busy(Exception):
    """Another roll-back is under way."""


@dataclass(frozen=True, kw_only=True)
class VersionLine:
    """`chosen`: the store names it as the one to serve; `served`: it is what this process serves."""

    info: VersionInfo
    as_of: datetime | None
    age_seconds: float | None
    chosen: bool
    served: bool


@dataclass(frozen=True, kw_only=True)
class ViewVersions:
    """The versions of a view, the newest first; `problem` says why the store does not tell."""

    view: str
    lines: Sequence[VersionLine] = ()
    problem: str = ""

    def choices(self) -> tuple[list[str], str | None]:
        """What may be served instead, the newest first; and of them the one before the version served now."""
        others = [line for line in self.lines if not line.chosen and not line.info.problem]
        sequence = next((line.info.sequence for line in self.lines if line.chosen), None)
        before = (line.info.version for line in others if sequence is None or line.info.sequence < sequence)
        return [line.info.version for line in others], next(before, None)


class Versions:
    """The versions in one store, and what this process serves of them."""

    def __init__(self, store_url: str, views: Views) -> None:
        self._url = store_url
        self._views = views
        self._alone = threading.Lock()

    def listed(self) -> list[ViewVersions]:
        """All three views; raises nothing."""
        served = self._served()
        return [self._of(view, served.get(view)) for view in (SCORES, ITEMS, USERS)]

    def roll_back(self, version: str) -> list[Move]:
        """Serves `version` of the scores again, and the vectors that belong to it.

        Returns when this process serves it too, or after five seconds. Raises StoreError, and Busy while another
        roll-back is under way.
        """
        if not self._alone.acquire(blocking=False):
            raise Busy
        try:
            moves = roll_back(open_store(self._url), version)
        finally:
            self._alone.release()
        end = time.monotonic() + _FOLLOW_SECONDS
        while any(self._served().get(move.view) != move.after for move in moves) and time.monotonic() < end:
            time.sleep(_LOOK_SECONDS)
        return moves

    def _of(self, view: str, served: str | None) -> ViewVersions:
        try:
            store = open_store(self._url)
            infos = store.versions(view)
        except StoreError as error:
            return ViewVersions(view=view, problem=str(error))
        problem, chosen = "", None
        try:
            chosen = store.current(view)
        except StoreError as error:
            problem = str(error)
        return ViewVersions(
            view=view,
            lines=[_line(info, chosen=chosen, served=served) for info in reversed(infos)],
            problem=problem,
        )

    def _served(self) -> Mapping[str, str]:
        try:
            pinned = self._views.pinned()
        except UnavailableError:
            return {}
        snapshots = {
            SCORES: pinned.scores,
            ITEMS: None if pinned.items is None else pinned.items.snapshot,
            USERS: pinned.users,
        }
        return {view: snapshot.info.version for view, snapshot in snapshots.items() if snapshot is not None}


def _line(info: VersionInfo, *, chosen: str | None, served: str | None) -> VersionLine:
    try:
        as_of = info.as_of
    except InvalidInput:
        as_of = None
    return VersionLine(
        info=info,
        as_of=as_of,
        age_seconds=None if as_of is None else max(0.0, (datetime.now(UTC) - as_of).total_seconds()),
        chosen=info.version == chosen,
        served=info.version == served,
    )
