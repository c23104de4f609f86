"""Whether users are one person each, and whether an event was logged once. Knows frames in the lake's contract."""

from collections.abc import Sequence
from datetime import timedelta

import polars as pl

from recsys_text.evaluation.checks.finding import Finding, Rule
from recsys_text.evaluation.checks.times import clicks_of
from recsys_text.event_types import POSITIVE_TYPES, EventType

#: Fewer clicks of a history may be those of two users by chance.
_HISTORY = 5
#: Of the events of one id, so many at the same second on the same item as those of another make them one person.
_SHARED = 0.8
#: More users at one second on one item are a crowd, or times are dates.
_CROWD = 20
_ONCE = timedelta(seconds=1)
#: Clicks that no person makes.
_IN_MINUTES, _MINUTES = 100, "10m"
_IN_A_DAY = 2000
#: Shop baskets come on at most this share of the days of a log.
_BASKET_DAYS = 1 / 3
#: Programmes begin, and alarms go off, at the same full five minutes every day.
_SCHEDULED = timedelta(minutes=5)
#: A copy of a window has a part of its events, and at least so many more than so many times those of it that lie a step
#: of some clock aside, which are there by chance.
_FEWEST, _PART, _RARE = 10, 0.05, 3
_ASIDE = [
    sign * timedelta(seconds=seconds) for seconds in (1, 60, 120, 180, 240, 300, 420, 600, 900) for sign in (-1, 1)
]
_MICROSECOND = timedelta(microseconds=1)
_ACT = ("user_id", "item_id", "event_type")

TWINS = Rule(
    name="duplicated users",
    found="{count} of {of} users have the clicks of another in the same rhythm, or most of them at the same seconds",
    why="One person under two ids teaches and judges the model with the same clicks, so its quality is flattered.",
    way_out="Map the ids of one person to one user_id in the source's query, and leave replayed traffic out.",
    error=0.05,
)
REPEATED = Rule(
    name="repeated events",
    found="{count} of {of} events repeat another within a second, {dropped} of them exactly, which extract drops",
    why="An item that is counted twice looks twice as popular.",
    way_out="Let the source deliver each event once, such as by select distinct.",
    warning=0.01,
)
COPIED = Rule(
    name="events in several windows",
    found="{count} of {of} events stand in an earlier window too, at the same time of that window",
    why="The model is then tested on what it was trained on.",
    way_out="Check that the source gives a window only its own rows, and does not stamp old rows with new dates.",
    warning=0.001,
    error=0.01,
)
INHUMAN = Rule(
    name="inhuman rates",
    found=(
        f"{{count}} of {{of}} clicks are of {{users}} users with more than {_IN_MINUTES} in 10 minutes "
        f"or {_IN_A_DAY:,} in a day"
    ),
    why="Robots click what no reader wants, and what they click looks popular.",
    way_out="Leave them out in the source's query, unless their times are made up from an order.",
    error=0.5,
)


def duplicated_users(events: pl.DataFrame, positive: Sequence[EventType] = POSITIVE_TYPES) -> Finding:
    """Users who clicked what another did, with the same seconds between, or whose events are at the same seconds.

    The same items in the same order are no sign: many readers go from one article to the next by the same links.
    """
    gaps = pl.col("occurred_at").dt.epoch("s").diff().fill_null(0)
    histories = (
        clicks_of(events, positive)
        .sort("occurred_at", "item_id")
        .group_by("user_id", maintain_order=True)
        .agg(
            pl.col("occurred_at").dt.truncate("1s").n_unique().alias("seconds"),
            pl.concat_str("item_id", gaps, separator="\x1f").str.join("\x1e").alias("history"),
        )
        .filter(pl.col("seconds") >= _HISTORY)
    )
    same = histories.filter(pl.col("history").is_duplicated()).sort("history", "user_id")["user_id"]
    twins = pl.concat([same, _together(events)]).unique(maintain_order=True)
    return TWINS.judge(len(twins), events["user_id"].n_unique(), twins)


def repeated(events: pl.DataFrame, dropped: int) -> Finding:
    """Events of one user, item and type within a second. dropped: those that extract has left out already."""
    ordered = events.sort("user_id", "item_id", "event_type", "occurred_at")
    again = ordered.filter(
        (pl.col("occurred_at").diff() <= _ONCE)
        & pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift()) for name in ("user_id", "item_id"))
        & (pl.col("event_type").cast(pl.String) == pl.col("event_type").cast(pl.String).shift())
    )
    examples = (f"{user} on {item}" for user, item in again.select("user_id", "item_id").iter_rows())
    return REPEATED.judge(len(again) + dropped, len(events) + dropped, examples, dropped=f"{dropped:,}")


