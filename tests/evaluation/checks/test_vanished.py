"""A catalogue that lost items is told, in old shops and young ones; a feed of changes and what has expired are not."""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from recsys_text.evaluation.checks import Finding, catalogue
from tests.evaluation.checks.frames import HOUR, START, events, items

#: The newest window, in hours after START.
BEGIN, END = 240.0, 264.0


def shop(ids: Sequence[int], **columns: list[float | None]) -> pl.DataFrame:
    """The items of these numbers, published at START unless `columns` says otherwise; as a snapshot has them."""
    published_at: dict[str, list[float | None]] = {"published_at": [0.0] * len(ids)}
    frame = items([f"title {number}" for number in ids], **(published_at | columns))
    published = pl.col("published_at").fill_null(START + BEGIN * HOUR)
    frame = frame if "updated_at" in columns else frame.with_columns(updated_at=published)
    return frame.with_columns(item_id=pl.Series([f"i{number}" for number in ids], dtype=pl.String))


def found(former: pl.DataFrame, present: pl.DataFrame, clicked: Sequence[int]) -> Finding:
    random = np.random.default_rng(8)
    clicks = events(
        (f"u{n}", f"i{item}", random.uniform(BEGIN, END)) for n, item in enumerate(random.permutation(clicked))
    )
    known = pl.concat([former, present]).unique("item_id", keep="last", maintain_order=True)
    return catalogue.vanished(clicks, known, present, START + BEGIN * HOUR, START + END * HOUR)


@pytest.mark.parametrize("dated", [True, False])
@pytest.mark.parametrize("gone_before", [0, 100, 1500, 10_000])
def test_a_query_that_loses_items_is_told_at_any_age_of_the_shop(gone_before: int, dated: bool) -> None:
    former = shop(range(1000 + gone_before))
    live = range(gone_before, gone_before + 1000)
    present = shop(live[300:], **({} if dated else {"published_at": [None] * 700}))
    lost = found(former, present, live)
    assert (lost.level, lost.count, lost.of) == ("error", 300, 1000)
    assert found(former, present, live[300:]).level == "ok"
    assert found(former, present, [*live[290:]]).level == "warning"


@pytest.mark.parametrize("lost", [600, 990])
def test_most_of_the_items_are_lost(lost: int) -> None:
    assert found(shop(range(1000)), shop(range(lost, 1000)), range(1000)).count == lost


def test_a_feed_of_changes_loses_nothing() -> None:
    """News of two windows, of the same size, that are updated once they are out or not at all."""
    hours: list[float | None] = [BEGIN + number / 5 for number in range(100)]
    edited: list[float | None] = [BEGIN + 20 + number / 50 for number in range(100)]
    clicked = [*range(40), *range(100, 160)]
    news = shop(range(100, 200), published_at=hours)
    for present in (
        news,
        shop(range(100, 200), published_at=hours, updated_at=edited),
        shop(range(100, 200), published_at=[None] * 100, updated_at=edited),
        shop(range(100, 200), updated_at=edited),
    ):
        told = found(shop(range(100)), present, clicked)
        assert (told.level, told.count) == ("ok", 0)


def test_what_has_expired_is_gone_for_good() -> None:
    former = shop(range(100), expires_at=[END - 5] * 50 + [END + 5] * 50)
    assert found(former, shop(range(50, 100)), range(100)).level == "ok"
    assert found(former, shop(range(50)), range(100)).count == 50


def test_some_things_are_sold_every_day() -> None:
    assert found(shop(range(100)), shop(range(10, 100)), range(100)).level == "warning"


def test_a_quiet_hour_says_nothing() -> None:
    assert found(shop(range(100)), shop(range(10, 100)), range(5, 15)).level == "ok"


def test_no_items_at_all() -> None:
    assert found(shop([]), shop([]), range(30)).level == "ok"
