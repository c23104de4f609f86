"""Where the data come from and how time divides them: project, sources, windows, candidates."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

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

    `columns` maps a column of the lake to the source's own name; `values` gives a constant column.
    `min_rows` refuses a window with fewer rows; `max_rejected` is the share of a window's rows that
    may break the contract. Impressions without a column `clicked` get it from the events: an item was clicked where
    its user had a positive event with it at most `clicks_within` after it was shown.
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

    @model_validator(mode="after")
    def _complete(self) -> Self:
        foreign = {"file": ("uri", "conn_id", "query"), "sql": ("path",)}[self.kind]
        for key in foreign:
            if getattr(self, key) is not None:
                raise ValueError(f"a source of kind '{self.kind}' takes no {key}")
        if self.kind == "file" and self.path is None:
            raise ValueError("a source of kind 'file' needs a path")
        if self.kind == "sql" and (self.query is None or (self.uri is None) == (self.conn_id is None)):
            raise ValueError("a source of kind 'sql' needs a query, and either a uri or a conn_id")
        return self


class Sources(Section):
    """`impressions` are optional: where they are logged, they are learnt from and measured on instead of pools."""

    items: Source
    events: Source
    impressions: Source | None = None

    @model_validator(mode="after")
    def _clicks_of_impressions(self) -> Self:
        if self.items.clicks_within is not None or self.events.clicks_within is not None:
            raise ValueError("clicks_within is of sources.impressions alone")
        return self


class Windows(Section):
    length: Literal["1d", "1h"] = "1d"
    late: int = Field(default=1, ge=0)

    @property
    def span(self) -> timedelta:
        return parse_duration(self.length)


class Candidates(Section):
    pool: Literal["alive", "all"] = "alive"
    active: Duration = timedelta(hours=24)
    fresh: Duration = timedelta(hours=24)