def copied(events: pl.DataFrame, length: timedelta) -> Finding:
    """Events that an earlier window has at the same microsecond of it, where both share more of them than by chance.

    Who comes back to an item often meets a time of an earlier window by chance, more so by a clock of minutes, and what
    a player writes every minute does too; but both meet the times around as well, and a copy does not. Those at full
    five minutes may meet by themselves.
    """
    size = length // _MICROSECOND
    time = pl.col("occurred_at").dt.epoch("us")
    placed = events.select(*_ACT, place=time // size, offset=time % size)
    sizes = placed.group_by("place").len("size")
    acts = placed.filter(
        (pl.col("offset") % (_SCHEDULED // _MICROSECOND) != 0)
        & (pl.col("place").min().over(_ACT) < pl.col("place").max().over(_ACT))
    )
    again = _again(acts, timedelta())
    pairs = (
        _pairs(again)
        .join(sizes, on="place")
        .join(sizes, left_on="earlier", right_on="place", suffix="_earlier")
        .filter(pl.col("len") >= _FEWEST, pl.col("len") > _PART * pl.min_horizontal("size", "size_earlier"))
    )
    for aside in _ASIDE if len(pairs) else ():
        chance = _pairs(_again(acts, aside)).rename({"len": "chance"})
        pairs = (
            pairs.join(chance, on=["place", "earlier"], how="left")
            .filter(pl.col("len") >= _FEWEST + _RARE * pl.col("chance").fill_null(0))
            .drop("chance")
        )
    found = again.join(pairs, on=["place", "earlier"], how="semi").sort("place", "offset", *_ACT)
    examples = (f"{user} on {item}" for user, item in found.select("user_id", "item_id").iter_rows())
    return COPIED.judge(len(found), len(events), examples)


def inhuman(events: pl.DataFrame, *, cut: bool, positive: Sequence[EventType] = POSITIVE_TYPES) -> Finding:
    """Clicks of users who click faster than people do. cut: times are so coarse that only days say something."""
    clicks = clicks_of(events, positive)
    fast = [_faster(clicks, "1d", _IN_A_DAY)] + ([] if cut else [_faster(clicks, _MINUTES, _IN_MINUTES)])
    users = pl.concat(fast).unique(maintain_order=True)
    count = int(clicks["user_id"].is_in(users.implode()).sum())
    return INHUMAN.judge(count, len(clicks), users, users=f"{len(users):,}")


def _again(acts: pl.DataFrame, aside: timedelta) -> pl.DataFrame:
    """The acts that an earlier window has too, so much later in it; with `earlier`, the last such window."""
    former = acts.with_columns(pl.col("offset") + aside // _MICROSECOND, earlier="place")
    return (
        acts.sort("place")
        .join_asof(
            former.sort("place"), on="place", by=[*_ACT, "offset"], allow_exact_matches=False, check_sortedness=False
        )
        .filter(pl.col("earlier").is_not_null())
    )


def _pairs(again: pl.DataFrame) -> pl.DataFrame:
    return again.group_by("place", "earlier").len()


def _faster(clicks: pl.DataFrame, span: str, most: int) -> pl.Series:
    minute = pl.col("occurred_at").dt.truncate("1m")
    rates = clicks.group_by("user_id", pl.col("occurred_at").dt.truncate(span)).agg(
        pl.len(), at_once=minute.n_unique() == 1
    )
    fast = rates.filter(pl.col("len") > most)
    # What somebody buys or loads at one minute of some days is a basket; a robot comes every day, or goes on.
    rare = pl.len().over("user_id") <= _BASKET_DAYS * clicks["occurred_at"].dt.date().n_unique()
    fast = fast.filter(~(pl.col("at_once").all().over("user_id") & rare))
    return fast.sort("len", "user_id", descending=[True, False])["user_id"]


def _together(events: pl.DataFrame) -> pl.Series:
    """Users most of whose events are at the seconds of another's, on the same items."""
    acts = events.select("user_id", "item_id", second=pl.col("occurred_at").dt.truncate("1s")).unique()
    few = pl.len().over("item_id", "second")
    shared = acts.filter((few > 1) & (few <= _CROWD))
    pairs = (
        shared.join(shared, on=["item_id", "second"], suffix="_other")
        .filter(pl.col("user_id") != pl.col("user_id_other"))
        .group_by("user_id", "user_id_other")
        .len("together")
        .filter(pl.col("together") >= _HISTORY)
    )
    own = acts.group_by("user_id").len("acts")
    close = pairs.join(own, on="user_id").filter(pl.col("together") >= _SHARED * pl.col("acts"))
    return pl.concat([close["user_id"], close["user_id_other"].alias("user_id")]).unique().sort()
