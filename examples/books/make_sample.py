"""Makes the bundled books sample from goodbooks-10k: `RECSYS_TEXT_DATA=FOLDER python make_sample.py`.

Keeps the most rated books and every rating of them. The order of the ratings is real; the clock is
ours: goodbooks-10k has no times, so the ratings are spread evenly over 60 days in their real order.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

BOOKS = 2500
START = datetime(2017, 7, 1, tzinfo=UTC)
SPAN = timedelta(days=60)


def main() -> None:
    source = Path(os.environ["RECSYS_TEXT_DATA"]) / "goodbooks10k_sample"
    target = Path(__file__).parent
    books = pl.read_parquet(source / "books.parquet")
    ratings = pl.read_parquet(source / "ratings_sample.parquet").sort("seq")

    kept = ratings.group_by("book_id").len().sort(["len", "book_id"], descending=[True, False]).head(BOOKS)
    items = books.join(kept, on="book_id", how="semi").sort("book_id")
    items = items.select("book_id", "title", "authors", "genres")

    step = SPAN / ratings.height
    events = (
        ratings.with_columns(
            occurred_at=(pl.lit(START) + pl.int_range(pl.len()) * step).dt.cast_time_unit("us"),
            event_type=pl.when(pl.col("rating") >= 4)
            .then(pl.lit("click"))
            .when(pl.col("rating") == 3)
            .then(pl.lit("view"))
            .otherwise(pl.lit("dislike")),
        )
        .join(kept, on="book_id", how="semi", maintain_order="left")
        .select("user_id", "book_id", "event_type", "rating", "occurred_at")
    )

    for name, frame in (("items", items), ("events", events)):
        path = target / f"{name}.parquet"
        frame.write_parquet(path, compression="zstd", compression_level=19)
        print(f"{path.name}: {frame.height:,} rows, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
