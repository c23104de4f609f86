import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.errors import ConfigError, ContractError
from recsys_text.sources import mind
from recsys_text.sources.mind import Converted, convert, prediction_lines

ENTITIES = '[{"Label": "A \\"quoted\\" one", "WikidataId": "Q1"}]'
NEWS = [
    ("N1", "sports", "golf", 'He said "no', "An abstract", "https://x/1", ENTITIES, "[]"),
    ("N2", "news", "newsus", "Second", "", "https://x/2", "[]", "[]"),
    ("N3", "news", "news", "Third 'single\"", "Abstract 3", "", "[]", ENTITIES),
    ("N4", "", "", "Vierte — día", "Abstract 4", "https://x/4", "", ""),
    ("N5", "video", "", "Fifth", "Abstract 5", "https://x/5", "[]", "[]"),
    ("N6", "sports", "tennis", "Sixth", "Abstract 6", "https://x/6", "[]", "[]"),
]
BEHAVIORS = [
    ("1", "U1", "11/12/2019 1:00:00 PM", "N1 N2 N1", "N3-1 N4-0 N5-1"),
    ("2", "U2", "11/9/2019 12:00:01 AM", "", "N4-0 N3-0"),
    ("3", "U1", "11/11/2019 9:01:02 AM", "N1 N2 N1", "N6-1 N2-0"),
    ("4", "U3", "11/14/2019 11:59:59 PM", "N6", "N1-0 N9-1"),
    ("5", "U4", "11/10/2019 12:30:00 PM", "N5 N4", "N2-1"),
]


def write_folder(
    folder: Path, behaviors: list[tuple[str, ...]] = BEHAVIORS, *, news: list[tuple[str, ...]] = NEWS
) -> Path:
    folder.mkdir()
    for name, rows in (("news.tsv", news), ("behaviors.tsv", behaviors)):
        (folder / name).write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def unlabelled(behaviors: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [(*row[:4], " ".join(token[:-2] for token in row[4].split())) for row in behaviors]


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]


@pytest.fixture
def converted(tmp_path: Path) -> Iterator[tuple[Path, Converted]]:
    out = tmp_path / "out"
    yield out, convert([write_folder(tmp_path / "train")], out)
    assert {path.name for path in out.iterdir()} == {"items.parquet", "events.parquet", "impressions.parquet"}


def test_news_becomes_items_and_quotes_mean_nothing(converted: tuple[Path, Converted]) -> None:
    items = pl.read_parquet(converted[0] / "items.parquet")
    assert items["item_id"].to_list() == ["N1", "N2", "N3", "N4", "N5", "N6"]
    assert items["title"].to_list() == [row[3] for row in NEWS]
    assert items["description"].to_list() == [
        "An abstract",
        None,
        "Abstract 3",
        "Abstract 4",
        "Abstract 5",
        "Abstract 6",
    ]
    assert items["category"].to_list() == ["sports", "news", "news", None, "video", "sports"]
    assert items["tags"].to_list() == [
        ["sports", "golf"],
        ["news", "newsus"],
        ["news"],
        [],
        ["video"],
        ["sports", "tennis"],
    ]
    assert "published_at" not in items.columns, "MIND does not say, so the lake takes the first window"


def test_behaviors_become_impressions_in_their_order(converted: tuple[Path, Converted]) -> None:
    shown = pl.read_parquet(converted[0] / "impressions.parquet")
    assert shown["impression_id"].to_list() == [f"train/{number}" for number in range(1, 6)]
    assert shown["user_id"].to_list() == ["U1", "U2", "U1", "U3", "U4"]
    assert shown["shown_at"].to_list() == [
        utc(2019, 11, 12, 13), utc(2019, 11, 9, 0, 0, 1), utc(2019, 11, 11, 9, 1, 2),
        utc(2019, 11, 14, 23, 59, 59), utc(2019, 11, 10, 12, 30),
    ]  # fmt: skip
    assert shown["candidates"].to_list() == [["N3", "N4", "N5"], ["N4", "N3"], ["N6", "N2"], ["N1", "N9"], ["N2"]]
    assert shown["clicked"].to_list() == [[True, False, True], [False, False], [True, False], [False, True], [True]]


