"""Items, events and impressions as integer-coded arrays in time order. Knows no paths and no clock.

Legend of shape suffixes: I items, U users, E events, N impressions, P (impression, candidate) pairs.
Times are microseconds since the epoch, UTC.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys_text.errors import ContractError
from recsys_text.event_types import POSITIVE_TYPES, EventType
from recsys_text.ranking.states import clicks_by_arrival
from recsys_text.ranking.sums import Categories, Rates, Sums, categories, rates, sums
from recsys_text.ranking.timeline import Timeline, Times, timeline
from recsys_text.ranking.transitions import Transitions, transitions
from recsys_text.tables import is_positive

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Bool = NDArray[np.bool_]
Scalar = TypeVar("Scalar", bound=np.generic)

#: The columns of the lake's events that a log is made of.
EVENT_COLUMNS = ("user_id", "item_id", "event_type", "occurred_at", "value")
HOUR = 3_600_000_000
#: The time of what never happens: the expiry of an item that does not expire.
NEVER = int(np.iinfo(np.int64).max)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Events that an index is made of at a time where that takes memory.
_CHUNK = 1 << 15


@dataclass(frozen=True, kw_only=True, eq=False)
class Impressions:
    """N lists of candidates: those of impression n are `item[offsets[n]:offsets[n + 1]]`.

    user: int32[N], -1 for a user that the log does not know; time: int64[N]; offsets: int64[N + 1]; item: int32[P];
    clicked: bool[P]. horizon: for how many microseconds scores as of `time` are used, 0 where they are made when they
    are asked for.
    """

    user: Int32
    time: Int64
    offsets: Int64
    item: Int32
    clicked: Bool
    horizon: int = 0

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def row(self) -> Int64:
        """int64[P]: the impression that each pair belongs to."""
        return np.repeat(np.arange(len(self.user)), np.diff(self.offsets))

    def chunks(self, pairs: int) -> Iterator["Impressions"]:
        """Consecutive impressions, about `pairs` candidates at a time and at least one impression."""
        cuts = np.flatnonzero(np.diff((self.offsets[1:] - 1) // pairs)) + 1
        for low, high in itertools.pairwise([0, *cuts.tolist(), len(self)]):
            first, last = self.offsets[low], self.offsets[high]
            if low < high:
                yield Impressions(
                    user=self.user[low:high],
                    time=self.time[low:high],
                    offsets=self.offsets[low : high + 1] - first,
                    item=self.item[first:last],
                    clicked=self.clicked[first:last],
                    horizon=self.horizon,
                )


def no_impressions() -> Impressions:
    none = np.zeros(0, np.int64)
    codes = none.astype(np.int32)
    return Impressions(user=codes, time=none, offsets=np.zeros(1, np.int64), item=codes, clicked=none.astype(np.bool_))


@dataclass(frozen=True, kw_only=True, eq=False)
class Absences:
    """Spans [start, end) in which items are no candidates, disjoint, by item and start; the end may be NEVER.

    item: int32[A]; start, end: int64[A].
    """

    item: Int32
    start: Int64
    end: Int64

    def count_at(self, time: int) -> int:
        """How many items are absent at a time."""
        return int(((self.start <= time) & (time < self.end)).sum())


def no_absences() -> Absences:
    none = np.zeros(0, np.int64)
    return Absences(item=none.astype(np.int32), start=none, end=none)


@dataclass(frozen=True, kw_only=True, eq=False)
class Log:
    """The catalogue and the events; a code is a position in the sorted ids. Events are sorted by time and user; those
    of one user and time, of which none is the newest, by `neutral`.

    `published_at` is `known_at` where an item has none, `expires_at` is NEVER where it has none, `category` is -1 where
    it has none, `value` is NaN where an event has none, `disliked` marks the events that say no, and
    `dropped` counts the events on items that are not in the catalogue. `logged` are the impressions that were logged,
    in the order of time (see `ranking.logged`), `unknown` counts their candidates that are not in the catalogue, and
    `settle` microseconds after one was shown its clicks are known. `absent` says when items that had been there were
    not in the catalogue.
    """

    item_ids: list[str]
    user_ids: list[str]
    known_at: Int64
    published_at: Int64
    expires_at: Int64
    category: Int32
    user: Int32
    item: Int32
    time: Int64
    positive: Bool
    disliked: Bool
    value: NDArray[np.float64]
    dropped: int
    logged: Impressions = field(default_factory=no_impressions)
    unknown: int = 0
    settle: int = 0
    absent: Absences = field(default_factory=no_absences)

    def of_clicks(self, column: NDArray[Scalar]) -> NDArray[Scalar]:
        """A column of the positive events."""
        return _where(self.positive, column)

    @cached_property
    def click_times(self) -> Int64:
        """The times of the positive events, which all timelines of them share."""
        return self.of_clicks(self.time)

    @cached_property
    def clicks_of_item(self) -> Times:
        """The positive events by item."""
        clock = self.click_times
        return Times.of(self.of_clicks(self.item), np.searchsorted(clock, clock), clock, len(self.item_ids))

    @cached_property
    def first_clicks_of_item(self) -> Times:
        """The first positive event of each user, by item."""
        own = self.clicks_of_user
        first = own.start[:-1][np.diff(own.start) > 0]
        return Times.of(own.value[first].astype(np.int32), own.ranks(first), own.clock, len(self.item_ids))

    @cached_property
    def repeats_of_item(self) -> Times:
        """The positive events on items that their user had clicked at an earlier time, by item."""
        own, repeats = self.clicks_of_user, []
        # Some users at a time: what tells repeats takes several times the memory of an event.
        cuts = np.unique(np.searchsorted(own.start, np.arange(0, len(own.value), _CHUNK)))
        for first, last in itertools.pairwise([*cuts.tolist(), len(self.user_ids)]):
            at = np.arange(own.start[first], own.start[last])
            rank, item = own.ranks(at), own.value[at].astype(np.int64)
            user = np.repeat(np.arange(last - first), np.diff(own.start[first : last + 1]))
            _, begun, pair = np.unique(user * len(self.item_ids) + item, return_index=True, return_inverse=True)
            repeats.append(at[rank > rank[begun][pair]])
        at = np.concatenate(repeats or [np.zeros(0, np.int64)])
        return Times.of(own.value[at].astype(np.int32), own.ranks(at), own.clock, len(self.item_ids))

    @cached_property
    def clicks_of_user(self) -> Timeline:
        """The positive events by user; the value is the item."""
        return timeline(self.of_clicks(self.user), self.click_times, self.of_clicks(self.item), len(self.user_ids))

    @cached_property
    def dislikes_of_user(self) -> Timeline:
        """The events that say no, by user; the value is the item."""
        on = self.disliked
        return timeline(self.user[on], self.time[on], self.item[on], len(self.user_ids))

    @cached_property
    def value_sums(self) -> Sums:
        """Of the events that have a value, by item."""
        on = ~np.isnan(self.value)
        return sums(_where(on, self.item), _where(on, self.time), _where(on, self.value), len(self.item_ids))

    @cached_property
    def categories(self) -> Categories:
        """Who clicked in which category."""
        return categories(self.clicks_of_user, self.category)

    @cached_property
    def consumed(self) -> Timeline:
        """The events by user, of any type; the value is the item."""
        if self.positive.all():
            return self.clicks_of_user
        return timeline(self.user, self.time, self.item, len(self.user_ids))

    @cached_property
    def shown_rates(self) -> Rates:
        """How often items were shown in logged impressions and clicked there, once those are settled."""
        shown = self.logged
        return rates(shown.item, shown.clicked, shown.offsets, shown.time + self.settle, len(self.item_ids))

    @cached_property
    def transitions(self) -> Transitions:
        """Which click followed which."""
        return transitions(self.clicks_of_user, self.clicks_of_item)

    @cached_property
    def clicks_of_arrival(self) -> Times:
        """The positive events by `item * 2 + (whether their user arrived with them)`."""
        return clicks_by_arrival(self.clicks_of_user, len(self.item_ids))

    @cached_property
    def neutral(self) -> Int64:
        """int64[I]: the order of the items by a hash of their ids. Ids may follow popularity, so that their own order
        must never decide between equal scores.
        """
        return _neutral(self.item_ids)

    def item_codes(self, ids: pl.Series) -> Int32:
        """int32 codes of item ids, -1 where an id is not in the catalogue."""
        return _codes(ids, self.item_ids)

    def user_codes(self, ids: pl.Series) -> Int32:
        """int32 codes of user ids, -1 where a user has no event and no logged impression."""
        return _codes(ids, self.user_ids)


def _where(on: Bool, column: NDArray[Scalar]) -> NDArray[Scalar]:
    """The chosen rows of a column; where all are, the column itself, not a copy."""
    return column if on.all() else column[on]


def micros(time: datetime) -> int:
    """A time with a zone as microseconds since the epoch, exactly."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def build_log(items: pl.DataFrame, events: pl.DataFrame, *, positive: Sequence[EventType] = POSITIVE_TYPES) -> Log:
    """Codes a catalogue (item_id, published_at, expires_at, known_at, perhaps category and absent) and events (user_id,
    item_id, event_type, occurred_at, perhaps value), of which the `positive` types say that a user wanted the item.

    Raises ContractError for an item_id that comes twice or an item without `known_at`.
    """
    items = items.select(
        "item_id",
        pl.col("category").cast(pl.String)
        if "category" in items.columns
        else pl.lit(None, pl.String).alias("category"),
        *(_micros(name) for name in ("known_at", "published_at", "expires_at")),
        *(["absent"] if "absent" in items.columns else []),
    )
    items = items.sort("item_id")
    repeated = items.filter(pl.col("item_id").is_duplicated() | pl.col("known_at").is_null())
    if len(repeated):
        raise ContractError(f"item '{repeated['item_id'][0]}' comes twice or has no known_at; pass Lake.items")
    item_ids = items["item_id"].to_list()
    coded = events.select(
        "user_id",
        pl.Series("item", _codes(events["item_id"], item_ids)),
        _micros("occurred_at").alias("time"),
        is_positive(positive).alias("positive"),
        (pl.col("event_type").cast(pl.String) == "dislike").alias("disliked"),
        pl.col("value").cast(pl.Float64) if "value" in events.columns else pl.lit(None, pl.Float64).alias("value"),
    ).filter(pl.col("item") >= 0)
    dropped = len(events) - len(coded)
    # What is coded is let go, where nobody else holds it: sorting makes copies of what is left.
    del events
    user_ids = coded["user_id"].unique().sort().to_list()
    coded = coded.with_columns(pl.Series("user", _codes(coded["user_id"], user_ids))).drop("user_id")
    coded = coded.with_columns(turn=pl.Series(_neutral(item_ids), dtype=pl.Int32).gather(coded["item"]))
    coded = coded.sort("time", "user", "turn", "positive", "disliked", "value").drop("turn")
    known_at, names = items["known_at"], items["category"].drop_nulls().unique().sort()
    return Log(
        item_ids=item_ids,
        user_ids=user_ids,
        known_at=known_at.to_numpy(),
        published_at=items["published_at"].fill_null(known_at).to_numpy(),
        expires_at=items["expires_at"].fill_null(NEVER).to_numpy(),
        category=_codes(items["category"], names.to_list()),
        user=coded["user"].to_numpy(),
        item=coded["item"].to_numpy(),
        time=coded["time"].to_numpy(),
        positive=coded["positive"].to_numpy(),
        disliked=coded["disliked"].to_numpy(),
        value=coded["value"].fill_null(np.nan).to_numpy(),
        dropped=dropped,
        absent=_absences(items),
    )


