"""The contract of every table of the lake. Knows columns and rules, no paths and no sources."""

from collections.abc import Sequence

import dataframely as dy
import polars as pl

from recsys_text.event_types import EVENT_TYPES, POSITIVE_TYPES, EventType

SCHEMA_VERSION = 2
#: What is written, and what is read beside it: windows of version 1 have the same rows, and no snapshots they share.
READABLE_VERSIONS = (1, SCHEMA_VERSION)


def is_positive(types: Sequence[EventType] = POSITIVE_TYPES) -> pl.Expr:
    """Whether an event's type is one of those that say that a user wanted the item."""
    return pl.col("event_type").cast(pl.String).is_in(types)


#: The columns that a row carries besides its contract's: the rule that it broke and the value that broke it.
RULE = "rule"
OFFENDER = "offender"
#: The rules that a row breaks as a whole, and what they say of it.
WRONG_WIDTH, NO_OBJECT, NO_UTF_8 = "row|columns", "row|json", "row|utf-8"
UNREAD_ROWS = {
    WRONG_WIDTH: "which has not as many values as the file has columns",
    NO_OBJECT: "which is no JSON object",
    NO_UTF_8: "which is not UTF-8; save the file as UTF-8",
}

_ID_LENGTH = 256


def _time(*, nullable: bool) -> dy.Datetime:
    return dy.Datetime(time_unit="us", time_zone="UTC", nullable=nullable)


class Items(dy.Schema):
    """One version of an item: the newest `updated_at` of an item_id is its present state."""

    item_id = dy.String(primary_key=True, min_length=1, max_length=_ID_LENGTH)
    title = dy.String(nullable=False)
    description = dy.String(nullable=True)
    tags = dy.List(dy.String(nullable=False), nullable=False)
    category = dy.String(nullable=True)
    published_at = _time(nullable=True)
    expires_at = _time(nullable=True)
    updated_at = _time(nullable=False)

    @dy.rule()
    def has_text(cls) -> pl.Expr:
        return pl.concat_str("title", pl.col("description").fill_null(""), pl.col("tags").list.join(" ")).str.contains(
            r"\w"
        )

    @dy.rule()
    def expires_after_published(cls) -> pl.Expr:
        return (pl.col("expires_at") > pl.col("published_at")).fill_null(True)


class SnapshotItems(Items):
    """An item of a snapshot; without `updated_at` it is as new as its publication or the first window that has it."""

    updated_at = _time(nullable=True)


class Events(dy.Schema):
    """What a user did with an item, and when."""

    user_id = dy.String(nullable=False, min_length=1, max_length=_ID_LENGTH)
    item_id = dy.String(nullable=False, min_length=1, max_length=_ID_LENGTH)
    event_type = dy.Enum(EVENT_TYPES, nullable=False)
    occurred_at = _time(nullable=False)
    value = dy.Float64(nullable=True)
    text = dy.String(nullable=True)


class Impressions(dy.Schema):
    """A list of candidates shown to one user at one time, and which of them were clicked."""

    impression_id = dy.String(primary_key=True, min_length=1)
    user_id = dy.String(nullable=False, min_length=1, max_length=_ID_LENGTH)
    shown_at = _time(nullable=False)
    candidates = dy.List(dy.String(nullable=False), nullable=False)
    clicked = dy.List(dy.Bool(nullable=False), nullable=False)
    origin = dy.Enum(("logged", "sampled"), nullable=False)

    @dy.rule()
    def one_label_per_candidate(cls) -> pl.Expr:
        return pl.col("candidates").list.len() == pl.col("clicked").list.len()


class Quality(dy.Schema):
    """One measured figure of a published version over a window, with its interval."""

    window = dy.String(nullable=False)
    version = dy.String(nullable=False)
    metric = dy.String(nullable=False)
    slice = dy.String(nullable=False)
    value = dy.Float64(nullable=False)
    low = dy.Float64(nullable=True)
    high = dy.Float64(nullable=True)


TABLES: dict[str, type[dy.Schema]] = {
    "items": Items,
    "events": Events,
    "impressions": Impressions,
    "quality": Quality,
}