def test_histories_end_a_whole_day_before_the_first_day_and_clicks_are_at_their_impression(
    converted: tuple[Path, Converted],
) -> None:
    out, result = converted
    events = pl.read_parquet(out / "events.parquet").sort("user_id", "occurred_at", "item_id")
    end = utc(2019, 11, 8)
    second = timedelta(seconds=1)
    assert events.select("user_id", "item_id", "occurred_at").rows() == [
        ("U1", "N1", end - 3 * second),
        ("U1", "N2", end - 2 * second),
        ("U1", "N1", end - second),
        ("U1", "N6", utc(2019, 11, 11, 9, 1, 2)),
        ("U1", "N3", utc(2019, 11, 12, 13)),
        ("U1", "N5", utc(2019, 11, 12, 13)),
        ("U3", "N6", end - second),
        ("U3", "N9", utc(2019, 11, 14, 23, 59, 59)),
        ("U4", "N5", end - 2 * second),
        ("U4", "N4", end - second),
        ("U4", "N2", utc(2019, 11, 10, 12, 30)),
    ]
    assert events["event_type"].unique().to_list() == ["click"]
    assert result.rows == {"items": 6, "events": 11, "impressions": 5, "unlabelled": 0}
    assert (result.first, result.last) == (utc(2019, 11, 7), utc(2019, 11, 14, 23, 59, 59))


def test_the_history_is_that_of_the_users_first_impression_wherever_it_stands(tmp_path: Path) -> None:
    rows = [
        ("1", "U", "11/10/2019 1:00:00 PM", "N1", "N3-1 N4-0"),
        ("2", "U", "11/10/2019 1:00:00 AM", "N2", "N3-1 N4-0"),
    ]
    convert([write_folder(tmp_path / "a", rows)], tmp_path / "out")
    past = pl.read_parquet(tmp_path / "out/events.parquet").filter(pl.col("occurred_at") < utc(2019, 11, 10))
    assert past["item_id"].to_list() == ["N2"]


def test_small_blocks_give_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "train")
    whole = convert([folder], tmp_path / "whole")
    monkeypatch.setattr(mind, "_BLOCK", 7)
    assert convert([folder], tmp_path / "pieces") == whole
    for name in ("items", "events", "impressions"):
        one, other = (pl.read_parquet(tmp_path / place / f"{name}.parquet") for place in ("whole", "pieces"))
        assert sorted(map(str, one.rows())) == sorted(map(str, other.rows()))


def test_several_folders_share_items_and_each_user_has_one_history(tmp_path: Path) -> None:
    later = [
        ("1", "U1", "11/15/2019 8:00:00 AM", "N1 N2 N1 N6", "N3-0 N4-1"),
        ("2", "U9", "11/15/2019 7:00:00 AM", "N2", "N3-0 N4-1"),
    ]
    extra = ("N7", "news", "new", "Seventh", "", "", "", "")
    dev = write_folder(tmp_path / "dev", later, news=[*NEWS, extra])
    train = write_folder(tmp_path / "train")
    result = convert([dev, train], tmp_path / "out")
    assert result.rows == {"items": 7, "events": 11 + 3, "impressions": 7, "unlabelled": 0}
    events = pl.read_parquet(tmp_path / "out/events.parquet")
    past_of_new = events.filter(pl.col("user_id") == "U9").sort("occurred_at")
    assert past_of_new["occurred_at"].to_list() == [utc(2019, 11, 13, 23, 59, 59), utc(2019, 11, 15, 7)]
    assert events.filter(pl.col("user_id") == "U1").height == 3 + 3 + 1
    ids = pl.read_parquet(tmp_path / "out/impressions.parquet")["impression_id"]
    assert ids.n_unique() == 7
    assert {"train/1", "dev/1"} <= set(ids)


