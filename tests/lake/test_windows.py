import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.errors import ConfigError
from recsys_text.lake.windows import (
    DAY,
    HOUR,
    WEEK,
    parse_duration,
    parse_time,
    parse_window,
    window_of,
    windows_between,
)

times = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
lengths = st.sampled_from([WEEK, DAY, HOUR])


@given(times, lengths)
def test_a_time_lies_in_its_window_and_the_key_names_it(time: datetime, length: timedelta) -> None:
    window = window_of(time, length)
    assert window.start <= time < window.end
    assert parse_window(window.key, length) == window


@given(times, st.timedeltas(timedelta(microseconds=1), timedelta(days=4)), lengths)
def test_windows_cover_the_span_without_gaps(start: datetime, span: timedelta, length: timedelta) -> None:
    windows = windows_between(start, start + span, length)
    assert windows[0].start <= start < windows[0].end
    assert windows[-1].start < start + span <= windows[-1].end
    assert all(a.end == b.start for a, b in itertools.pairwise(windows))


def test_half_open_days() -> None:
    keys = [w.key for w in windows_between(parse_time("2014-03-18"), parse_time("2014-03-20"), DAY)]
    assert keys == ["2014-03-18", "2014-03-19"]


def test_weeks_begin_on_monday_and_belong_to_the_year_of_their_thursday() -> None:
    keys = [w.key for w in windows_between(parse_time("2020-12-22"), parse_time("2021-01-12"), WEEK)]
    assert keys == ["2020-W52", "2020-W53", "2021-W01", "2021-W02"]
    assert parse_window("2020-W53", WEEK).start == parse_time("2020-12-28")


@given(times, st.lists(lengths, min_size=2, max_size=2, unique=True))
def test_no_key_is_one_of_two_lengths(time: datetime, two: list[timedelta]) -> None:
    with pytest.raises(ConfigError, match="names no window; a key of this project looks like"):
        parse_window(window_of(time, two[0]).key, two[1])


@given(st.lists(times, min_size=2, max_size=2), lengths)
def test_keys_sort_as_their_windows(both: list[datetime], length: timedelta) -> None:
    first, second = sorted(both)
    assert window_of(first, length).key <= window_of(second, length).key


def test_offsets_become_utc() -> None:
    assert parse_time("2014-03-18T02:00+02:00") == datetime(2014, 3, 18, tzinfo=UTC)


@pytest.mark.parametrize("key", ["2014-03-18T05", "2014-3-18", "2014-W12", "yesterday"])
def test_a_key_of_another_length_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        parse_window(key, DAY)


@pytest.mark.parametrize("text", ["", "24", "24 h", "-3h", "0d", "1w"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["99999999999d", "36501d", "9" * 5000 + "m"])
def test_a_duration_that_no_time_can_bear_is_refused(text: str) -> None:
    assert parse_duration("0036500d") == 36_500 * DAY
    with pytest.raises(ConfigError, match="too long"):
        parse_duration(text)


def test_an_empty_span_is_refused() -> None:
    time = datetime(2014, 3, 18, tzinfo=UTC)
    with pytest.raises(ConfigError, match="empty"):
        windows_between(time, time, DAY)
