"""Whether logged impressions fit the events. Knows frames in the lake's contracts, with `window` beside them."""

from collections.abc import Sequence
from datetime import timedelta

import polars as pl

from recsys_text.evaluation.checks.finding import Finding, Rule
from recsys_text.evaluation.checks.times import clicks_of
from recsys_text.event_types import POSITIVE_TYPES, EventType

# Further apart, a click is of another impression.
_NEAR = timedelta(hours=26)
_ONCE = timedelta(seconds=1)
#: A click that follows an impression does so at any minute; those at whole hours give a shifted clock away.
_SHARP = 5 * 60
#: Fewer pairs of an impression and a click say nothing about clocks.
_FEWEST = 20
#: Impressions whose clicks are looked for, the newest ones.
_MOST = 200_000

TWICE = Rule(
    name="impressions in several windows",
    found="{count} of {of} impressions are in more than one window",
    why="The model is then tested on what it was trained on.",
    way_out="Make impression_id unique, and let the source give a window only its own rows.",
    error=0.0,
)
UNCLICKED = Rule(
    name="impressions without clicks",
    found="{count} of {of} impressions have no click",
    why="Without clicks in the log there is nothing to learn from.",
    way_out=(
        "Check the column clicked; where clicks_within finds them, check that user_id, item_id and the time zones of "
        "both sources agree."
    ),
    warning=0.99,
    error=0.9999,
)
ALL_CLICKED = Rule(
    name="impressions all clicked",
    found="{count} of {of} impressions have all their candidates clicked",
    why="A list without an item that was left says nothing about an order; perhaps only clicks were logged.",
    way_out="Log all that was shown, or leave [sources.impressions] out, so that pools are learnt from.",
    warning=0.05,
    error=0.5,
)
EARLY = Rule(
    name="clicks before they were shown",
    found="{count} of {of} clicks of impressions have their event before shown_at and none after it",
    why="The features of an impression then know its own clicks: quality is flattered, and fails when it serves.",
    way_out="Give the time when the list was shown, not when its clicks were collected, and check both time zones.",
    warning=0.01,
    error=0.05,
)
SHIFTED = Rule(
    name="time zones",
    found="{count} of {of} events lie {hours:+d} hours from the impression that showed their item",
    why="Two clocks are in different time zones, so that what came first and what is known at a time are wrong.",
    way_out="Set time_zone of sources.events and sources.impressions to the zone that each writes its times in.",
    warning=0.3,
    error=0.5,
)


def shown_twice(impressions: pl.DataFrame) -> Finding:
    """Impressions whose id is in another window too."""
    twice = impressions.filter(~pl.col("impression_id").is_first_distinct())["impression_id"]
    return TWICE.judge(len(twice), len(impressions), twice.unique(maintain_order=True))


def labels(impressions: pl.DataFrame) -> list[Finding]:
    """Impressions with no click, and those with nothing else."""
    listed = impressions.filter(pl.col("clicked").list.len() > 0)
    none, full = (listed.filter(expr) for expr in (~pl.col("clicked").list.any(), pl.col("clicked").list.all()))
    return [
        UNCLICKED.judge(len(none), len(impressions), none["impression_id"]),
        ALL_CLICKED.judge(len(full), len(impressions), full["impression_id"]),
    ]


def clocks(
    impressions: pl.DataFrame, events: pl.DataFrame, positive: Sequence[EventType] = POSITIVE_TYPES
) -> list[Finding]:
    """Clicks whose events come before their impression, and events at whole hours from what showed their item."""
    newest = impressions.sort("shown_at", "impression_id").tail(_MOST)
    clicks = clicks_of(events, positive).select("user_id", "item_id", "occurred_at")
    pairs = (
        newest.filter(pl.col("candidates").list.len() > 0)
        .join(clicks, on="user_id", how="semi")
        .select("impression_id", "user_id", "shown_at", "clicked", item_id="candidates")
        .explode("item_id", "clicked")
    )
    found = (
        pairs.join(clicks, on=["user_id", "item_id"])
        .with_columns(after=pl.col("occurred_at") - pl.col("shown_at"))
        .filter(pl.col("after").abs() <= _NEAR)
    )
    return [_early(found.filter("clicked"), int(pairs["clicked"].sum())), _shifted(found)]


def _early(found: pl.DataFrame, of: int) -> Finding:
    """Of all clicks of impressions: where events are purchases alone, the few that have one are bought and looked at
    again.
    """
    last = found.group_by("impression_id", "item_id", maintain_order=True).agg(pl.col("after").max())
    early = last.filter(pl.col("after") < -_ONCE)
    count = len(early) if len(last) >= _FEWEST else 0
    return EARLY.judge(count, of, early["impression_id"].unique(maintain_order=True))


def _shifted(found: pl.DataFrame) -> Finding:
    """By the impression nearest to each event."""
    seconds = pl.col("after").dt.total_seconds()
    nearest = (
        found.sort(pl.col("after").abs(), "impression_id")
        .unique(["user_id", "item_id", "occurred_at"], keep="first", maintain_order=True)
        .with_columns(hours=(seconds / 3600).round().cast(pl.Int64))
    )
    sharp = nearest.filter((pl.col("hours") != 0) & ((seconds - pl.col("hours") * 3600).abs() <= _SHARP))
    most = sharp.group_by("hours").len().sort("len", "hours", descending=[True, False]).head(1)
    if len(nearest) < _FEWEST or most.is_empty():
        return SHIFTED.judge(0, len(nearest), hours=0)
    hours = int(most["hours"][0])
    examples = sharp.filter(pl.col("hours") == hours)["impression_id"].unique(maintain_order=True)
    return SHIFTED.judge(int(most["len"][0]), len(nearest), examples, hours=hours)
