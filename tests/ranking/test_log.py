from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from recsys_text.errors import ContractError
from recsys_text.ranking.log import NEVER, Log, build_log, impressions_from_frame, micros

START = datetime(2024, 5, 1, tzinfo=UTC)
TIME: Any = pl.Datetime("us", "UTC")


def at(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def catalogue(**columns: list[object]) -> pl.DataFrame:
    frame: dict[str, Any] = {"item_id": ["b", "a"], "known_at": [at(1), at(0)], "published_at": [at(1), None]}
    frame |= {"expires_at": [at(9), None]} | columns
    return pl.DataFrame(
        frame, schema={"item_id": pl.String, "known_at": TIME, "published_at": TIME, "expires_at": TIME}
    )


@pytest.fixture
def log() -> Log:
    rows = [
        ("v", "b", "view", at(3)),
        ("u", "a", "click", at(2)),
        ("u", "gone", "click", at(1)),
        ("w", "a", "share", at(2)),
    ]
    schema = {"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "occurred_at": TIME}
    return build_log(catalogue(), pl.DataFrame(rows, schema=schema, orient="row"))


def impressions(**columns: object) -> pl.DataFrame:
    frame = {"impression_id": ["1", "2", "3"], "user_id": ["w", "new", "u"], "shown_at": [at(2), at(3), at(4)]}
    return pl.DataFrame(frame | {"candidates": [["b", "a"], [], ["a"]]} | columns)


def test_codes_are_positions_in_sorted_ids_and_events_are_in_time_order(log: Log) -> None:
    assert log.item_ids == ["a", "b"]
    assert log.user_ids == ["u", "v", "w"]
    assert log.time.tolist() == [micros(at(2)), micros(at(2)), micros(at(3))]
    assert log.user.tolist() == [0, 2, 1]
    assert log.item.tolist() == [0, 0, 1]
    assert log.positive.tolist() == [True, True, False]
    assert log.known_at.tolist() == log.published_at.tolist() == [micros(at(0)), micros(at(1))]
    assert log.expires_at.tolist() == [NEVER, micros(at(9))]


def test_no_order_of_names_tells_which_of_the_events_of_one_time_is_the_newest() -> None:
    number = 50
    names = [f"{n:02d}" for n in range(number)]
    known = pl.DataFrame(
        {"item_id": names, "known_at": [at(0)] * number, "published_at": None, "expires_at": None},
        schema={"item_id": pl.String, "known_at": TIME, "published_at": TIME, "expires_at": TIME},
    )
    events = pl.DataFrame(
        {"user_id": "u", "item_id": names, "event_type": "click", "occurred_at": [at(1)] * number},
        schema={"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "occurred_at": TIME},
    )
    log = build_log(known, events)
    assert np.argsort(log.neutral).tolist() == log.item.tolist() != sorted(log.item)


def test_a_dislike_is_no_click() -> None:
    rows = [("u", "a", "dislike", at(1)), ("u", "b", "purchase", at(2))]
    schema = {"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "occurred_at": TIME}
    log = build_log(catalogue(), pl.DataFrame(rows, schema=schema, orient="row"))
    assert log.positive.tolist() == [False, True]
    assert log.clicks_of_user.value.tolist() == [1]
    # It was met all the same, and is in no pool of this user any more.
    assert log.consumed.value.tolist() == [0, 1]


def test_events_on_unknown_items_are_dropped_and_counted(log: Log) -> None:
    assert log.dropped == 1


def test_microseconds_are_exact() -> None:
    assert micros(datetime(2262, 1, 1, 0, 0, 0, 1, tzinfo=UTC)) % 1_000_000 == 1


@pytest.mark.parametrize("columns", [{"item_id": ["a", "a"]}, {"known_at": [None, at(0)]}])
def test_a_catalogue_with_a_repeated_or_undated_item_is_refused(columns: dict[str, list[object]]) -> None:
    events = pl.DataFrame(
        schema={"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "occurred_at": TIME}
    )
    with pytest.raises(ContractError, match="comes twice or has no known_at"):
        build_log(catalogue(**columns), events)


def test_impressions_keep_their_order_and_their_empty_lists(log: Log) -> None:
    coded = impressions_from_frame(impressions(clicked=[[False, True], [], [False]]), log)
    assert coded.user.tolist() == [2, -1, 0]
    assert coded.time.tolist() == [micros(at(2)), micros(at(3)), micros(at(4))]
    assert coded.offsets.tolist() == [0, 2, 2, 3]
    assert coded.item.tolist() == [1, 0, 0]
    assert coded.clicked.tolist() == [False, True, False]
    assert coded.row.tolist() == [0, 0, 2]


def test_clicks_are_optional(log: Log) -> None:
    assert not impressions_from_frame(impressions(), log).clicked.any()


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (impressions(candidates=[["b", "a"], [], ["nope"]]), "candidate 'nope' of impression '3'"),
        (impressions(candidates=[["b", "nope"], [], ["a"]]), "candidate 'nope' of impression '1'"),
        (impressions().drop("shown_at"), "lack the column 'shown_at'"),
        (impressions().with_columns(pl.col("shown_at").dt.replace_time_zone(None)), "with a time zone"),
        (impressions(candidates=["b", "a", "a"]), "candidates of the impressions are String"),
        (impressions(clicked=[[True], [], [True]]), "impression '1' has not one clicked label"),
    ],
)
def test_bad_impressions_are_refused_in_one_line(log: Log, frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        impressions_from_frame(frame, log)
