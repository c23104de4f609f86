"""The real logs that the benchmarks measure on, straight from the files of RECSYS_TEXT_DATA. Knows no model.

Goodbooks and citeulike have no times: `clocked` lays an order of clicks out over daily windows, so that what counts
windows elsewhere leaves out a user's last clicks here.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import polars as pl

from recsys_text.ranking.log import Log, build_log
from recsys_text.text.normalise import item_text

TIME = pl.Datetime("us", "UTC")
DAY = timedelta(days=1)
#: When a clock that we lay ends.
END = datetime(2020, 1, 1, tzinfo=UTC)
#: From this rating on, a reader liked a book.
LIKED = 4


@dataclass(frozen=True, kw_only=True)
class Data:
    """items: item_id, text, known_at, published_at, expires_at; events: user_id, item_id, event_type, occurred_at."""

    items: pl.DataFrame
    events: pl.DataFrame

    @cached_property
    def log(self) -> Log:
        return build_log(self.items, self.events)

    @cached_property
    def texts(self) -> list[str]:
        """One text for each item of the log, in its order."""
        return self.items.sort("item_id")["text"].to_list()

    def before(self, cutoff: datetime) -> Self:
        """What was known strictly before the cutoff: later items are not in the catalogue."""
        return type(self)(
            items=self.items.filter(pl.col("known_at") < cutoff),
            events=self.events.filter(pl.col("occurred_at") < cutoff),
        )

    def starts(self, cutoff: datetime) -> list[datetime]:
        """The starts of the daily windows from the first event to the cutoff, oldest first."""
        first = self.events["occurred_at"].min()
        assert isinstance(first, datetime)
        return [cutoff - number * DAY for number in range(-(-(cutoff - first) // DAY), 0, -1)]


@dataclass(frozen=True, kw_only=True)
class Clicks:
    """A log with an order and no clock. items: item_id, text; clicks: user_id, item_id, order (0, 1, 2, ...)."""

    items: pl.DataFrame
    clicks: pl.DataFrame


def caixin(folder: Path) -> Data:
    """Clicks on a Chinese news site. An item older than the log is known since it begins, as in a lake."""
    clicks, news = pl.read_parquet(folder / "clicks.parquet"), pl.read_parquet(folder / "news.parquet")
    return Data(
        items=_with_text(
            news.select(pl.col("news_id").cast(pl.String).alias("item_id"), "title", "published_at")
        ).with_columns(
            pl.col("published_at").fill_null(clicks["read_at"].min()).alias("known_at"),
            pl.lit(None, dtype=TIME).alias("expires_at"),
        ),
        events=clicks.select(
            pl.col("user_id").cast(pl.String),
            pl.col("news_id").cast(pl.String).alias("item_id"),
            pl.lit("click").alias("event_type"),
            pl.col("read_at").alias("occurred_at"),
        ),
    )


def zoo(folder: Path) -> Data:
    """A log whose tables have the names and columns of the lake. An item without a time is known since it begins."""
    events, items = (pl.read_parquet(folder / f"{name}.parquet") for name in ("events", "items"))
    return Data(
        items=_with_text(
            items.select("item_id", "title", "description", "tags", "category", "published_at")
        ).with_columns(
            pl.col("published_at").fill_null(events["occurred_at"].min()).alias("known_at"),
            pl.lit(None, dtype=TIME).alias("expires_at"),
        ),
        events=events.select("user_id", "item_id", "event_type", "occurred_at"),
    )


def goodbooks(folder: Path) -> Clicks:
    """Who liked which book, in the order of the ratings. What others rated a book is no text and stays out."""
    books = pl.read_parquet(folder / "books.parquet")
    liked = pl.read_parquet(folder / "ratings_sample.parquet").filter(pl.col("rating") >= LIKED).sort("seq")
    return Clicks(
        items=_with_text(
            books.select(
                pl.col("book_id").cast(pl.String).alias("item_id"), "title", description="authors", tags="genres"
            )
        ),
        clicks=liked.select(
            pl.col("user_id").cast(pl.String),
            pl.col("book_id").cast(pl.String).alias("item_id"),
            order=pl.int_range(pl.len()),
        ),
    )


def citeulike(folder: Path, seed: int = 7) -> Clicks:
    """Who saved which paper, in an order that is drawn: the data have none, and that of the ids may mean something."""
    documents = pl.read_parquet(folder / "docs.parquet")
    saved = pl.read_parquet(folder / "user_library.parquet").sort("user_id", "doc_id")
    return Clicks(
        items=_with_text(
            documents.select(pl.col("doc_id").cast(pl.String).alias("item_id"), "title", "tags", description="abstract")
        ),
        clicks=saved.select(
            pl.col("user_id").cast(pl.String),
            pl.col("doc_id").cast(pl.String).alias("item_id"),
            pl.Series("order", np.random.default_rng(seed).permutation(len(saved))),
        ),
    )


def clocked(items: pl.DataFrame, clicks: pl.DataFrame, per_window: int) -> Data:
    """Each user's last `per_window` clicks in the newest daily window before END, those before in the one before it.

    Within its window a user's clicks come in their order, a `per_window`-th of a day for each; within that span the
    order of all users' clicks decides. Every item is known a day before the oldest window.
    """
    from_end = pl.col("order").rank("ordinal", descending=True).over("user_id").cast(pl.Int64) - 1
    slot = DAY // timedelta(microseconds=1) // per_window
    of_all = pl.col("order").rank("ordinal").cast(pl.Int64) - 1
    events = clicks.with_columns(from_end=from_end, of_all=of_all).select(
        "user_id",
        "item_id",
        pl.lit("click").alias("event_type"),
        occurred_at=pl.lit(END, dtype=TIME)
        - (1 + pl.col("from_end") // per_window) * pl.lit(DAY)
        + pl.duration(
            microseconds=(per_window - 1 - pl.col("from_end") % per_window) * slot
            + pl.col("of_all") * slot // len(clicks)
        ),
    )
    oldest = events["occurred_at"].min()
    assert isinstance(oldest, datetime)
    return Data(
        items=items.select(
            "item_id",
            "text",
            pl.lit(oldest - DAY, dtype=TIME).alias("known_at"),
            pl.lit(None, dtype=TIME).alias("published_at"),
            pl.lit(None, dtype=TIME).alias("expires_at"),
        ),
        events=events,
    )


def _with_text(items: pl.DataFrame) -> pl.DataFrame:
    """The frame with the one text that the product makes of an item's fields in their place."""
    kinds = {"title": pl.String, "tags": pl.List(pl.String), "category": pl.String, "description": pl.String}
    missing = (pl.lit(None, dtype=kind).alias(name) for name, kind in kinds.items() if name not in items.columns)
    return items.with_columns(item_text(items.with_columns(missing))).drop(kinds.keys() & set(items.columns))
