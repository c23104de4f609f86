"""Casting a source's columns to the contract."""

import re
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
from recsys_text.sources.loose import loose_series
from recsys_text.sources.times import why_unread

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


@pytest.mark.parametrize("written", ["{}", " {}", "{} ", "\t{}\r", "\u00a0{}"])
@pytest.mark.parametrize("loose", [False, True])
def test_ids_and_types_of_events_have_no_blanks_around_them(written: str, *, loose: bool) -> None:
    texts = {"user_id": "u 1", "item_id": "7.0", "event_type": "buy"}
    raw = events(**{name: [written.format(text)] for name, text in texts.items()})
    if loose:  # as a column of JSON lines in which another value is a number
        columns = [loose_series(name, [raw[name][0], 7]) for name in texts]
        raw = pl.concat([raw, raw]).with_columns(columns).head(1)
    cast = to_contract(raw, "events", source(event_types={"buy": "purchase"}))
    assert cast.select("user_id", "item_id", "event_type", "rule").row(0) == ("u 1", "7", "purchase", None)


def test_an_id_of_blanks_is_none() -> None:
    assert to_contract(events(user_id=["  "]), "events", source())["user_id"].to_list() == [None]


def test_the_ids_of_lists_have_no_blanks_around_them() -> None:
    raw = pl.DataFrame({
        "impression_id": [" 1"], "user_id": ["u"], "shown_at": [NOON], "candidates": [["a ", " 2.0", "b"]],
        "clicked": ["0,1,0"], "origin": ["logged"],
    })  # fmt: skip
    cast = to_contract(raw, "impressions", source())
    assert cast.select("impression_id", "candidates").row(0) == ("1", ["a", "2", "b"])


def test_changes_of_items_say_when_they_changed() -> None:
    raw = pl.DataFrame({"item_id": ["1"], "title": ["a"], "updated": [NOON]})
    assert to_contract(raw, "items", source())["updated_at"].to_list() == [None]
    with pytest.raises(
        ContractError,
        match=r"items has no column 'updated_at' \(it has item_id, title, updated\); perhaps 'updated' is",
    ):
        to_contract(raw, "items", source(feed="changes"))
    mapped = to_contract(raw, "items", source(feed="changes", columns={"updated_at": "updated"}))
    assert mapped["updated_at"].to_list() == [NOON]


@pytest.mark.parametrize("text", ["007", "7.01", "7.0.0", "v7.0", "1e3", "7 8"])
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
        ("[1990s] rock", ["[1990s] rock"]),
        ("(no genres listed)", ["(no genres listed)"]),
        ("(2019)", ["(2019)"]),
        ("['a' 'b']", ["a", "b"]),
        ("['a'\n 'b c']", ["a", "b c"]),
        ("[1 2]", ["1", "2"]),
        ("[1. 2.5]", ["1", "2.5"]),
        ("(1, 2)", ["1", "2"]),
        ("['a' ... 'z']", None),
        ("['a', ...]", None),
        ("['a','b", None),
        ("[1, 2", None),
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


@pytest.mark.parametrize("zone", ["localtime", "Factory", "Nowhere/Else", "+99:00", "+05:75", "+16:00", ""])
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


@pytest.mark.parametrize("offset", ["+99:99", "+05:75", "-16:00", "+5:30"])
def test_an_offset_that_no_place_has_is_rejected(offset: str) -> None:
    raw = events(occurred_at=[f"2024-03-01 12:00:00{offset}"])
    assert to_contract(raw, "events", source())["rule"].to_list() == ["occurred_at|dtype"]


INTEGERS = [pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64, pl.Int128]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_integers_of_any_width_count_since_1970(dtype: type[pl.DataType], unit: str) -> None:
    largest = pl.select(dtype.max() if hasattr(dtype, "max") else pl.lit(2**127 - 1, dtype)).item()
    values = [0, 100, min(largest, 1_709_294_400 * {"s": 1, "ms": 1000, "us": 10**6}[unit]), largest]
    told = pl.concat([events()] * 4).with_columns(occurred_at=pl.Series(values, dtype=dtype))
    cast = to_contract(told, "events", source(time_unit=unit))
    seconds = [value / {"s": 1, "ms": 1000, "us": 10**6}[unit] for value in values]
    expected = [datetime.fromtimestamp(second, UTC) if second < 9_214_646_400 else None for second in seconds]
    assert cast["occurred_at"].to_list() == expected
    assert cast["rule"].to_list() == [None if time else "occurred_at|dtype" for time in expected]