def _absences(items: pl.DataFrame) -> Absences:
    if "absent" not in items.columns:
        return no_absences()
    spans = (
        items.select("absent", item=pl.int_range(pl.len(), dtype=pl.Int32))
        .filter(pl.col("absent").list.len() > 0)
        .explode("absent")
        .unnest("absent")
        .with_columns(_micros("start"), _micros("end").fill_null(NEVER))
    )
    return Absences(item=spans["item"].to_numpy(), start=spans["start"].to_numpy(), end=spans["end"].to_numpy())


def impressions_from_frame(frame: pl.DataFrame, log: Log) -> Impressions:
    """Codes a frame of impression_id, user_id, shown_at, candidates and, where known, clicked; keeps its order.

    Raises ContractError for a missing column, a time without a zone, a candidate that the catalogue lacks, and
    labels that do not match the candidates.
    """
    missing = {"impression_id", "user_id", "shown_at", "candidates"} - set(frame.columns)
    if missing:
        raise ContractError(f"impressions lack the column '{min(missing)}'; they have {', '.join(frame.columns)}")
    for name in ("impression_id", "user_id", "shown_at"):
        if frame[name].null_count():
            raise ContractError(
                f"{frame[name].null_count()} of {len(frame)} impressions have no {name}; leave them out"
            )
    shown = frame.schema["shown_at"]
    if not isinstance(shown, pl.Datetime) or shown.time_zone is None:
        raise ContractError(f"shown_at of the impressions is {shown}; make it a datetime with a time zone")
    if not isinstance(frame.schema["candidates"], pl.List):
        raise ContractError(
            f"candidates of the impressions are {frame.schema['candidates']}; make them lists of item_id"
        )
    lengths = frame["candidates"].list.len().fill_null(0)
    candidates = _flat(frame["candidates"]).cast(pl.String)
    item = log.item_codes(candidates)
    if (item < 0).any():
        at = int(np.argmax(item < 0))
        owner = int(np.searchsorted(np.cumsum(lengths.to_numpy()), at, side="right"))
        raise ContractError(
            f"candidate '{candidates[at]}' of impression '{frame['impression_id'][owner]}' is not in the catalogue; "
            "extract the window that brings it, or leave it out"
        )
    clicked = np.zeros(len(item), dtype=np.bool_)
    if "clicked" in frame.columns:
        uneven = frame.filter(pl.col("clicked").list.len().fill_null(0) != lengths)
        if len(uneven):
            raise ContractError(f"impression '{uneven['impression_id'][0]}' has not one clicked label per candidate")
        clicked = _flat(frame["clicked"]).cast(pl.Boolean).fill_null(False).to_numpy()
    return Impressions(
        user=log.user_codes(frame["user_id"].cast(pl.String)),
        time=frame.select(_micros("shown_at")).to_series().to_numpy(),
        offsets=np.concatenate(([0], np.cumsum(lengths.to_numpy(), dtype=np.int64))),
        item=item,
        clicked=clicked,
    )


def _neutral(item_ids: list[str]) -> Int64:
    digests = [hashlib.blake2b(item_id.encode(), digest_size=8).digest() for item_id in item_ids]
    return np.argsort(np.argsort(np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64), kind="stable"))


def _flat(lists: pl.Series) -> pl.Series:
    return lists.filter(lists.list.len() > 0).explode()


def _micros(name: str) -> pl.Expr:
    return pl.col(name).dt.epoch("us").alias(name)


def _codes(ids: pl.Series, known: list[str]) -> NDArray[Any]:
    table = pl.DataFrame({"id": known}, schema={"id": pl.String}).with_columns(
        pl.int_range(pl.len(), dtype=pl.Int32).alias("code")
    )
    coded = ids.alias("id").to_frame().join(table, on="id", how="left", maintain_order="left")
    return coded["code"].fill_null(-1).to_numpy()
