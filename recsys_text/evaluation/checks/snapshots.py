"""What snapshots of the items say beside their rows: which items left, and which have rows that differ."""

import polars as pl

from recsys_text.evaluation.checks.finding import Finding, Rule

LEFT = Rule(
    name="items that left",
    found="{count} of {of} items are not in the newest snapshot, so they are no candidates any more",
    why="Where most are gone at once, the reading was rather not whole.",
    way_out="Extract that window again; where a snapshot may lack items for a while, set sources.items.grace.",
    warning=0.5,
)
DIFFERING = Rule(
    name="items with rows that differ",
    found="{count} of {of} items have rows that differ, of which the newest by updated_at, else the last, is kept",
    why="What the model reads then depends on the order of the rows.",
    way_out="Let the source give one row for each item, or map the column that says when a row changed to updated_at.",
)


def left(items: pl.DataFrame) -> Finding:
    """Items that are absent by now; `items` have the column `absent` of `Lake.items`."""
    gone = items.filter(pl.col("absent").list.last().struct.field("end").is_null() & (pl.col("absent").list.len() > 0))
    return LEFT.judge(len(gone), len(items), gone["item_id"])


def differing(conflicts: int, rows: int) -> Finding:
    """conflicts: of how many of the rows of the newest window of items other rows differed."""
    return DIFFERING.judge(conflicts, rows)
