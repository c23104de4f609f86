"""Where the data come from and how time divides them: project, sources, windows, candidates."""

from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from recsys_text.event_types import POSITIVE_TYPES, EventType
from recsys_text.lake.windows import parse_duration
from recsys_text.sections.base import Duration, Section


class Project(Section):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    root: Path = Path("var")

    @field_validator("root", mode="before")
    @classmethod
    def _local(cls, root: Any) -> Any:
        if "://" in str(root):
            raise ValueError("the root is a local folder for now; sources may be at any address")
        return root


class Source(Section):
    """Where a table of the lake comes from.

    `columns` maps a column of the lake to the source's own name, or to "" where the source's column of that name is not
    to be read; `values` gives a constant column.
    `min_rows` refuses a window with fewer rows; `max_rejected` is the share of a window's rows that
    may break the contract. Impressions without a column `clicked` get it from the events: an item was clicked where
    its user had a positive event with it at most `clicks_within` after it was shown.

    where: an SQL expression over a file's own columns (polars' dialect); the other rows are left out.
    separator: what stands between the columns of a CSV file; found in its first lines where it is not given.
    nulls: texts that mean that there is no value; each format has a default of its own (see `sources.nulls`).
    time_unit: of times that are numbers since 1970-01-01 UTC; such times are refused without it.
    event_types: the source's own type -> a type of the contract; events only.
    positive: the types that say that a user wanted the item, others are consumption alone; events only.
    feed: whether each read of the items is all of them ("snapshot"), so that what is absent has left, or what changed
    since the last one by `updated_at` ("changes"); items only. grace: how many windows an item may be absent from
    snapshots before it has left.
    """

    kind: Literal["file", "sql"]
    path: str | None = None
    uri: str | None = None
    conn_id: str | None = None
    query: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    values: dict[str, str] = Field(default_factory=dict)
    time_zone: str | None = None
    min_rows: int = Field(default=0, ge=0)
    max_rejected: float = Field(default=0.05, ge=0, le=1)
    clicks_within: Duration | None = None
    where: str | None = None
    separator: str | None = Field(default=None, min_length=1, max_length=1)
    nulls: tuple[str, ...] | None = None
    time_unit: Literal["s", "ms", "us"] | None = None
    event_types: dict[str, EventType] = Field(default_factory=dict)
    positive: tuple[EventType, ...] = POSITIVE_TYPES
    feed: Literal["snapshot", "changes"] = "snapshot"
    grace: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        foreign = {"file": ("uri", "conn_id", "query"), "sql": ("path", "where", "separator")}[self.kind]
        for key in foreign:
            if getattr(self, key) is not None:
                raise ValueError(f"a source of kind '{self.kind}' takes no {key}")
        if self.kind == "file" and self.path is None:
            raise ValueError("a source of kind 'file' needs a path")
        if self.kind == "sql" and (self.query is None or (self.uri is None) == (self.conn_id is None)):
            raise ValueError("a source of kind 'sql' needs a query, and either a uri or a conn_id")
        return self

    def left_out(self) -> frozenset[str]:
        """The columns of the lake that the source has not, whatever its columns are called."""
        return frozenset(name for name, own in self.columns.items() if not own)


#: Keys that only the source of one table takes.
_OWNERS = {"event_types": "events", "positive": "events", "feed": "items", "grace": "items"}


class Sources(Section):
    """`impressions` are optional: where they are logged, they are learnt from and measured on instead of pools."""

    items: Source
    events: Source
    impressions: Source | None = None

    @model_validator(mode="after")
    def _clicks_of_impressions(self) -> Self:
        if self.items.clicks_within is not None or self.events.clicks_within is not None:
            raise ValueError("clicks_within is of sources.impressions alone")
        for table, source in self:
            for key, owner in _OWNERS.items():
                if source is not None and table != owner and key in source.model_fields_set:
                    raise ValueError(f"{key} is of sources.{owner} alone")
        return self


class Windows(Section):
    length: Literal["7d", "1d", "1h"] = "1d"
    late: int = Field(default=1, ge=0)

    @property
    def span(self) -> timedelta:
        return parse_duration(self.length)


class Candidates(Section):
    """Which items are ranked for a user at a time; see `ranking.candidates`. repeat: also those that the user had.

    What is not set is decided from the training windows; see `fitting.recipe`.
    """

    AUTO: ClassVar[frozenset[str]] = frozenset({"pool", "active", "fresh", "repeat"})

    pool: Literal["alive", "all"] = "alive"
    active: Duration = timedelta(hours=24)
    fresh: Duration = timedelta(hours=24)
    repeat: bool = False
