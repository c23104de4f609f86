"""Casting a source's columns to the contract."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.errors import ConfigError, ContractError
from recsys_text.sections import Source
from recsys_text.sources.cast import Span, to_contract

NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)


def source(**settings: object) -> Source:
    return Source.model_validate({"kind": "file", "path": "events.csv", **settings})


def events(**columns: object) -> pl.DataFrame:
    return pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "event_type": ["click"], "occurred_at": [NOON], **columns})


def cast_time(value: object, **settings: object) -> object:
    return to_contract(events(occurred_at=[value]), "events", source(**settings))["occurred_at"][0]


def test_columns_are_mapped_and_constants_filled_in() -> None:
    raw = pl.DataFrame({"who": [7], "sku": [9], "occurred_at": [NOON]})
    cast = to_contract(
        raw, "events", source(columns={"user_id": "who", "item_id": "sku"}, values={"event_type": "view"})
    )
    assert cast.row(0, named=True) == {
        "user_id": "7", "item_id": "9", "event_type": "view", "occurred_at": NOON, "value": None, "text": None,
        "rule": None, "offender": None,
    }  # fmt: skip


def test_text_ids_keep_their_zeros_and_whole_floats_lose_their_point() -> None:
    cast = to_contract(events(user_id=["007"], item_id=[7.0]), "events", source())
    assert cast.row(0)[:2] == ("007", "7")


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("2024-03-01T12:00:00Z", None, NOON),
        ("2024-03-01 12:00:00.25+00:00", None, NOON + timedelta(milliseconds=250)),
        ("2024-03-01T20:00:00+0800", None, NOON),
        ("2024-03-01T06:30:00-05:30", None, NOON),
        ("2024-03-01T12:00+00", None, NOON),
        (" 2024-03-01T12:00:00z ", None, NOON),
        ("2024-03-01T20:00:00", "Asia/Shanghai", NOON),
        ("2024-03-01 20:00", "Asia/Shanghai", NOON),
        ("2024-03-01T12:00:00Z", "Asia/Shanghai", NOON),
        ("2024-03-02", "Asia/Shanghai", NOON + timedelta(hours=4)),
    ],
)
def test_iso_times_are_read(text: str, zone: str | None, expected: datetime) -> None:
    assert cast_time(text, time_zone=zone) == expected


@given(st.datetimes(datetime(1678, 1, 3), datetime(2261, 12, 29)), st.integers(-14 * 60, 14 * 60))
def test_any_iso_time_is_read_as_python_reads_it(local: datetime, minutes: int) -> None:
    time = local.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert cast_time(time.isoformat()) == time


@pytest.mark.parametrize(
    "naive", ["2024-03-01T12:00:00", "2024-03-01", datetime(2024, 3, 1, 12), date(2024, 3, 1)]
)  # fmt: skip
def test_naive_times_are_refused_without_a_zone(naive: object) -> None:
    with pytest.raises(ContractError, match=r"events\.occurred_at: naive time.*sources\.events\.time_zone"):
        cast_time(naive)
    assert isinstance(cast_time(naive, time_zone="UTC"), datetime)


def test_one_naive_time_among_others_is_rejected_with_its_row() -> None:
    raw = pl.concat([events(occurred_at=["2024-03-01T12:00:00Z"])] * 2 + [events(occurred_at=["2024-03-01T13:00:00"])])
    cast = to_contract(raw, "events", source())
    assert cast["offender"].to_list() == [None, None, "2024-03-01T13:00:00"]


@pytest.mark.parametrize("epoch", [1_709_294_400, 1_709_294_400.5, "1709294400", "1709294400000"])
def test_epoch_numbers_are_refused(epoch: object) -> None:
    with pytest.raises(ContractError, match=r"events\.occurred_at: .*17092944.*not times"):
        cast_time(epoch)


def test_times_that_the_clocks_showed_twice_or_never() -> None:
    assert cast_time("2024-10-27T02:30:00", time_zone="Europe/Berlin") == datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
    cast = to_contract(events(occurred_at=["2024-03-31T02:30:00"]), "events", source(time_zone="Europe/Berlin"))
    assert cast.select("occurred_at", "rule", "offender").row(0) == (None, "occurred_at|dtype", "2024-03-31T02:30:00")


def test_unreadable_values_carry_their_rule_and_text() -> None:
    cast = to_contract(events(event_type=["klick"], value=["much"]), "events", source())
    assert cast.select("event_type", "rule", "offender").row(0) == (None, "event_type|dtype", "klick")
    cast = to_contract(events(occurred_at=["yesterday"]), "events", source())
    assert cast.select("occurred_at", "rule", "offender").row(0) == (None, "occurred_at|dtype", "yesterday")
    cast = to_contract(events(value=["1.5"]), "events", source())
    assert cast.select("value", "rule").row(0) == (1.5, None)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["a", None, "b", ""], ["a", "b"]),
        ([1, 2], ["1", "2"]),
        (None, []),
        ('["a", "b, c"]', ["a", "b, c"]),
        ("a | b;c, d", ["a", "b", "c", "d"]),
        ("", []),
    ],
)
def test_tags_come_as_lists_or_text(tags: object, expected: list[str]) -> None:
    raw = pl.DataFrame({"item_id": ["i"], "title": ["t"], "tags": [tags]})
    assert to_contract(raw, "items", source())["tags"].to_list() == [expected]


def test_missing_columns() -> None:
    cast = to_contract(pl.DataFrame({"item_id": ["i"], "title": ["t"]}), "items", source())
    assert cast.select("description", "tags", "published_at").row(0) == (None, [], None)
    with pytest.raises(ContractError, match="the source of events has no column 'item_id'"):
        to_contract(events().drop("item_id"), "events", source())
    with pytest.raises(ContractError, match="no column 'note'"):
        to_contract(events(), "events", source(columns={"text": "note"}))


@pytest.mark.parametrize(
    ("column", "value"),
    [("user_id", [1.5]), ("user_id", [["a"]]), ("value", [NOON]), ("occurred_at", [True])],
)
def test_wrong_types_are_refused(column: str, value: list[object]) -> None:
    with pytest.raises(ContractError, match=rf"events\.{column}: column '{column}' of the source holds"):
        to_contract(events(**{column: value}), "events", source())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"columns": {"item": "sku"}}, "did you mean 'item_id'"),
        ({"values": {"event_typ": "click"}}, "did you mean 'event_type'"),
        ({"columns": {"text": "a"}, "values": {"text": "b"}}, "keep one"),
        ({"time_zone": "Mars/Olympus"}, "no zone 'Mars/Olympus'"),
    ],
)
def test_mistakes_in_the_config(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        to_contract(events(), "events", source(**settings))


@given(st.datetimes(datetime(2020, 1, 1), datetime(2025, 1, 1)), st.integers(0, 24 * 60 - 1))
def test_wall_clock_bounds_hold_every_local_time_of_the_span(start: datetime, minute: int) -> None:
    zone = ZoneInfo("America/New_York")
    start = start.replace(tzinfo=UTC)
    low, high = Span(start=start, end=start + timedelta(days=1), zone=zone).wall_clock()
    local = (start + timedelta(minutes=minute)).astimezone(zone).replace(tzinfo=None)
    assert low <= local < high
    assert high - low <= timedelta(days=1, hours=1)


@pytest.mark.parametrize("value", [7, 7.0, "7", "7.0", "7.000", Decimal("7.000")])
def test_a_whole_number_is_one_id_however_it_is_written(value: object) -> None:
    raw = events(user_id=[value], item_id=[value])
    assert to_contract(raw, "events", source()).select("user_id", "item_id").row(0) == ("7", "7")


@pytest.mark.parametrize("text", ["007", "7.01", "7.0.0", "v7.0", "1e3", " 7"])
def test_other_texts_stay_ids_as_they_are(text: str) -> None:
    assert to_contract(events(user_id=[text]), "events", source())["user_id"].to_list() == [text]


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("('a', 'b')", ["a", "b"]),
        ("['a', 'b']", ["a", "b"]),
        ('{a,"b c"}', ["a", "b c"]),
        ("{}", []),
        ("[]", []),
        ("[sic] comedy", ["[sic] comedy"]),
        ("[[1]]", None),
        ('{"color": "red"}', None),
    ],
)
def test_tags_written_out_are_read_or_their_row_is_rejected(tags: str, expected: list[str] | None) -> None:
    raw = pl.DataFrame({"item_id": ["i", "j"], "title": ["t", "u"], "tags": [tags, "plain"]})
    cast = to_contract(raw, "items", source())
    assert cast["tags"].to_list() == [expected or [], ["plain"]]
    assert cast["offender"].to_list() == [tags if expected is None else None, None]


@pytest.mark.parametrize(
    ("unit", "value"),
    [
        ("s", 1_709_294_400),
        ("ms", 1_709_294_400_000),
        ("us", "1709294400000000"),
        ("s", "1709294400.0"),
        ("s", 1.7092944e9),
    ],
)
def test_numbers_since_1970_are_read_in_their_unit(unit: str, value: object) -> None:
    assert cast_time(value, time_unit=unit) == NOON


@pytest.mark.parametrize(
    "text", ["2024-03-01 12:00:00 UTC", "2024-03-01 12:00 GMT", "2024-03-01T17:30+05:30", "2024-03-01 17:30:00+0530"]
)
def test_zones_are_read_as_people_write_them(text: str) -> None:
    assert cast_time(text) == NOON


@pytest.mark.parametrize("zone", ["+05:30", "Asia/Kolkata"])
def test_a_zone_may_be_an_offset(zone: str) -> None:
    assert cast_time("2024-03-01T17:30:00", time_zone=zone) == NOON


@pytest.mark.parametrize("zone", ["localtime", "Factory", "Nowhere/Else", "+99:00", ""])
def test_a_zone_that_is_none_is_a_mistake_in_the_config(zone: str) -> None:
    with pytest.raises(ConfigError, match="no zone"):
        cast_time("2024-03-01T12:00:00", time_zone=zone)


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "infinity", "2024-02-30T00:00:00Z"])
def test_a_time_that_no_log_can_have_is_rejected_and_an_expiry_that_far_means_never(time: str) -> None:
    cast = to_contract(events(occurred_at=[time]), "events", source())
    assert cast.select("occurred_at", "rule", "offender").row(0) == (None, "occurred_at|dtype", time)
    raw = pl.DataFrame({"item_id": ["i"], "title": ["t"], "expires_at": [time]})
    far = time.startswith(("9999", "inf"))
    assert to_contract(raw, "items", source())["rule"].to_list() == [None if far else "expires_at|dtype"]
