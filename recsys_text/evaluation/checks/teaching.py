"""Whether there is anything to learn from at all. Knows frames in the lake's contracts."""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from recsys_text.evaluation.checks.finding import Finding, Rule
from recsys_text.event_types import POSITIVE_TYPES, EventType
from recsys_text.tables import is_positive

#: What programs write where a value is missing, in small letters.
_NULLS = ("null", "none", "nan", "n/a", "na", "nil", "undefined", "\\n", "<na>", "-")
#: Fewer users than these have one with most events by chance.
_FEW_USERS = 3

NO_EVENT = Rule(
    name="events in the windows",
    found="{events} events are in {windows} windows{where}",
    why="A model learns from events alone.",
    way_out="Extract the windows in which they happened: `recsys-text extract --from DAY --to DAY`.",
    error=0.0,
)
NOTHING_WANTED = Rule(
    name="positive events",
    found="{wanted} of {of_all} events have a type that says that a user wanted the item ({types})",
    why="Nothing can be learned from events that only say that somebody was there.",
    way_out="Map your types (sources.events.event_types), or name those that count (sources.events.positive).",
    error=0.0,
)
ONE_USER = Rule(
    name="events of one user",
    found="{count} of {of} events are of a single user",
    why="The model learns what this one does, and quality says little about all others.",
    way_out="Leave robots, tests and the id of those who are not signed in out (sources.events.where).",
    warning=0.5,
)
NULL_USERS = Rule(
    name="user ids like null",
    found="{count} of {of} events are of a user id that reads like a missing value",
    why="Many people become one user, whose history is nobody's.",
    way_out="Name such texts in sources.events.nulls.",
)
NULL_TITLES = Rule(
    name="titles like null",
    found="{count} of {of} items have a title that reads like a missing value",
    why="Such items look alike to the model.",
    way_out="Name such texts in sources.items.nulls.",
    warning=0.005,
)
UNKNOWN_CANDIDATES = Rule(
    name="unknown candidates",
    found="{count} of {of} candidates shown are items that the catalogue lacks",
    why="They are left out of what was shown, so that lists look shorter and easier than they were.",
    way_out="Extract those items too, and check that both sources write an item's id in the same way.",
    warning=0.01,
    error=0.5,
)


def no_event(events: pl.DataFrame, windows: int, times: tuple[datetime, datetime] | None) -> Finding:
    """Whether there is no event at all; times: of the source's first and last event, where they are known."""
    where = "" if times is None else "; those of the source are from {:%Y-%m-%dT%H:%MZ} to {:%Y-%m-%dT%H:%MZ}"
    told = where.format(*times) if times is not None else where
    return NO_EVENT.judge(int(events.is_empty()), 1, events=f"{len(events):,}", windows=f"{windows:,}", where=told)


def nothing_wanted(events: pl.DataFrame, positive: Sequence[EventType] = POSITIVE_TYPES) -> Finding:
    """Whether no event is of a positive type; the types that there are, are the examples."""
    wanted = events.select(is_positive(positive).sum()).item() or 0
    kinds = events["event_type"].cast(pl.String).unique().sort()
    missing = int(not wanted and not events.is_empty())
    return NOTHING_WANTED.judge(
        missing, 1, kinds, wanted=f"{wanted:,}", of_all=f"{len(events):,}", types=", ".join(positive)
    )


def one_user(events: pl.DataFrame) -> Finding:
    """The events of the user with most of them, where there are enough users to tell."""
    most = events.group_by("user_id").len().sort("len", "user_id", descending=[True, False])
    count = most["len"][0] if len(most) >= _FEW_USERS else 0
    return ONE_USER.judge(count, len(events), most["user_id"].head(1))


def null_users(events: pl.DataFrame) -> Finding:
    """Events whose user id is what programs write for a missing value."""
    found = events.filter(_like_null("user_id"))
    return NULL_USERS.judge(len(found), len(events), found["user_id"].unique().sort())


def null_titles(items: pl.DataFrame) -> Finding:
    """Items whose title is what programs write for a missing value."""
    found = items.filter(_like_null("title"))
    return NULL_TITLES.judge(len(found), len(items), found["title"].unique().sort())


def unknown_candidates(impressions: pl.DataFrame, items: pl.DataFrame) -> Finding:
    """Candidates of impressions that are no item of the catalogue."""
    shown = impressions.select(item_id=pl.col("candidates").explode()).drop_nulls()
    lost = shown.join(items.select("item_id"), on="item_id", how="anti", maintain_order="left")
    return UNKNOWN_CANDIDATES.judge(len(lost), len(shown), lost["item_id"].unique(maintain_order=True))


def _like_null(name: str) -> pl.Expr:
    return pl.col(name).str.strip_chars().str.to_lowercase().is_in(_NULLS)
