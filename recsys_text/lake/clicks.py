"""Which shown items were clicked, where who logged them could not know. Knows frames, no sources and no paths."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

import polars as pl

from recsys_text.event_types import POSITIVE_TYPES, EventType
from recsys_text.tables import is_positive

_ASKED, _CLICKED = "__asked", "__clicked"


def found_clicks(
    frames: Iterable[pl.DataFrame],
    events: pl.DataFrame,
    within: timedelta,
    *,
    later: Iterable[pl.DataFrame] = (),
    positive: Sequence[EventType] = POSITIVE_TYPES,
) -> pl.DataFrame:
    """The items of each impression that its user wanted: impression_id, item_id.

    An event of a `positive` type counts for the last of the impressions that showed this item to this user at most
    `within` before it, and no later than it. Those of `later` take theirs too, and are not in the answer.
    Frames and events have the columns of their contracts.
    """
    clicks = events.filter(is_positive(positive))
    clicks = clicks.select("user_id", "item_id", "occurred_at").sort("occurred_at")
    wanted = clicks.select("user_id", "item_id").unique()
    shown = [
        frame.select("impression_id", "user_id", "shown_at", pl.lit(asked).alias(_ASKED), item_id="candidates")
        .drop_nulls()
        .join(wanted, on="user_id", how="semi")
        .explode("item_id")
        .join(wanted, on=["user_id", "item_id"], how="semi")
        for asked, several in ((True, frames), (False, later))
        for frame in several
    ]
    if not shown:
        return pl.DataFrame(schema={"impression_id": pl.String, "item_id": pl.String})
    return (
        clicks.join_asof(
            pl.concat(shown).sort("shown_at", "impression_id"),
            left_on="occurred_at",
            right_on="shown_at",
            by=["user_id", "item_id"],
            strategy="backward",
            tolerance=within,
            check_sortedness=False,
        )
        .filter(_ASKED)
        .select("impression_id", "item_id")
        .unique()
    )


def with_clicked(frames: Iterable[pl.DataFrame], found: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """The frames with `clicked` as `found_clicks` says; null where an impression has no list of candidates."""
    hit = found.select("impression_id").unique()
    labelled = found.with_columns(pl.lit(True).alias(_CLICKED))
    for frame in frames:
        labels = (
            frame.select("impression_id", item_id="candidates")
            .unique("impression_id", keep="first", maintain_order=True)
            .join(hit, on="impression_id", how="semi")
            .explode("item_id")
            .join(labelled, on=["impression_id", "item_id"], how="left", maintain_order="left")
            .group_by("impression_id", maintain_order=True)
            .agg(pl.col(_CLICKED).fill_null(False))
        )
        none = pl.lit(False).repeat_by(pl.col("candidates").list.len())
        yield (
            frame.join(labels, on="impression_id", how="left", maintain_order="left")
            .with_columns(clicked=pl.coalesce(_CLICKED, none))
            .drop(_CLICKED)
        )
