"""A catalogue whose rows arrive day by day, late or broken, and whose readers change after the first days."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

TOPICS = ("sailing boat harbour", "garden rose compost", "violin opera concert", "rocket moon orbit")
USERS, ITEMS = 80, 144
DAYS = 30
FORMER_TASTE = 4  # days
BROKEN = 11
LATE = (27, 28)

CONFIG = """
[project]
name = "live"
[sources.items]
kind = "file"
path = "items.parquet"
[sources.events]
kind = "file"
path = "events/*.parquet"
min_rows = 1
[windows]
late = 2
[candidates]
pool = "all"
[model]
vocabulary = 400
max_tokens = 8
embedding = 8
channels = 4
hidden = 4
dim = 8
history = 5
[training]
every = 26
epochs = 1
pretrain_epochs = 1
negatives = 4
blend_candidates = 10
[evaluation]
resamples = 200
[publish]
top_k = 10
buckets = 1
[schedule]
deadline = "00:01"
"""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """The sources of one project in `folder`; day 0 is `first`, the last of the DAYS is yesterday."""

    folder: Path
    first: datetime

    @property
    def config(self) -> Path:
        return self.folder / "recsys.toml"

    def key(self, day: int) -> str:
        return f"{self.first + timedelta(days=day):%Y-%m-%d}"

    def begin(self, extra: str = "") -> None:
        """The config and the items, and no event yet."""
        (self.folder / "events").mkdir(parents=True)
        self.config.write_text(CONFIG + extra)
        random = np.random.default_rng(1)
        words = [random.permutation(TOPICS[item % len(TOPICS)].split()) for item in range(ITEMS)]
        pl.DataFrame(
            {
                "item_id": [f"i{item:03d}" for item in range(ITEMS)],
                "title": [f"{' '.join(order)} {item}" for item, order in enumerate(words)],
                "tags": [[order[0]] for order in words],
                "published_at": [self.first - timedelta(days=1)] * ITEMS,
            },
            schema_overrides={"published_at": pl.Datetime("us", "UTC")},
        ).write_parquet(self.folder / "items.parquet")

    def arrive(self, days: Sequence[int]) -> None:
        """The rows of some days, but for those that come late; the broken day has an event type that is none."""
        for day in days:
            rows = self._rows(day)
            self._write(f"day-{day:02d}", rows.head(len(rows) // 2) if day in LATE else rows)

    def arrive_late(self) -> None:
        for day in LATE:
            rows = self._rows(day)
            self._write(f"late-{day:02d}", rows.tail(len(rows) - len(rows) // 2))

    def _rows(self, day: int) -> pl.DataFrame:
        """Each user clicks a new item of their topic; in the first days, of a topic that is new to them, too."""
        of_topic = np.arange(ITEMS).reshape(-1, len(TOPICS)).T
        start = self.first + timedelta(days=day)
        rows = []
        for user in range(USERS):
            random = np.random.default_rng(user)
            topic = (user + (day if day < FORMER_TASTE else 0)) % len(TOPICS)
            item, second = random.permutation(of_topic[topic])[day], random.integers(86_400, size=DAYS)[day]
            kind = "klick" if day == BROKEN else "click"
            rows.append((f"u{user:03d}", f"i{item:03d}", kind, start + timedelta(seconds=int(second))))
        schema = {"user_id": pl.String, "item_id": pl.String, "event_type": pl.String}
        return pl.DataFrame(rows, schema=schema | {"occurred_at": pl.Datetime("us", "UTC")}, orient="row").sample(
            fraction=1.0, shuffle=True, seed=day
        )

    def _write(self, name: str, rows: pl.DataFrame) -> None:
        """Whole or not at all, and under a name that a reader finds last: an extract may run meanwhile."""
        partial = self.folder / f"{name}.partial"
        rows.write_parquet(partial)
        partial.rename(self.folder / "events" / f"{name}.parquet")


def today() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
