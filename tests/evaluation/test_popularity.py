import numpy as np

from recsys_text.evaluation.popularity import by_popularity
from recsys_text.ranking.log import Impressions


def lists(items: int, clicked: list[int]) -> Impressions:
    """One impression of all items for each click."""
    count = len(clicked)
    item = np.tile(np.arange(items, dtype=np.int32), count)
    return Impressions(
        user=np.zeros(count, np.int32),
        time=np.zeros(count, np.int64),
        offsets=np.arange(count + 1) * items,
        item=item,
        clicked=item == np.repeat(clicked, items),
    )


def test_tenths_by_clicks_and_the_shares_that_fall_on_them() -> None:
    clicks_I = np.arange(20)[::-1]
    first_NK = np.array([[0, 1, 2, -1], [0, 19, -1, -1]], np.int32)
    table = by_popularity(clicks_I, np.arange(20), first_NK, lists(20, [1, 18]))
    assert table["part"].to_list() == list(range(1, 11))
    assert table["items"].to_list() == [2] * 10
    assert table["recommended"].to_list() == [0.6, 0.2, *[0] * 7, 0.2]
    assert table["clicked"].to_list() == [0.5, *[0] * 8, 0.5]
    assert table.select("most", "least").row(0) == (19, 18)


def test_fewer_items_than_parts_and_items_that_are_no_candidates() -> None:
    clicks_I = np.array([5, 9, 1, 100])
    table = by_popularity(clicks_I, np.arange(4), np.array([[1, 0, 2]], np.int32), lists(3, [2]))
    assert table["items"].to_list() == [1, 1, 1]
    assert table["most"].to_list() == [9, 5, 1]
    assert table["clicked"].to_list() == [0, 0, 1]


def test_equally_clicked_items_come_by_the_neutral_order() -> None:
    table = by_popularity(np.zeros(2, np.int64), np.array([1, 0]), np.array([[0]], np.int32), lists(2, [0]))
    assert table["recommended"].to_list() == [0, 1]
