"""Impressions as they are served: features as of the last publication, and what was not known then left out."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.ranking.log import HOUR, Impressions, Log, micros
from recsys_text.ranking.publication import as_published, publications, unknown_then, useful
from tests.ranking.test_features import ITEMS, NOW, everything, log_of

DAY = timedelta(days=1)
START = datetime(1970, 1, 1, tzinfo=UTC)


def days(count: int, gap: int | None = None) -> list[tuple[datetime, datetime]]:
    return [(START + n * DAY, START + (n + 1) * DAY) for n in range(count) if n != gap]


def clicked_on(log: Log, item: str, hour: float) -> Impressions:
    shown = everything(log, ["u"], int(hour * HOUR))
    shown.clicked[ITEMS.index(item)] = True
    return shown


@pytest.mark.parametrize(
    ("refresh", "hour", "published", "horizon"),
    [(None, 30, 24, 24), (None, 24, 24, 24), (timedelta(hours=6), 35, 30, 6), (timedelta(days=3), 30, 24, 24)],
)
def test_scores_are_those_of_the_last_publication(
    refresh: timedelta | None, hour: int, published: int, horizon: int
) -> None:
    found = as_published(everything(log_of([]), ["u"], hour * HOUR), publications(days(3), refresh))
    assert found.time.tolist() == [published * HOUR]
    assert found.horizon == horizon * HOUR


def test_a_window_that_is_not_there_has_no_publication() -> None:
    assert publications(days(4, gap=1), None).times.tolist() == [micros(start) for start, _ in days(4, gap=1)]


def test_without_windows_scores_are_made_when_they_are_asked_for() -> None:
    found = as_published(everything(log_of([]), ["u"], NOW), publications([], None))
    assert (found.time.tolist(), found.horizon) == ([NOW], 0)


@given(st.lists(st.integers(0, 5 * 24 * HOUR), max_size=20), st.integers(1, 60))
def test_no_publication_is_later_than_its_impression(times: list[int], refresh: int) -> None:
    served = publications(days(3), timedelta(hours=refresh))
    time_N = np.array(times, np.int64)
    found = served.before(time_N)
    assert (found <= time_N).all()
    within = time_N < micros(days(3)[-1][1])
    assert (time_N[within] - found[within] < served.horizon).all()


def test_what_was_not_known_then_has_no_score_and_teaches_nothing() -> None:
    log = log_of([])  # b is known from hour 1, d from hour 3
    served = publications([(START + timedelta(hours=2), START + timedelta(hours=4))], None)
    late = as_published(clicked_on(log, "d", 3.5), served)
    assert unknown_then(log, late).tolist() == [False, False, False, True]
    assert len(useful(log, late)[0]) == 0
    early = as_published(clicked_on(log, "b", 3.5), served)
    found, rows = useful(log, early)
    assert rows.tolist() == [0]
    assert [ITEMS[item] for item in found.item] == ["a", "b", "c"]
    assert found.clicked.tolist() == [False, True, False]
    assert found.horizon == early.horizon
