"""Writes a sample of MIND, kept as Parquet, in the format of the download: news.tsv and behaviors.tsv.

    python examples/mind/make_raw.py SAMPLE FOLDER [NEWS.parquet]

The sample has the texts of few of the news that its behaviors name. A file of news_id, title and abstract, such as
xMIND's translations of MINDsmall_dev, fills that up: its texts are taken for all news that it has, so that most are
in one language.
"""

import sys
from pathlib import Path

import polars as pl


def write_raw(sample: Path, folder: Path, translated: Path | None = None) -> None:
    """`news.parquet` and `behaviors.parquet` of `sample` as a folder like MINDsmall_train; entities stay empty."""
    news = pl.read_parquet(sample / "news.parquet")
    behaviors = pl.read_parquet(sample / "behaviors.parquet")
    if translated is not None:
        texts = pl.read_parquet(translated).select("news_id", "title", "abstract")
        news = news.join(texts, on="news_id", how="full", coalesce=True, suffix="_translated").with_columns(
            pl.coalesce(f"{name}_translated", name).alias(name) for name in ("title", "abstract")
        )
    news = news.select(
        "news_id",
        *(
            pl.col(name).fill_null("").str.replace_all(r"[\t\r\n]+", " ")
            for name in ("category", "subcategory", "title", "abstract", "url")
        ),
        title_entities=pl.lit("[]"),
        abstract_entities=pl.lit("[]"),
    )
    token = pl.concat_str("candidates", pl.lit("-"), "labels").alias("tokens")
    tokens = behaviors.explode("candidates", "labels").group_by("impression_id").agg(token)
    behaviors = behaviors.join(tokens, on="impression_id", maintain_order="left").select(
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
    write_raw(*(Path(argument) for argument in sys.argv[1:]))
