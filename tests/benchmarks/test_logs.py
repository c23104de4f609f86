from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from benchmarks.logs import DAY, END, Data, caixin, citeulike, clocked, goodbooks

ITEMS = pl.DataFrame({"item_id": [str(item) for item in range(7)], "text": [f"text {item}" for item in range(7)]})
# User b clicks between and after the clicks of a; the order is not that of the rows.
CLICKS = pl.DataFrame(
    {
        "user_id": ["a", "b", "a", "a", "b", "a", "a"],
        "item_id": ["0", "6", "1", "2", "5", "3", "4"],
        "order": [10, 1, 20, 30, 99, 40, 50],
    }
)


@pytest.fixture(name="data")
def _data() -> Data:
    return clocked(ITEMS, CLICKS, per_window=2)


def test_the_newest_window_holds_each_users_last_clicks(data: Data) -> None:
    rows = data.events.select("user_id", "item_id", "occurred_at").iter_rows()
    ago = {(user, item): (END - time - timedelta(microseconds=1)) // DAY for user, item, time in rows}
    assert ago == {
        ("a", "4"): 0,
        ("a", "3"): 0,
        ("a", "2"): 1,
        ("a", "1"): 1,
        ("a", "0"): 2,
        ("b", "5"): 0,
        ("b", "6"): 0,
    }


def test_times_follow_the_order_and_no_two_clicks_share_one(data: Data) -> None:
    assert data.events["occurred_at"].n_unique() == len(CLICKS)
    for user in ("a", "b"):
        own = data.events.filter(pl.col("user_id") == user).sort("occurred_at")["item_id"].to_list()
        assert own == CLICKS.filter(pl.col("user_id") == user).sort("order")["item_id"].to_list()


def test_every_item_is_known_before_the_first_click_and_before_leaves_later_clicks_out(data: Data) -> None:
    first = data.events["occurred_at"].min()
    assert data.items["known_at"].max() <= first - DAY
    before = data.before(END - DAY)
    assert sorted(before.events["item_id"]) == ["0", "1", "2"]
    assert before.log.item_ids == data.log.item_ids
    assert data.texts == ITEMS["text"].to_list()


def test_the_windows_reach_from_the_first_event_to_the_cutoff(data: Data) -> None:
    assert data.starts(END) == [END - 3 * DAY, END - 2 * DAY, END - DAY]
    assert data.before(END - DAY).starts(END - DAY) == [END - 3 * DAY, END - 2 * DAY]


def test_an_item_that_is_published_later_is_not_in_the_catalogue(tmp_path: Path) -> None:
    time = pl.Datetime("us", "UTC")
    pl.DataFrame(
        {"news_id": [1, 2, 3], "title": ["one", "two", "three"], "published_at": [None, END, END + DAY]},
        schema_overrides={"published_at": time},
    ).write_parquet(tmp_path / "news.parquet")
    pl.DataFrame(
        {"user_id": [5, 5], "news_id": [1, 3], "read_at": [END - DAY, END + 2 * DAY]},
        schema_overrides={"read_at": time},
    ).write_parquet(tmp_path / "clicks.parquet")
    data = caixin(tmp_path)
    assert data.items["known_at"].to_list() == [END - DAY, END, END + DAY]
    before = data.before(END + DAY)
    assert (before.log.item_ids, before.texts, len(before.events)) == (["1", "2"], ["one", "two"], 1)


def test_a_book_is_liked_from_four_stars_and_its_popularity_is_no_text(tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "book_id": [1, 2],
            "title": ["A  title", "Other"],
            "authors": ["Somebody", "Nobody"],
            "genres": [["fiction", "classics"], []],
            "ratings_count": [123456, 7],
            "average_rating": [4.5, 3.5],
        },
        schema_overrides={"genres": pl.List(pl.String)},
    ).write_parquet(tmp_path / "books.parquet")
    pl.DataFrame({"seq": [3, 1, 2], "user_id": [9, 9, 9], "book_id": [1, 2, 1], "rating": [4, 5, 3]}).write_parquet(
        tmp_path / "ratings_sample.parquet"
    )
    found = goodbooks(tmp_path)
    assert found.items.to_dict(as_series=False) == {
        "item_id": ["1", "2"],
        "text": ["A title\n\nfiction classics\nSomebody", "Other\n\n\nNobody"],
    }
    assert found.clicks["item_id"].to_list() == ["2", "1"]


def test_the_order_of_papers_is_drawn_and_always_the_same(tmp_path: Path) -> None:
    pl.DataFrame(
        {"doc_id": range(50), "title": ["t"] * 50, "tags": [["x"]] * 50, "abstract": [None] * 50},
        schema_overrides={"abstract": pl.String},
    ).write_parquet(tmp_path / "docs.parquet")
    pl.DataFrame({"user_id": [1] * 50, "doc_id": range(50)}).write_parquet(tmp_path / "user_library.parquet")
    order = citeulike(tmp_path).clicks["order"].to_list()
    assert sorted(order) == list(range(50)) != order
    assert order == citeulike(tmp_path).clicks["order"].to_list()
