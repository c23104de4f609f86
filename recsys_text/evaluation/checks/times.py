"""Whether the times of events, items and impressions can be true. Knows frames in the lake's contracts.

Events and impressions have the column `window` beside those of their contract, items `known_at`.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl

from recsys_text.evaluation.checks.finding import Finding, Rule
from recsys_text.event_types import POSITIVE_TYPES, EventType
from recsys_text.tables import is_positive

#: Clocks of two machines differ by so much.
_SKEW = timedelta(minutes=5)
# Fewer events than these say nothing about a habit of their clock.
_FEWEST = 20

FUTURE = Rule(
    name="future times",
    found="{count} of {of} events, impressions and items have a time after now",
    why="What has not happened yet teaches the model what it cannot know when it serves.",
    way_out="Check the clock of who writes them and time_zone of their source.",
    error=0.0,
)
FUTURE_ITEMS = Rule(
    name="items of the future",
    found="{count} of {of} items are published after the last window",
    why="They are no candidates before that.",
    way_out="That is right for announced items; otherwise check published_at and time_zone of sources.items.",
    warning=0.01,
)
BEFORE = Rule(
    name="clicks before publication",
    found="{count} of {of} clicks come before their item's published_at",
    why="An item is no candidate before it is published, so these clicks are lost, and its age is wrong for others.",
    way_out=(
        "Give the first publication, not the last edit, as published_at; where the clicks are early by whole hours, "
        "check time_zone of both sources."
    ),
    warning=0.001,
    error=0.05,
)
EXPIRED = Rule(
    name="clicks after expiry",
    found="{count} of {of} clicks come after their item's expires_at",
    why="An expired item is no candidate, so these clicks are lost, and items are not recommended that people want.",
    way_out="Check expires_at, or leave it out.",
    warning=0.001,
    error=0.05,
)
DATES = Rule(
    name="dates for times",
    found="{count} of {of} events are at {clock} sharp",
    why="That is a date and not a time, so nobody knows any more which click came first.",
    way_out='Give the time of the event, or set evaluation.at = "window" for a log that has only an order.',
    warning=0.05,
    error=0.5,
)
HOURS = Rule(
    name="times cut to the hour",
    found="{count} of {of} events more are {minute} minutes sharp past an hour than at any other minute",
    why="Their minutes are lost, so nobody knows any more which click of an hour came first.",
    way_out='Give the time of the event, or set evaluation.at = "window" for a log that has only an order.',
    warning=0.05,
    error=0.9,
)


def future(events: pl.DataFrame, items: pl.DataFrame, impressions: pl.DataFrame, now: datetime) -> Finding:
    """What is later than `now`."""
    late = [
        frame.filter(pl.col(time) > now + _SKEW)[key]
        for frame, time, key in (
            (events, "occurred_at", "item_id"),
            (impressions, "shown_at", "impression_id"),
            (items, "updated_at", "item_id"),
        )
    ]
    of = len(events) + len(items) + len(impressions)
    return FUTURE.judge(sum(map(len, late)), of, (key for keys in late for key in keys))


def future_items(items: pl.DataFrame, end: datetime) -> Finding:
    """Items that are published at or after the end of the last window."""
    late = items.filter(pl.col("published_at") >= end)
    return FUTURE_ITEMS.judge(len(late), len(items), late["item_id"])


def before_publication(
    events: pl.DataFrame, items: pl.DataFrame, positive: Sequence[EventType] = POSITIVE_TYPES
) -> Finding:
    """Clicks on items that were not published yet."""
    clicks = _on_items(events, items, "published_at", positive)
    early = clicks.filter(pl.col("occurred_at") + _SKEW < pl.col("published_at"))
    return BEFORE.judge(len(early), len(clicks), early["item_id"].unique(maintain_order=True))


def after_expiry(events: pl.DataFrame, items: pl.DataFrame, positive: Sequence[EventType] = POSITIVE_TYPES) -> Finding:
    """Clicks on items that had expired."""
    clicks = _on_items(events, items, "expires_at", positive)
    late = clicks.filter(pl.col("occurred_at") > pl.col("expires_at") + _SKEW)
    return EXPIRED.judge(len(late), len(clicks), late["item_id"].unique(maintain_order=True))


def cut(events: pl.DataFrame, *, ordered: bool) -> list[Finding]:
    """Times that are dates, at one minute of the day, and times cut to the hour, at one minute of any hour.

    Both to the microsecond; in zones of half an hour that minute is another than 0. By a clock of five minutes none
    stands out. ordered: the project says that its log has an order and no clock.
    """
    clock = events.select("user_id", clock=pl.col("occurred_at").dt.time())
    sharp = clock.filter(pl.col("clock").dt.second() == 0, pl.col("clock").dt.nanosecond() == 0)
    minutes = _most(sharp.select(minute=pl.col("clock").dt.minute()))
    at_minute = pl.col("clock").dt.minute().is_in(minutes["minute"].head(1).implode())
    same, other = sharp.filter(at_minute), _most(sharp.filter(~at_minute).select("clock"))["len"]
    days = _most(same.select("clock")).head(1).filter(pl.col("len") >= max(len(same) / 2, 2 * sum(other[:1])))
    date, hours = (same.join(days, on="clock", how=how) for how in ("semi", "anti"))
    more = len(hours) - sum(minutes["len"][1:2])
    at = f"{days['clock'][0]:%H:%M}" if len(days) else "one minute of the day"
    minute = f"{minutes['minute'][0]:02}" if more > 0 else "00"
    return [
        _judge(DATES, date, len(date), len(events), ordered=ordered, clock=at),
        _judge(HOURS, hours, more, len(events), ordered=ordered, minute=minute),
    ]


def _most(frame: pl.DataFrame) -> pl.DataFrame:
    (name,) = frame.columns
    return frame.group_by(name).len().sort("len", name, descending=[True, False])


def _judge(rule: Rule, rows: pl.DataFrame, count: int, of: int, *, ordered: bool, **words: str) -> Finding:
    users = rows["user_id"].unique(maintain_order=True)
    return (replace(rule, error=1.0) if ordered else rule).judge(
        count if count >= _FEWEST else 0, of, (f"those of user {user}" for user in users), **words
    )


def _on_items(events: pl.DataFrame, items: pl.DataFrame, time: str, positive: Sequence[EventType]) -> pl.DataFrame:
    """The clicks on items that have this time."""
    dated = items.filter(pl.col(time).is_not_null()).select("item_id", time)
    return clicks_of(events, positive).join(dated, on="item_id", how="inner", maintain_order="left")


def clicks_of(events: pl.DataFrame, positive: Sequence[EventType] = POSITIVE_TYPES) -> pl.DataFrame:
    """The events that say that a user wanted an item."""
    return events.filter(is_positive(positive))
