"""The scores now served, and how they follow the store. Knows no HTTP."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from feature_store import Reader, Row, Snapshot, StoreError, UnknownVersion, open_store, shown_url
from recsys_text.errors import UnavailableError

VIEW = "user_scores"

_COLUMNS = {"item_id", "score", "interest"}
_FOLLOW_SECONDS = 0.25
# Opening reads a version whole, so that a damaged one is not tried at every look.
_RETRY_SECONDS = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Served:
    """A version of the scores and the time that it speaks of; of its publication where that is not told."""

    version: str
    as_of: datetime

    @property
    def age_seconds(self) -> float:
        return max(0.0, (datetime.now(UTC) - self.as_of).total_seconds())


class Scores:
    """The view `user_scores` of one store.

    Requests read a pinned version. A new one is opened and verified in a thread of its own, and takes
    its place whole, so that no request waits for a swap. A store that is out of reach, holds no
    version or a damaged one changes nothing of what is served: `problem` says why, `errors` counts.
    """

    def __init__(self, store_url: str) -> None:
        self.problem: str | None = None
        self.errors = 0
        self._url = store_url
        self._reader: Reader | None = None
        self._pinned: tuple[Snapshot, Served] | None = None

    def lookup(self, user_id: str) -> tuple[Served, Row | None]:
        """The row of a user, None for an unknown one, and the version that it is from.

        Raises UnavailableError with the reason while no version is served, or the store doesn't answer.
        """
        if self._pinned is None:
            raise UnavailableError(self.problem or "the scores are not open yet")
        snapshot, served = self._pinned
        try:
            return served, snapshot.get(user_id)
        except StoreError as error:
            raise UnavailableError(str(error)) from error

    @property
    def served(self) -> Served | None:
        return self._pinned and self._pinned[1]

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Looks at the store once before it yields, and then on and on until it is left."""
        healthy = await asyncio.to_thread(self.refresh)
        task = asyncio.create_task(self._follow(healthy))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    def refresh(self) -> bool:
        """One look at the store; False where it failed. Raises nothing: the next look may go better."""
        try:
            self._look()
        except UnknownVersion as error:
            self.problem = str(error)
            return True
        except StoreError as error:
            self.problem = str(error)
        except Exception as error:
            _log.exception("a look at %s failed", shown_url(self._url))
            self.problem = f"cannot read {shown_url(self._url)}: {type(error).__name__}"
        else:
            self.problem = None
            return True
        self.errors += 1
        return False

    def _look(self) -> None:
        if self._reader is None:
            self._reader = open_store(self._url).reader(VIEW)
        snapshot = self._reader.snapshot()
        if self._pinned is None or snapshot is not self._pinned[0]:
            info, schema = snapshot.info, snapshot.schema
            if str(schema.field(0).type) != "string" or not set(schema.names) >= _COLUMNS:
                raise StoreError(
                    f"version '{info.version}' of {VIEW} has the columns {schema.names}; "
                    f"the service needs a string key and {sorted(_COLUMNS)}"
                )
            self._pinned = snapshot, Served(version=info.version, as_of=info.as_of or info.created_at)
        if self._reader.error is not None:
            raise StoreError(str(self._reader.error))

    async def _follow(self, healthy: bool) -> None:
        while True:
            await asyncio.sleep(_FOLLOW_SECONDS if healthy else _RETRY_SECONDS)
            healthy = await asyncio.to_thread(self.refresh)