@pytest.mark.parametrize("dtype", [pl.Datetime("us"), pl.Datetime("ms", "UTC"), pl.Date])
@pytest.mark.parametrize("far", [-1_000_000, 20_000_000])
def test_a_typed_time_that_python_has_no_date_for_rejects_its_row(dtype: pl.DataType, far: int) -> None:
    days = pl.Series([19_000, far], dtype=pl.Int64)
    scale = {"us": 86_400_000_000, "ms": 86_400_000}.get(getattr(dtype, "time_unit", ""), 1)
    raw = pl.DataFrame(
        {
            "item_id": ["i", "j"],
            "title": "t",
            "published_at": (days * scale).cast(pl.Int32 if dtype == pl.Date else pl.Int64).cast(dtype),
        }
    )
    cast = to_contract(raw, "items", source(time_zone="UTC"))
    assert cast["rule"].to_list() == [None, "published_at|dtype"]
    assert cast["offender"].to_list() == [None, str(far * scale)]


#: An object's field, and the id that it is, None where its row is rejected; the same as at the top of a record.
FIELDS: list[tuple[object, str | None]] = [
    (7, "7"), (7.0, "7"), ("007", "007"), (2**100, str(2**100)), (True, None), (1e20, None), ([1, 2], None),
    ({"a": 1}, None), ("x\ud800", None), (7.5, "7.5"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), FIELDS)
@pytest.mark.parametrize("path", ["item_id", "p.item_id", "p.q.item_id"])
def test_a_field_is_read_as_at_the_top(value: object, expected: str | None, path: str) -> None:
    for name in reversed(path.split(".")):
        value = {name: value}
    root, _, _ = path.partition(".")
    assert isinstance(value, dict)
    raw = events().drop("item_id").with_columns(loose_series(root, [value[root]]))
    cast = to_contract(raw, "events", source(columns={"item_id": path}))
    assert cast.select("item_id", "rule").row(0) == (expected, None if expected else "item_id|dtype")


def test_what_is_no_object_has_no_field_and_rejects_its_row() -> None:
    raw = pl.DataFrame({"item_id": ["a", "b", "c", "d"]}).with_columns(
        loose_series("name", [{"en": "A"}, "plain", None, {"fr": "D"}])
    )
    cast = to_contract(raw, "items", source(columns={"title": "name.en"}))
    assert cast["title"].to_list() == ["A", None, None, None]
    assert cast["rule"].to_list() == [None, "title|dtype", None, None]
    assert cast["offender"].to_list() == [None, "plain", None, None]


def test_the_fields_of_a_list_of_objects_are_its_entries() -> None:
    told = [[{"name": "a"}, {"name": 7.0}], [], None, [{"name": ["b"]}], [{"other": 1}]]
    raw = pl.DataFrame({"item_id": list("12345"), "title": "t"}).with_columns(loose_series("tags", told))
    cast = to_contract(raw, "items", source(columns={"tags": "tags.name"}))
    assert cast["tags"].to_list() == [["a", "7"], [], [], [], []]
    assert cast["rule"].to_list() == [None, None, None, "tags|dtype", None]


@pytest.mark.parametrize("empty", [pl.Series([None, None], dtype=pl.Null), pl.Series([None, None], dtype=pl.String)])
def test_a_field_of_nothing_is_nothing(empty: pl.Series) -> None:
    raw = pl.DataFrame({"item_id": ["a", "b"], "title": "t", "brand": empty})
    assert to_contract(raw, "items", source(columns={"category": "brand.name"}))["category"].to_list() == [None, None]


def test_a_field_within_a_field_of_a_struct() -> None:
    raw = pl.DataFrame({"item_id": ["a"], "meta": [{"name": {"en": "A"}}]})
    assert to_contract(raw, "items", source(columns={"title": "meta.name.en"}))["title"].to_list() == ["A"]
    with pytest.raises(ContractError, match="has no field 'fr'"):
        to_contract(raw, "items", source(columns={"title": "meta.name.fr"}))


