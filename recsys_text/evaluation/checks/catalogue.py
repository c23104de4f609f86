"""Whether the catalogue has the items that are clicked, and texts to learn from. Knows frames of the lake."""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from recsys_text.evaluation.checks.finding import Finding, Rule
from recsys_text.evaluation.checks.times import clicks_of
from recsys_text.event_types import POSITIVE_TYPES, EventType

#: Of fewer clicks the share on a few items says nothing.
_FEWEST = 20
#: Writing systems by the letters that only they have; the first that a title has is its own.
_SCRIPTS = {
    "Japanese": r"[\p{Hiragana}\p{Katakana}]",
    "Chinese": r"\p{Han}",
    "Korean": r"\p{Hangul}",
    "Thai": r"\p{Thai}",
    "Arabic": r"\p{Arabic}",
    "Hebrew": r"\p{Hebrew}",
    "Devanagari": r"\p{Devanagari}",
    "Greek": r"\p{Greek}",
    "Cyrillic": r"\p{Cyrillic}",
    "Latin": r"\p{Latin}",
}
_UNSPACED = ("Japanese", "Chinese", "Thai")

UNKNOWN = Rule(
    name="clicks on unknown items",
    found="{count} of {of} clicks are on items that no window of items has",
    why="They teach nothing and are no part of any measure.",
    way_out="Extract those items too, or check that both sources write item_id in the same way.",
    error=0.05,
)
VANISHED = Rule(
    name="vanished items",
    found="{count} of {of} clicks of the newest window are on items that only former windows of items have",
    why="People still want what the catalogue has no more, and it is not recommended to them.",
    way_out="Where it is not really gone, check sources.items, or give sources.items.grace some windows.",
    warning=0.01,
    error=0.2,
)
EMPTY = Rule(
    name="empty titles",
    found="{count} of {of} items have a title without a letter or digit",
    why="The model reads titles; it knows nothing of an item without one.",
    way_out="Map another column to title, such as a headline or the first words of the description.",
    warning=0.01,
    error=0.5,
)
ONE_WORD = Rule(
    name="titles of one word",
    found="{count} of {of} items have a title of one word",
    why="So short a text says little of what an item is about.",
    way_out="Add a description, tags or a category; where they are ids or codes, map the column with words.",
    warning=0.5,
)
LANGUAGES = Rule(
    name="languages",
    found="{count} of {of} titles are not in {most} letters",
    why="Texts in different letters share no words, so that they speak only for items in their own.",
    way_out="Give tags or a category in one language, which join them, or make it several projects.",
    warning=0.1,
)


def unknown_items(events: pl.DataFrame, items: pl.DataFrame, positive: Sequence[EventType] = POSITIVE_TYPES) -> Finding:
    """Clicks on items that are not in the catalogue."""
    clicks = clicks_of(events, positive)
    lost = clicks.join(items.select("item_id"), on="item_id", how="anti", maintain_order="left")
    return UNKNOWN.judge(len(lost), len(clicks), lost["item_id"].unique(maintain_order=True))


def vanished(
    clicks: pl.DataFrame,
    items: pl.DataFrame,
    present: pl.DataFrame,
    start: datetime,
    end: datetime,
    positive: Sequence[EventType] = POSITIVE_TYPES,
) -> Finding:
    """The newest window's clicks on items that the newest window of items has no more, and that had not expired by its
    end.

    items: of all windows; present: of the newest one, from `start` to `end`, as they are in the lake. Where it brings
    changes only, none is said to be gone. Where things are sold once, some clicks are on what is gone for that.
    """
    clicks = clicks_of(clicks, positive)
    gone = items.filter((pl.col("expires_at") > end).fill_null(True)).join(present, on="item_id", how="anti")
    still = clicks.join(gone, on="item_id", how="semi", maintain_order="left")
    count = len(still) if len(clicks) >= _FEWEST and _is_snapshot(present, start) else 0
    return VANISHED.judge(count, len(clicks), still["item_id"].unique(maintain_order=True))


def _is_snapshot(present: pl.DataFrame, start: datetime) -> bool:
    """Of a whole catalogue, items that are older than the window come again, and all as updated when they were
    published or, if nobody says when, at the window's start; changes have times of their own, within the window.
    """
    published = pl.coalesce("published_at", pl.lit(start, present.schema["updated_at"]))
    undated, older = published == pl.col("updated_at"), (pl.col("published_at") < start).fill_null(True)
    return bool(present.select(undated.all() & older.any()).item())


def titles(items: pl.DataFrame) -> list[Finding]:
    """Empty titles, titles of one word, and titles in other letters than most."""
    words = pl.col("title").str.strip_chars().str.split(" ").list.eval(pl.element().filter(pl.element() != ""))
    read = items.select(
        "item_id",
        empty=~pl.col("title").str.contains(r"\w"),
        words=words.list.len(),
        script=pl.coalesce(
            pl.when(pl.col("title").str.contains(letters)).then(pl.lit(name)) for name, letters in _SCRIPTS.items()
        ),
    )
    full = read.filter(~pl.col("empty"))
    short = full.filter((pl.col("words") == 1) & ~pl.col("script").is_in(_UNSPACED).fill_null(False))
    empty, written = read.filter(pl.col("empty")), full.filter(pl.col("script").is_not_null())
    scripts = written.group_by("script").len().sort("len", "script", descending=[True, False])
    most = scripts["script"][0] if len(scripts) else "any"
    others = written.filter(pl.col("script") != most)
    return [
        EMPTY.judge(len(empty), len(read), empty["item_id"]),
        ONE_WORD.judge(len(short), len(read), short["item_id"]),
        LANGUAGES.judge(len(others), len(written), others["item_id"], most=most),
    ]
