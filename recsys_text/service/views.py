"""The views now served, and how they follow the store together. Knows no HTTP and no ranking."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pyarrow as pa

from feature_store import Reader, Row, Snapshot, StoreError, UnknownVersion, open_store, shown_url
from recsys_text.errors import UnavailableError
from recsys_text.publications import ITEMS, SCORES, USERS, model_of
from recsys_text.service.catalogue import Catalogue
from recsys_text.service.reading import Reading

_COLUMNS = {ITEMS: {"vector", "title", "category", "popular"}, USERS: {"vector", "history"}}
_SCORE_COLUMNS = {"item_id", "score", "interest"}
_FOLLOW_SECONDS = 0.25
# Opening reads a version whole, so that a damaged one is not tried at every look.
_RETRY_SECONDS = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Served:
    """A version of the scores and the time that it speaks of; of its publication where that is not told."""

    version: str
    as_of: datetime
    as_of_text: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "as_of_text", self.as_of.isoformat().replace("+00:00", "Z"))

    @property
    def age_seconds(self) -> float:
        return max(0.0, (datetime.now(UTC) - self.as_of).total_seconds())


@dataclass(frozen=True, kw_only=True)
class UserRows:
    """What the views hold of one user; None where they do not know one."""

    scores: Row | None
    vectors: Row | None


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """What one request is answered from, first to last.

    `items` and `users` are None where the store has no such view; `matched` says whether their vectors are of one
    model, that of the scores where these tell theirs. `others` are the views of scores that arms of experiments name,
    as far as they are published.
    """

    served: Served
    scores: Snapshot
    items: Catalogue | None = None
    users: Snapshot | None = None
    matched: bool = False
    others: Mapping[str, tuple[Served, Snapshot]] = field(default_factory=dict)

    def rows(self, user_id: str) -> UserRows:
        """Waits for the store, so in no event loop. Raises StoreError where it fails."""
        vectors = None if self.users is None else self.users.get(user_id)
        return UserRows(scores=self.scores.get(user_id), vectors=vectors)

    def with_scores(self, view: str) -> "Pinned | None":
        """The same with the scores of another view; None where none of its versions is served."""
        if (other := self.others.get(view)) is None:
            return None
        matched = _matched(self.items, self.users, other[1])
        return replace(self, served=other[0], scores=other[1], matched=matched)


class Views:
    """The views of one store that requests read, pinned together.

    Only the scores must be there. New versions are opened and verified in a thread of its own, and take their place
    whole, so that no request waits for a swap. A publication swaps `user_scores` last, so that until then vectors of
    another model than that of the scores wait for it. A view that is out of reach or damaged changes nothing of what
    is served: `problem` says why, and `count_error` is called at each look that fails.
    """

    def __init__(
        self, store_url: str, *, others: Iterable[str] = (), count_error: Callable[[], None] = lambda: None
    ) -> None:
        self.problem: str | None = None
        self._reading = Reading(store_url)
        self._url = store_url
        self._place = shown_url(store_url)
        self._others = sorted(set(others) - {SCORES})
        self._count_error = count_error
        self._readers: dict[str, Reader] = {}
        self._newest: dict[str, Snapshot] = {}
        self._catalogue: Catalogue | None = None
        self._pinned: Pinned | None = None

    def pinned(self) -> Pinned:
        """Raises UnavailableError with the reason while no scores are served."""
        if self._pinned is None:
            raise UnavailableError(self.problem or "the scores are not open yet")
        return self._pinned

    def scores_of(self, pinned: Pinned, user_id: str) -> Awaitable[Row | None]:
        """The user's row of scores. Raises StoreError where the store fails, UnavailableError where it's too slow."""
        return self._reading.row(pinned.scores, user_id)

    async def rows_of(self, pinned: Pinned, user_id: str) -> UserRows:
        """As `pinned.rows`, and raises as `scores_of`."""
        vectors = None if pinned.users is None else await self._reading.row(pinned.users, user_id)
        return UserRows(scores=await self._reading.row(pinned.scores, user_id), vectors=vectors)

    @property
    def served(self) -> Served | None:
        return None if self._pinned is None else self._pinned.served

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Looks at the store once before it yields, and then on and on until it is left."""
        healthy = await asyncio.to_thread(self.refresh)
        task = asyncio.create_task(self._follow(healthy))
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await self._reading.close()

    def refresh(self) -> bool:
        """One look at the store; False where it failed. Raises nothing: the next look may go better."""
        problems: list[str] = []
        healthy = True
        # Scores are published last and looked at first: whatever belongs to them is seen too.
        for view in (SCORES, *self._others, ITEMS, USERS):
            try:
                self._look(view)
            except UnknownVersion as error:
                if view not in (ITEMS, USERS):
                    problems.append(str(error))
            except StoreError as error:
                healthy = False
                problems.append(str(error))
            except Exception as error:
                _log.exception("a look at %s in %s failed", view, self._place)
                healthy = False
                problems.append(f"cannot read {view} in {self._place}: {type(error).__name__}")
        self._pin()
        self.problem = "; ".join(dict.fromkeys(problems)) or None
        if not healthy:
            self._count_error()
        return healthy

    def _look(self, view: str) -> None:
        """Keeps the newest snapshot that fits. Raises StoreError where a newer one does not."""
        if view not in self._readers:
            self._readers[view] = open_store(self._url).reader(view)
        reader = self._readers[view]
        reader.refresh()
        snapshot = reader.snapshot()
        if snapshot is not self._newest.get(view):
            _check(view, snapshot)
            if view == ITEMS:
                self._catalogue = Catalogue(snapshot)
            self._newest[view] = snapshot
        if reader.error is not None:
            raise StoreError(str(reader.error))

    def _pin(self) -> None:
        scores, users = self._newest.get(SCORES), self._newest.get(USERS)
        if scores is None:
            return
        items = self._catalogue
        before = self._pinned
        if before is not None and scores is before.scores:
            vectors = [self._newest[view] for view in (ITEMS, USERS) if view in self._newest]
            if any(_model(snapshot) != _model(scores) for snapshot in vectors):
                items, users = before.items, before.users
        self._pinned = Pinned(
            served=_served(scores),
            scores=scores,
            items=items,
            users=users,
            matched=_matched(items, users, scores),
            others={
                view: (_served(self._newest[view]), self._newest[view]) for view in self._others if view in self._newest
            },
        )

    async def _follow(self, healthy: bool) -> None:
        while True:
            await asyncio.sleep(_FOLLOW_SECONDS if healthy else _RETRY_SECONDS)
            healthy = await asyncio.to_thread(self.refresh)


def _served(scores: Snapshot) -> Served:
    return Served(version=scores.info.version, as_of=scores.info.as_of or scores.info.created_at)


def _model(snapshot: Snapshot) -> str | None:
    return model_of(snapshot.info)


def _matched(items: Catalogue | None, users: Snapshot | None, scores: Snapshot) -> bool:
    if items is None or users is None or items.match is None or items.model is None:
        return False
    width: int = users.schema.field("vector").type.list_size
    # Matches stand beside the scores of other items in one list, so that they must be on one scale.
    return items.model == _model(users) and items.width == width and _model(scores) in (None, items.model)


def _check(view: str, snapshot: Snapshot) -> None:
    schema, needed = snapshot.schema, _COLUMNS.get(view, _SCORE_COLUMNS)
    fits = str(schema.field(0).type) == "string" and set(schema.names) >= needed
    if not fits or ("vector" in needed and not _is_vector(schema.field("vector").type)):
        raise StoreError(
            f"version '{snapshot.info.version}' of {view} has the columns {schema.names}; the service needs a string "
            f"key and {sorted(needed)}{', the vector of fixed size in half precision' if 'vector' in needed else ''}"
        )


def _is_vector(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) and pa.types.is_float16(kind.value_type))