def test_a_test_folder_has_no_labels_and_no_clicks(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "test", unlabelled(BEHAVIORS))
    out = tmp_path / "out"
    out.mkdir()
    (out / "impressions.parquet").touch()
    result = convert([folder], out)
    assert result.rows == {"items": 6, "events": 6, "impressions": 0, "unlabelled": 5}
    assert (result.first, result.last) == (utc(2019, 11, 7), utc(2019, 11, 7, 23, 59, 59)), "no window behind it"
    shown = pl.read_parquet(out / "unlabelled.parquet")
    assert shown.columns == ["impression_id", "user_id", "shown_at", "candidates"]
    assert shown["candidates"].to_list() == [["N3", "N4", "N5"], ["N4", "N3"], ["N6", "N2"], ["N1", "N9"], ["N2"]]
    assert not (out / "impressions.parquet").exists(), "that of an earlier conversion"


def test_lines_may_end_like_those_of_windows_and_the_last_without_an_end(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "train")
    expected = convert([folder], tmp_path / "a")
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n").removesuffix(b"\r\n"))
    assert convert([folder], tmp_path / "b") == expected
    assert pl.read_parquet(tmp_path / "a/items.parquet").equals(pl.read_parquet(tmp_path / "b/items.parquet"))


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("behaviors.tsv", "7\tU1\t11/12/2019 1:00:00 PM\tN1", r"4 fields between tabs, not 5: impression_id, .*"),
        ("behaviors.tsv", "7\tU1\t2019-11-12 13:00\tN1\tN1-0", r"'2019-11-12 13:00' is not a time such as 11/15/2019"),
        ("behaviors.tsv", "7\tU1\t11/12/2019 1:00:00 PM\tN1\tN1-0 N2", "some candidates have a label"),
        ("behaviors.tsv", "7\tU1\t11/12/2019 1:00:00 PM\tN1\t ", "no candidates"),
        ("behaviors.tsv", "\tU1\t11/12/2019 1:00:00 PM\tN1\tN1-0", "no impression id"),
        ("behaviors.tsv", "7\t\t11/12/2019 1:00:00 PM\tN1\tN1-0", "no user id"),
        ("news.tsv", "N7\tnews\tx\ta title\tan\tabstract\t\t\t", "9 fields between tabs, not 8"),
        ("news.tsv", "\tnews\tx\ta title\t\t\t\t", "no news id"),
    ],
)
@pytest.mark.parametrize("block", [5, 1 << 24])
def test_a_line_out_of_the_format_is_named_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, line: str, message: str, block: int
) -> None:
    monkeypatch.setattr(mind, "_BLOCK", block)
    path = write_folder(tmp_path / "train") / file
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines[:2], "", line, *lines[2:]]) + "\n", encoding="utf-8")
    with pytest.raises(ContractError, match=rf"{file} line 4: {message}"):
        convert([path.parent], tmp_path / "out")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_what_is_not_text_is_named(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "train") / "news.tsv"
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([lines[0], lines[1].replace(b"Second", b"\xff"), *lines[2:]]))
    with pytest.raises(ContractError, match=r"news\.tsv line 2: not UTF-8"):
        convert([path.parent], tmp_path / "out")


def test_a_missing_or_empty_file_and_two_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no file .*empty/news\.tsv; unzip"):
        convert([tmp_path / "empty"], tmp_path / "out")
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match="have one name"):
        convert([write_folder(tmp_path / "train"), write_folder(tmp_path / "other/train")], tmp_path / "out")
    with pytest.raises(ContractError, match=r"behaviors\.tsv has no line"):
        convert([write_folder(tmp_path / "none", [])], tmp_path / "out")


