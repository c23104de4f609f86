"""What a report says, gathered before it is rendered. Knows neither HTML nor where it came from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl


@dataclass(frozen=True, kw_only=True)
class WindowRow:
    """A window of the lake; `role` is "older", "learned from", "tested on" or "later"."""

    key: str
    role: str
    events: int
    items: int
    impressions: int
    rejected: int
    duplicates: int


@dataclass(frozen=True, kw_only=True)
class Listed:
    """An item in a list: its calibrated click probability, and whether it was the one clicked."""

    title: str
    score: float
    clicked: bool


@dataclass(frozen=True, kw_only=True)
class Example:
    """One ranked list: what its user had clicked before (the newest last), the head of the list, and where among `of`
    candidates the clicked item stood, with the clicks that it had before the cutoff.
    """

    user: str
    time: str
    history: Sequence[str]
    listed: Sequence[Listed]
    clicked: str
    clicks: int
    place: int
    of: int


@dataclass(frozen=True, kw_only=True)
class Change:
    """A key or metric of the champion and of this version; None where one has none."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, kw_only=True)
class Content:
    """All that a report says of a version. What is empty or None is said to be missing, and why where that is known.

    facts: name and value, for the head. notes: what a reader must know first. rejected: rows by table and rule. curves:
    metric -> (epoch, value). table, reliability: of `steps.evaluate.Measured`; popularity: of
    `evaluation.popularity`. gain: features' shares of the trees' gain; permuted: what nDCG@10 loses without each.
    """

    project: str
    version: str
    facts: Sequence[tuple[str, str]]
    notes: Sequence[str] = ()
    windows: Sequence[WindowRow] = ()
    digests: Mapping[str, str] = field(default_factory=dict)
    rejected: Mapping[str, int] = field(default_factory=dict)
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    table: pl.DataFrame | None = None
    reliability: pl.DataFrame | None = None
    popularity: pl.DataFrame | None = None
    gain: Mapping[str, float] = field(default_factory=dict)
    permuted: Mapping[str, float] = field(default_factory=dict)
    good: Sequence[Example] = ()
    bad: Sequence[Example] = ()
    champion: str | None = None
    configuration: Sequence[Change] = ()
    metrics: Sequence[Change] = ()
    verdict: Mapping[str, str] = field(default_factory=dict)
