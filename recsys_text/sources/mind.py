"""Turns MIND as it is downloaded into files that the sources take, and ranks into its leaderboard's format.

Knows no lake and no model. MIND (Wu et al., ACL 2020; msnews.github.io) comes as folders of `news.tsv` and
`behaviors.tsv`: tabs between the fields, no header, and quotes that mean nothing. What the format leaves open:

- Its times carry no zone and are read as UTC.
- News has no time of publication, so an item is known from the first window that is extracted.
- A user's `history` has no times. It is the same in all rows of a user in a folder and holds nothing of the folder's
  own days, so its clicks, in their order and a second apart, end at midnight a whole day before the folder's first
  day: no count over the last 24 hours of an impression holds them. Of several folders a user's history is that of
  the earliest, whose later clicks are in its impressions.
- A click happened at its impression's time.
"""

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys_text.errors import ConfigError, ContractError

NEWS = "news.tsv"
BEHAVIORS = "behaviors.tsv"
_NEWS_FIELDS = ("news_id", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities")
_BEHAVIOR_FIELDS = ("impression_id", "user_id", "time", "history", "impressions")
_TIME_FORMAT = "%m/%d/%Y %I:%M:%S %p"
#: Bytes that are parsed at a time: bounds the memory, however long the files are.
_BLOCK = 1 << 24
_DAY, _SECOND = timedelta(days=1), timedelta(seconds=1)

_INSTANT = pl.Datetime("us", "UTC")
_SHOWN = {
    "impression_id": pl.String(),
    "user_id": pl.String(),
    "shown_at": _INSTANT,
    "candidates": pl.List(pl.String),
}
_SCHEMAS: dict[str, dict[str, pl.DataType]] = {
    "items": {
        "item_id": pl.String(),
        "title": pl.String(),
        "description": pl.String(),
        "tags": pl.List(pl.String),
        "category": pl.String(),
    },
    "events": {
        "user_id": pl.String(),
        "item_id": pl.String(),
        "event_type": pl.String(),
        "occurred_at": _INSTANT,
    },
    "impressions": {**_SHOWN, "clicked": pl.List(pl.Boolean)},
    "unlabelled": _SHOWN,
}


@dataclass(frozen=True, kw_only=True)
class Converted:
    """Rows of each file that was written, the first day that a history may lie in, and the last time of an event."""

    rows: dict[str, int]
    first: datetime
    last: datetime


@dataclass(frozen=True, kw_only=True)
class _Folder:
    """A folder that was read through once: its first impression, its last event, and the line of each user's first
    impression.
    """

    path: Path
    first: datetime
    last: datetime
    histories: pl.DataFrame


def convert(folders: Sequence[Path], out: Path) -> Converted:
    """Writes `items.parquet`, `events.parquet` and `impressions.parquet`, in memory bounded by the number of users.

    Impressions without labels (the test set's) go to `unlabelled.parquet`, which `rank` takes. An impression's id is
    the folder's name, a slash and the id in its file. Files of an earlier conversion are replaced when all are whole.

    Raises ConfigError for a folder without the two files or two of one name, ContractError naming file and line for a
    line that is not in the format.
    """
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        raise ConfigError(f"two of the folders {', '.join(names)} have one name, so their impressions would too")
    for path in (folder / name for folder in folders for name in (NEWS, BEHAVIORS)):
        if not path.is_file():
            raise ConfigError(f"no file {path}; unzip the download and name the folder that holds its .tsv files")
    read = sorted((_read_through(folder) for folder in folders), key=lambda folder: folder.first)
    with _writers(out) as (write, rows):
        seen: set[str] = set()
        known = pl.DataFrame(schema={"user_id": pl.String})
        for folder in read:
            _write_items(folder, seen, write)
            _write_behaviors(folder, folder.histories.join(known, on="user_id", how="anti"), write)
            known = pl.concat([known, folder.histories.select("user_id")]).unique()
    return Converted(rows=rows, first=_history_end(read[0].first) - _DAY, last=max(folder.last for folder in read))


def prediction_lines(
    impression_ids: Sequence[str],
    offsets: NDArray[np.int64],
    score_P: NDArray[np.float32],
    neutral_P: NDArray[np.int64],
) -> Iterator[str]:
    """The leaderboard's lines: `ID [r1,r2,...]`, the rank of each candidate in the order shown, 1 the best.

    The id is what follows the last slash. Equal scores are ordered by `neutral_P`, never by their place.
    """
    row_P = np.repeat(np.arange(len(impression_ids)), np.diff(offsets))
    order = np.lexsort((neutral_P, -score_P, row_P))
    rank_P = np.empty(len(order), dtype=np.int64)
    rank_P[order] = np.arange(len(order)) - offsets[:-1][row_P] + 1
    for name, (low, high) in zip(impression_ids, itertools.pairwise(offsets.tolist()), strict=True):
        yield f"{name.rpartition('/')[2]} [{','.join(map(str, rank_P[low:high].tolist()))}]\n"


def _read_through(folder: Path) -> _Folder:
    """Checks every line, and finds each user's first impression."""
    firsts: list[pl.DataFrame] = []
    first: list[Any] = []
    last: list[Any] = []
    for frame in _behaviors(folder / BEHAVIORS):
        firsts.append(_first_of_user(frame.select("user_id", "shown_at", "line")))
        first.append(frame["shown_at"].min())
        last.append(frame.filter("labelled")["shown_at"].max())
        if len(firsts) > 16:
            firsts = [_first_of_user(pl.concat(firsts))]
    if not first:
        raise ContractError(f"{folder / BEHAVIORS} has no line")
    return _Folder(
        path=folder,
        first=min(first),
        last=max((time for time in last if time is not None), default=_history_end(min(first)) - _SECOND),
        histories=_first_of_user(pl.concat(firsts)).select("user_id", "line"),
    )


def _first_of_user(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort("shown_at", "line").unique("user_id", keep="first", maintain_order=True)


def _history_end(first: datetime) -> datetime:
    return first.replace(hour=0, minute=0, second=0, microsecond=0) - _DAY


def _write_items(folder: _Folder, seen: set[str], write: Callable[[str, pl.DataFrame], None]) -> None:
    path = folder.path / NEWS
    for frame in _rows(path, _NEWS_FIELDS):
        _refuse(frame.filter(pl.col("news_id") == ""), path, "no news id")
        fresh = []
        for news_id in frame["news_id"]:
            fresh.append(news_id not in seen)
            seen.add(news_id)
        tags = pl.concat_list("category", "subcategory").list.eval(pl.element().filter(pl.element() != ""))
        write(
            "items",
            frame.filter(pl.Series(fresh)).select(
                "title",
                item_id="news_id",
                description=pl.col("abstract").replace("", None),
                tags=tags.list.unique(maintain_order=True),
                category=pl.col("category").replace("", None),
            ),
        )


def _write_behaviors(folder: _Folder, histories: pl.DataFrame, write: Callable[[str, pl.DataFrame], None]) -> None:
    name = folder.path.resolve().name
    end = pl.lit(_history_end(folder.first), dtype=_INSTANT)
    for frame in _behaviors(folder.path / BEHAVIORS):
        past = (
            frame.join(histories.select("line"), on="line", how="semi")
            .select("user_id", item_id="history", before=pl.int_ranges(pl.col("history").list.len(), 0, -1))
            .filter(pl.col("item_id").list.len() > 0)
            .explode("item_id", "before")
            .select("user_id", "item_id", occurred_at=end - pl.duration(seconds="before"))
        )
        shown = frame.with_columns(impression_id=pl.lit(f"{name}/") + pl.col("impression_id"))
        labelled = shown.filter("labelled")
        clicks = (
            labelled.select("user_id", "clicked", item_id="candidates", occurred_at="shown_at")
            .explode("item_id", "clicked")
            .filter("clicked")
        )
        columns = ["user_id", "item_id", "occurred_at"]
        write("events", pl.concat([past, clicks.select(columns)]).with_columns(event_type=pl.lit("click")))
        write("impressions", labelled)
        write("unlabelled", shown.filter(~pl.col("labelled")))


def _behaviors(path: Path) -> Iterator[pl.DataFrame]:
    """Batches of line, impression_id, user_id, shown_at, history, candidates, clicked and labelled."""
    labelled = pl.col("tokens").list.eval(pl.element().str.contains(r".-[01]$").cast(pl.UInt32)).list.sum()
    for raw in _rows(path, _BEHAVIOR_FIELDS):
        frame = raw.with_columns(
            shown_at=pl.col("time").str.to_datetime(_TIME_FORMAT, time_unit="us", strict=False, time_zone="UTC"),
            history=pl.col("history").str.extract_all(r"\S+"),
            tokens=pl.col("impressions").str.extract_all(r"\S+"),
        ).with_columns(labels=labelled)
        _refuse(frame.filter(pl.col("impression_id") == ""), path, "no impression id")
        _refuse(frame.filter(pl.col("user_id") == ""), path, "no user id")
        timeless = frame.filter(pl.col("shown_at").is_null())
        shown = "" if timeless.is_empty() else timeless["time"][0]
        _refuse(timeless, path, f"'{shown}' is not a time such as 11/15/2019 8:55:22 AM")
        size = pl.col("tokens").list.len()
        _refuse(frame.filter(size == 0), path, "no candidates")
        some = (pl.col("labels") > 0) & (pl.col("labels") < size)
        _refuse(frame.filter(some), path, "some candidates have a label (-0 or -1) and others have none")
        yield frame.select(
            "line",
            "impression_id",
            "user_id",
            "shown_at",
            "history",
            candidates=pl.col("tokens").list.eval(pl.element().str.replace(r"(.)-[01]$", "$1")),
            clicked=pl.col("tokens").list.eval(pl.element().str.ends_with("-1")),
            labelled=pl.col("labels") > 0,
        )


def _rows(path: Path, names: Sequence[str]) -> Iterator[pl.DataFrame]:
    """The lines of a file of tabs as batches of text columns, and their numbers as `line`; blank ones are left out."""
    first = 1
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            block += file.readline()
            try:
                text = block.decode("utf-8")
            except UnicodeDecodeError as error:
                line = first + block.count(b"\n", 0, error.start)
                raise ContractError(f"{path} line {line}: not UTF-8 ({error.reason})") from None
            lines = pl.DataFrame({"text": text.removesuffix("\n").split("\n")}).select(
                pl.int_range(first, first + pl.len()).alias("line"),
                pl.col("text").str.strip_suffix("\r").str.split("\t").alias("fields"),
            )
            first += len(lines)
            fields = pl.col("fields")
            lines = lines.filter(fields != [""])
            uneven = lines.filter(fields.list.len() != len(names))
            found = "" if uneven.is_empty() else len(uneven["fields"][0])
            _refuse(uneven, path, f"{found} fields between tabs, not {len(names)}: {', '.join(names)}")
            if len(lines):
                yield lines.select("line", *(fields.list.get(place).alias(name) for place, name in enumerate(names)))


def _refuse(wrong: pl.DataFrame, path: Path, reason: str) -> None:
    if len(wrong):
        raise ContractError(f"{path} line {wrong['line'][0]}: {reason}")


@contextmanager
def _writers(out: Path) -> Iterator[tuple[Callable[[str, pl.DataFrame], None], dict[str, int]]]:
    """What writes rows of a file by its name, and the rows written; the files take their names when all went well."""
    out.mkdir(parents=True, exist_ok=True)
    partial = {name: out / f".{name}.{os.getpid()}.tmp" for name in _SCHEMAS}
    rows: dict[str, int] = dict.fromkeys(_SCHEMAS, 0)
    plain = pl.CompatLevel.oldest()
    try:
        with ExitStack() as stack:
            writers = {
                name: stack.enter_context(
                    pq.ParquetWriter(partial[name], pl.DataFrame(schema=schema).to_arrow(compat_level=plain).schema)
                )
                for name, schema in _SCHEMAS.items()
            }

            def write(name: str, frame: pl.DataFrame) -> None:
                if len(frame):
                    writers[name].write_table(frame.select(list(_SCHEMAS[name])).to_arrow(compat_level=plain))
                    rows[name] += len(frame)

            yield write, rows
        for name, path in partial.items():
            if rows[name]:
                path.replace(out / f"{name}.parquet")
            else:
                (out / f"{name}.parquet").unlink(missing_ok=True)
    finally:
        for path in partial.values():
            with suppress(OSError):
                path.unlink()
