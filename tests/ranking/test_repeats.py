"""What a user had before, against a reading of the definition, one pair at a time."""

import numpy as np
import pytest
from hypothesis import given, settings

from recsys_text.ranking.log import HOUR, Impressions
from recsys_text.ranking.repeats import REPEATS, repeats
from tests.ranking.test_features import ITEMS, NOW, USERS, Event, event_lists, everything, log_of


@settings(deadline=None)
@given(event_lists)
def test_own_clicks_are_counted_and_timed_before_now(events: list[Event]) -> None:
    log = log_of(events)
    people = [*USERS, "stranger"]
    found = repeats(log, everything(log, people, NOW))
    assert tuple(found) == REPEATS
    for place, (user, item) in enumerate((user, item) for user in people for item in ITEMS):
        times = sorted(time for who, what, time in events if (who, what) == (user, item) and time < NOW)
        assert found["own_clicks"][place] == len(times)
        since = (NOW - times[-1]) / HOUR if times else 24 * 3650
        assert found["own_since_hours"][place] == pytest.approx(since, rel=1e-5)
        interval = (times[-1] - times[0]) / HOUR / (len(times) - 1) if len(times) > 1 else 0
        assert found["own_interval_hours"][place] == pytest.approx(interval, rel=1e-5)
        visits = sorted({time for who, _, time in events if who == user and time < NOW})
        assert found["own_share"][place] == pytest.approx(len(set(times)) / max(len(visits), 1))
        recent = sum(0.9 ** (len(visits) - 1 - visits.index(time)) for time in set(times))
        assert found["own_recent"][place] == pytest.approx(recent, rel=1e-5)
        mine = [what for who, what, time in events if who == user and time < NOW]
        share = (len(mine) - len(set(mine))) / (len(mine) + 2)
        assert found["repeat_share"][place] == pytest.approx(share)


def test_candidates_may_come_in_any_order() -> None:
    log = log_of([("u", "c", NOW - HOUR), ("u", "c", NOW - 2 * HOUR), ("u", "a", NOW - 3 * HOUR)])
    shown = Impressions(
        user=np.zeros(1, np.int32),
        time=np.array([NOW]),
        offsets=np.array([0, 3]),
        item=np.array([2, 0, 1], np.int32),
        clicked=np.zeros(3, np.bool_),
    )
    assert repeats(log, shown)["own_clicks"].tolist() == [2, 1, 0]