@pytest.mark.parametrize(
    ("unit", "count", "meant"), [("s", 1_520_874_045_567, "ms"), ("ms", 1_520_874_045_567_000, "us")]
)
@pytest.mark.parametrize("as_text", [False, True])
def test_numbers_in_another_unit_are_told_with_the_likely_one(unit: str, count: int, meant: str, as_text: bool) -> None:
    raw = events(occurred_at=[str(count) if as_text else count])
    with pytest.raises(ContractError, match=rf"'occurred_at' .* such as 1[\d.e+]+, .*time_unit = \"{meant}\" is meant"):
        to_contract(raw, "events", source(time_unit=unit))


@pytest.mark.parametrize("unit", [None, "s", "ms", "us"])
@pytest.mark.parametrize(
    ("number", "written"),
    [(20240301, "2024-03-01"), (20240301120000, "2024-03-01 12:00:00"), (19991231235959, "1999-12-31 23:59:59")],
)
@pytest.mark.parametrize("kind", [int, str, float, Decimal])
def test_a_date_written_as_a_number_is_told_as_one(
    kind: type[object], number: int, written: str, unit: str | None
) -> None:
    raw = events(occurred_at=[kind(number)])  # type: ignore[call-arg]
    with pytest.raises(ContractError, match=rf"holds dates written as numbers such as \d.*; write it as {written}$"):
        to_contract(raw, "events", source(time_unit=unit))


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "zone", "unit", "words"),
    [
        ("2024-03-01 12:00:00", None, None, "which has no zone; .* sources.events.time_zone"),
        (" 2024-03-01", None, None, "which has no zone"),
        ("2024-03-01T12:00:00.5", None, "ms", 'is no number, as time_unit = "ms" says, and has no zone'),
        ("2024-03-31 02:30:00", BERLIN, None, "the clocks of sources.events.time_zone = 'Europe/Berlin' never showed"),
        ("2024-02-30 02:30:00", BERLIN, None, "no calendar"),
        ("2024-02-03 25:30:00Z", None, None, "no calendar"),
        ("0001-01-01T00:00:00Z", None, None, "no time that a log can have"),
        ("99999999999999999", None, "s", "no time that a log can have"),
        ("1709294400000", None, None, 'time_unit = "ms" in sources.events'),
        ("20240301", None, None, "a date written as a number; write it as 2024-03-01"),
        ("20240301120000", None, "s", "a date written as a number; write it as 2024-03-01 12:00:00"),
        ("yesterday", None, None, "a text is read as one where it is written as in 2026-10-01 08:30:00"),
        ("yesterday", None, "s", 'is no number, as time_unit = "s" says'),
        ("01/03/2024 12:00", BERLIN, None, "a text is read as one where"),
    ],
)
def test_a_time_that_is_not_read_is_told_what_it_lacks(
    text: str, zone: ZoneInfo | None, unit: str | None, words: str
) -> None:
    settings = {"time_zone": zone and zone.key, "time_unit": unit}
    readable = ["1709294400" if unit else "2024-03-01T12:00:00Z"] * 3
    raw = pl.concat([events(occurred_at=[each]) for each in [text, *readable]])
    cast = to_contract(raw, "events", source(**settings))
    assert cast["rule"].to_list() == ["occurred_at|dtype", None, None, None]
    assert re.search(words, why_unread(text, "events", zone, unit))


@given(st.datetimes(datetime(1678, 1, 3), datetime(2261, 12, 29)))
def test_a_time_of_a_zone_is_said_to_be_missing_from_its_clocks_where_it_is(local: datetime) -> None:
    text = local.isoformat(sep=" ", timespec="seconds")
    rule = to_contract(events(occurred_at=[text]), "events", source(time_zone=BERLIN.key))["rule"][0]
    assert ("never showed" in why_unread(text, "events", BERLIN, None)) == (rule is not None)


def test_the_column_of_a_fault_is_the_sources() -> None:
    raw = events().drop("occurred_at").with_columns(loose_series("created", [1_520_874_045_567]))
    with pytest.raises(ContractError, match="column 'created' of the source holds numbers"):
        to_contract(raw, "events", source(columns={"occurred_at": "created"}))
