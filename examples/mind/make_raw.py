"""Writes a sample of MIND, kept as Parquet, in the format of the download: news.tsv and behaviors.tsv."""

import sys
from pathlib import Path

import polars as pl


def write_raw(sample: Path, folder: Path) -> None:
    """`news.parquet` and `behaviors.parquet` of `sample` as a folder like MINDsmall_train; entities stay empty."""
    news = pl.read_parquet(sample / "news.parquet").with_columns(
        title_entities=pl.lit("[]"), abstract_entities=pl.lit("[]")
    )
    behaviors = pl.read_parquet(sample / "behaviors.parquet")
    token = pl.concat_str("candidates", pl.lit("-"), "labels")
    impressions = behaviors.explode("candidates", "labels").group_by("impression_id", maintain_order=True).agg(token)
    behaviors = behaviors.join(
        impressions.rename({"candidates": "tokens"}), on="impression_id", maintain_order="left"
    ).select(
        "impression_id",
        "user_id",
        pl.col("time").dt.strftime("%-m/%-d/%Y %-I:%M:%S %p"),
        pl.col("history").list.join(" "),
        pl.col("tokens").list.join(" "),
    )
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in (("news", news), ("behaviors", behaviors)):
        frame.write_csv(folder / f"{name}.tsv", separator="\t", include_header=False, quote_style="never")


if __name__ == "__main__":
    write_raw(Path(sys.argv[1]), Path(sys.argv[2]))
