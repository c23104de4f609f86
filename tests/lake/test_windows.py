import itertools
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.errors import ConfigError
from recsys_text.lake.windows import DAY, HOUR, parse_duration, parse_time, parse_window, window_of, windows_between

times = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
lengths = st.sampled_from([DAY, HOUR])


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


def test_offsets_become_utc() -> None:
    assert parse_time("2014-03-18T02:00+02:00") == datetime(2014, 3, 18, tzinfo=UTC)


@pytest.mark.parametrize("key", ["2014-03-18T05", "2014-3-18", "yesterday"])
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
