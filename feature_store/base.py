"""The contract of every feature store: what a backend promises. Knows no backend.

A view is a named table with one key column. A version is one immutable publication of a view: it is
staged in parts by any number of writers, committed as a whole, and then served until another one is.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Protocol, Self

from feature_store.errors import InvalidInput, StoreError
from feature_store.row import Row
from feature_store.validate import Checks

Key = str | int


@dataclass(frozen=True, kw_only=True)
class VersionInfo:
    """One committed version: `rows` keys in `bytes` bytes; `sequence` counts the commits of a view.

    `metadata` is what the publisher said; `as_of` in it (ISO 8601) is the time the data speaks of.
    `problem` says why a version can't be served and is empty otherwise. Where it is `refused`, a rule of its
    commit was broken, and it waits uncommitted; else its manifest is damaged, and nothing but the name and the
    time of the folder is known of it.
    """

    view: str
    version: str
    created_at: datetime
    rows: int
    bytes: int
    sequence: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""
    refused: bool = False

    @property
    def as_of(self) -> datetime | None:
        """The time the data speaks of, in UTC; None when the publisher gave none."""
        return parse_as_of(self.metadata)


def parse_as_of(metadata: Mapping[str, str]) -> datetime | None:
    """Reads `as_of` from metadata; a time without an offset is UTC. Raises InvalidInput if it's no time."""
    text = metadata.get("as_of")
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(f"as_of '{text}' is not an ISO 8601 time; write it as 2014-03-18T00:00Z") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


@dataclass(frozen=True, kw_only=True)
class Described:
    """What the manifest of a version says in every backend; `refused` is the rule that it broke, or empty."""

    view: str
    version: str
    sequence: int
    created_at: datetime
    rows: int
    metadata: Mapping[str, str]
    refused: str = ""

    def info_of(self, size: int) -> VersionInfo:
        """As others see it; `size` is its bytes."""
        return VersionInfo(
            view=self.view,
            version=self.version,
            created_at=self.created_at,
            rows=self.rows,
            bytes=size,
            sequence=self.sequence,
            metadata=self.metadata,
            problem=self.refused,
            refused=bool(self.refused),
        )


class Snapshot(Protocol):
    """One version, verified and pinned: it answers alike for as long as it's held."""

    @property
    def info(self) -> VersionInfo: ...

    @property
    def schema(self) -> Any:
        """The view's Arrow schema as it is kept, the key first (see `schema.portable_schema`)."""

    def get(self, key: Key) -> Row | None:
        """The row of `key`, a mapping of Python values by column name, or None for an unknown key.

        Raises InvalidInput when the key is not of the view's key type.
        """

    def get_many(self, keys: Sequence[Key]) -> Any:
        """A RecordBatch with one row per asked key, in that order; every column of an unknown key's row,
        the key included, is null. Raises InvalidInput when a key is not of the view's key type.
        """

    def batches(self) -> Iterator[Any]:
        """Every row once, as RecordBatches in an order of the backend's own; for views that fit into memory."""


class Serving(Protocol):
    """What every reader, with or without asyncio, says of the version that it serves."""

    @property
    def info(self) -> VersionInfo: ...

    @property
    def version(self) -> str:
        return self.info.version

    @property
    def created_at(self) -> datetime:
        """When it was committed, in UTC."""
        return self.info.created_at

    @property
    def error(self) -> StoreError | None:
        """Why the newest version isn't served, if it isn't."""


class Reader(Serving, Protocol):
    """Answers from the version being served and follows swaps; each call stays within one version.

    When a new version can't be opened, the old one keeps answering and `error` says why.
    """

    @property
    def info(self) -> VersionInfo:
        return self.snapshot().info

    def get(self, key: Key) -> Row | None:
        """As Snapshot.get."""

    def get_many(self, keys: Sequence[Key]) -> Any:
        """As Snapshot.get_many."""

    def snapshot(self) -> Snapshot:
        """The version that answers now, to ask several things of one and the same version."""

    def refresh(self) -> bool:
        """Looks for a newly served version at once; True if it changed what is served here."""


class PartWriter(Protocol):
    """Writes one part. The part exists from the end of the `with` block, and only if that ends well."""

    def write(self, batch: Any) -> None:
        """Adds a RecordBatch. Raises InvalidInput for null keys or a schema unlike the first batch's."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...


class Stage(Protocol):
    """Where the parts of a version wait for its commit."""

    def writer(self, part: str) -> PartWriter:
        """A writer of the named part; a part written again replaces the former whole."""

    def parts(self) -> list[str]:
        """The names of the parts written so far, sorted."""


class Store(Protocol):
    """A feature store. Every method may raise StoreUnavailable, and InvalidInput for a bad name."""

    def begin(self, view: str, version: str) -> Stage:
        """Opens the staging area of a version, new or left by a run that died; idempotent.

        Raises VersionExists when it's committed already.
        """

    def stage(self, view: str, version: str) -> Stage:
        """The staging area that another process began. Raises UnknownVersion or VersionExists."""

    def commit(
        self,
        view: str,
        version: str,
        *,
        expect_parts: Sequence[str],
        metadata: Mapping[str, str],
        checks: Checks | None = None,
    ) -> VersionInfo:
        """Verifies the staged parts and serves the version. All or nothing; may be called again after a failure.

        Where it breaks one of the `checks` it stays staged and is listed as refused: it's never served, may be
        committed again, under other rules or once its parts are written again, and may be deleted. Committing the
        served version again with the same parts and metadata changes nothing. Raises IncompleteVersion, DuplicateKey,
        CorruptVersion, RefusedVersion, OlderVersion, UnknownVersion or VersionExists.
        """

    def views(self) -> list[str]:
        """The names of all views, sorted."""

    def current(self, view: str) -> str | None:
        """The version being served, or None."""

    def versions(self, view: str) -> list[VersionInfo]:
        """Every committed or refused version, oldest first; a damaged one and a refused one have a problem."""

    def staged(self, view: str) -> dict[str, timedelta]:
        """Every version that was begun and neither committed nor refused, and for how long nobody has written to it.

        What nobody writes to any more was left by a publisher that died, or waits for its commit: only publishers know.
        One without a part may count as just written to.
        """

    def rollback(self, view: str, version: str | None = None) -> VersionInfo:
        """Serves a committed version again, by default the one committed before the served one.

        Raises UnknownVersion when there's none, RefusedVersion for one that was refused, CorruptVersion when it fails
        its verification.
        """

    def delete(self, view: str, version: str) -> None:
        """Removes a version, committed or staged, also from under its readers. Raises VersionServed or
        UnknownVersion.
        """

    def prune(self, view: str, keep: int, *, spare: Collection[str] = ()) -> list[str]:
        """Removes all but the newest `keep` committed and the newest `keep` refused versions; returns those removed.

        The served version, those to `spare` and one that a living reader has open, in whatever process, stay.
        """

    def reader(self, view: str) -> Reader:
        """A reader of whatever is served. Raises UnknownVersion when nothing is, or CorruptVersion."""

    def snapshot(self, view: str, version: str | None = None) -> Snapshot:
        """One version, verified, by default the served one. Raises UnknownVersion, RefusedVersion or CorruptVersion."""

    def verify(self, view: str, version: str | None = None) -> VersionInfo:
        """Reads all of a version again, by default of the served one, and looks up each of its keys.

        Raises CorruptVersion naming what is damaged, else as `snapshot`.
        """