def test_ranks_are_in_the_order_shown() -> None:
    lines = prediction_lines(
        ["test/7", "8", "9"],
        np.array([0, 3, 3, 5]),
        np.array([0.1, 0.9, 0.5, 0.2, 0.2], np.float32),
        np.array([0, 1, 2, 4, 3]),
    )
    assert list(lines) == ["7 [3,1,2]\n", "8 []\n", "9 [2,1]\n"]
    assert not list(prediction_lines([], np.array([0]), np.zeros(0, np.float32), np.zeros(0, np.int64)))


@given(st.lists(st.lists(st.sampled_from([0.0, 0.25, 0.5]), max_size=6), max_size=5), st.randoms())
def test_ranks_are_a_permutation_that_places_cannot_change(scores: list[list[float]], random: "st.Randoms") -> None:  # type: ignore[name-defined]
    def ranks(lists: list[list[tuple[float, int]]]) -> list[dict[int, int]]:
        offsets = np.concatenate(([0], np.cumsum([len(row) for row in lists], dtype=np.int64)))
        flat = [pair for row in lists for pair in row]
        score_P, neutral_P = (
            np.array([pair[at] for pair in flat], dtype) for at, dtype in ((0, np.float32), (1, np.int64))
        )
        found = prediction_lines([str(n) for n in range(len(lists))], offsets, score_P, neutral_P)
        listed = [[int(rank) for rank in line.split("[")[1][:-2].split(",") if rank] for line in found]
        return [
            {key: rank for (_, key), rank in zip(row, own, strict=True)} for row, own in zip(lists, listed, strict=True)
        ]

    lists = [[(score, key) for key, score in enumerate(row)] for row in scores]
    found = ranks(lists)
    for row, own in zip(scores, found, strict=True):
        assert sorted(own.values()) == list(range(1, len(row) + 1))
        assert all(own[a] < own[b] for a in own for b in own if row[a] > row[b])
    for row in lists:
        random.shuffle(row)
    assert ranks(lists) == found


@pytest.mark.skipif(
    "RECSYS_TEXT_DATA" not in os.environ, reason="RECSYS_TEXT_DATA names no folder with the MIND sample"
)
def test_the_sample_comes_back_as_it_was(tmp_path: Path) -> None:
    sample = Path(os.environ["RECSYS_TEXT_DATA"]) / "mind_small_sample"
    if not sample.is_dir():
        pytest.skip(f"no {sample}")
    news, behaviors = (pl.read_parquet(sample / f"{name}.parquet") for name in ("news", "behaviors"))
    folder = tmp_path / "sample"
    from examples.mind.make_raw import write_raw  # noqa: PLC0415 - the example's script, which turns the sample raw

    write_raw(sample, folder)
    result = convert([folder], tmp_path / "out")
    items = pl.read_parquet(tmp_path / "out/items.parquet")
    assert items.select("item_id", "title", "category").equals(
        news.select(pl.col("news_id").alias("item_id"), "title", "category")
    )
    assert items["description"].fill_null("").to_list() == news["abstract"].to_list()
    shown = pl.read_parquet(tmp_path / "out/impressions.parquet")
    assert shown["candidates"].to_list() == behaviors["candidates"].to_list()
    assert shown["clicked"].to_list() == behaviors["labels"].cast(pl.List(pl.Boolean)).to_list()
    assert shown["shown_at"].dt.replace_time_zone(None).to_list() == behaviors["time"].to_list()
    events = pl.read_parquet(tmp_path / "out/events.parquet")
    clicks = int(behaviors["labels"].list.sum().sum())
    past = events.filter(pl.col("occurred_at") < utc(2019, 11, 8)).sort("user_id", "occurred_at")
    assert len(events) == len(past) + clicks == result.rows["events"]
    expected = (
        behaviors.sort("time").unique("user_id", keep="first").sort("user_id").filter(pl.col("history").list.len() > 0)
    )
    assert (
        past.group_by("user_id", maintain_order=True).agg("item_id")["item_id"].to_list()
        == expected["history"].to_list()
    )
