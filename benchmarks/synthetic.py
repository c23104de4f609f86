"""Write a seeded log of any size with known structure, as the Parquet sources and the config of a project.

    python benchmarks/synthetic.py FOLDER [--events 4000000] [--users 200000] [--items 40000] [--days 120] [--seed 7]

Items have a topic, which their text and category tell; how often an item is taken follows a power law within its topic.
Each user likes a few topics, and is as active as a log-normal draw says. NEW of the items appear within the log's days,
the others before its first; nobody clicks an item before it appears. `recsys-text extract` reads the folder as it is.
"""

import argparse
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = 86_400_000_000
TOPICS = 50
#: The share of the items that appear within the log's days.
NEW = 0.2
#: The share of the clicks that come from any topic, whatever the user likes.
WANDERING = 0.15
#: Topics that a user likes, the first one most.
LIKED = np.array([0.6, 0.25, 0.15])
_ROWS = 1_000_000
_CONFIG = """\
[project]
name = "synthetic"
root = "project"

[sources.items]
kind = "file"
path = "items.parquet"

[sources.events]
kind = "file"
path = "events.parquet"

[schedule]
end = "{end:%Y-%m-%d}"
"""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a log is."""

    events: int
    users: int
    items: int
    days: int = 120


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Items in the order of their topics, and within one from the most to the least popular.

    topic: int64[I]; published: int64[I], microseconds since the epoch; weight: float64[I + 1], what the items before
    each one weigh together; start: int64[TOPICS + 1], the first item of each topic.
    """

    topic: NDArray[np.int64]
    published: NDArray[np.int64]
    weight: NDArray[np.float64]
    start: NDArray[np.int64]

    def draw(self, topic: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """An item of each topic, by popularity."""
        low, high = self.weight[self.start[topic]], self.weight[self.start[topic + 1]]
        item = np.searchsorted(self.weight, low + rng.random(len(topic)) * (high - low), side="right") - 1
        return np.clip(item, self.start[topic], self.start[topic + 1] - 1)


def write_project(folder: Path, size: Size, seed: int) -> None:
    """Writes items.parquet, events.parquet and recsys.toml into a folder; the same seed gives the same files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    catalogue = _catalogue(size, rng)
    _items(catalogue, rng).write_parquet(folder / "items.parquet")
    _write_events(folder / "events.parquet", catalogue, size, rng)
    (folder / "recsys.toml").write_text(_CONFIG.format(end=START + timedelta(days=size.days)))


def _catalogue(size: Size, rng: np.random.Generator) -> Catalogue:
    topic = np.sort(np.concatenate([np.arange(TOPICS), rng.integers(0, TOPICS, size.items - TOPICS)]))
    start = np.searchsorted(topic, np.arange(TOPICS + 1))
    place = np.arange(size.items) - start[topic]
    # The most popular item of each topic is an old one: there is something to click on from the first moment.
    new = (rng.random(size.items) < NEW) & (place > 0)
    day = np.where(new, rng.random(size.items) * size.days, -rng.random(size.items) * 365)
    return Catalogue(
        topic=topic,
        published=_micros(START) + (day * DAY).astype(np.int64),
        weight=np.concatenate(([0.0], np.cumsum(1.0 / (place + 3)))),
        start=start,
    )


def _items(catalogue: Catalogue, rng: np.random.Generator) -> pl.DataFrame:
    """Titles of 6 and descriptions of 25 words, half of them of the topic's own."""
    syllables = np.array([first + second for first in "bcdfglmnprstvz" for second in "aeiou"])
    words = ["".join(syllables[row]) for row in rng.integers(0, len(syllables), (4000, 3))]
    count = len(catalogue.topic)
    own = catalogue.topic[:, None] * 40 + rng.zipf(1.4, (count, 31)) % 40
    common = TOPICS * 40 + rng.zipf(1.3, (count, 31)) % (len(words) - TOPICS * 40)
    texts = [[words[number] for number in row] for row in np.where(rng.random((count, 31)) < 0.5, own, common)]
    return pl.DataFrame(
        {
            "item_id": [f"item-{number:07d}" for number in rng.permutation(count)],
            "title": [" ".join(row[:6]) for row in texts],
            "description": [" ".join(row[6:]) for row in texts],
            "category": [f"topic {number}" for number in catalogue.topic],
            "published_at": pl.Series(catalogue.published).cast(pl.Datetime("us", "UTC")),
        }
    )


def _write_events(path: Path, catalogue: Catalogue, size: Size, rng: np.random.Generator) -> None:
    """Clicks in no order, some rows at a time."""
    item_ids = pl.read_parquet(path.with_name("items.parquet"))["item_id"].to_arrow().cast(pa.string())
    user_ids = pa.array([f"user-{number}" for number in range(size.users)])
    liked = rng.integers(0, TOPICS, (size.users, len(LIKED)))
    activity = np.cumsum(rng.lognormal(0.0, 1.2, size.users))
    schema = pa.schema(
        [
            ("user_id", pa.string()),
            ("item_id", pa.string()),
            ("event_type", pa.string()),
            ("occurred_at", pa.timestamp("us", "UTC")),
        ]
    )
    with pq.ParquetWriter(path, schema) as writer:
        for written in range(0, size.events, _ROWS):
            rows = min(_ROWS, size.events - written)
            user = np.searchsorted(activity[:-1], rng.random(rows) * activity[-1])
            topic = liked[user, rng.choice(len(LIKED), rows, p=LIKED)]
            topic = np.where(rng.random(rows) < WANDERING, rng.integers(0, TOPICS, rows), topic)
            # More in the evening than at night.
            hour = (20 + 5 * rng.standard_normal(rows)) % 24
            time = _micros(START) + rng.integers(0, size.days, rows) * DAY + (hour / 24 * DAY).astype(np.int64)
            item = catalogue.draw(topic, rng)
            early = catalogue.published[item] >= time
            item[early] = catalogue.start[topic[early]]
            columns = [
                user_ids.take(pa.array(user)),
                item_ids.take(pa.array(item)),
                pa.repeat("click", rows),
                pa.array(time, pa.timestamp("us", "UTC")),
            ]
            writer.write_table(pa.table(columns, schema=schema))


def _micros(time: datetime) -> int:
    return int(time.timestamp()) * 1_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=4_000_000)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--items", type=int, default=40_000)
    parser.add_argument("--days", type=int, default=Size.days)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    size = Size(events=given.events, users=given.users, items=given.items, days=given.days)
    write_project(given.folder, size, given.seed)
    print(f"{given.folder}: {size.events:,} events of {size.users:,} users on {size.items:,} items, seed {given.seed}")


if __name__ == "__main__":
    main()
