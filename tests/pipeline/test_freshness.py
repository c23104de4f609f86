"""When scores are late, by the clock that a caller gives."""

from datetime import UTC, datetime, timedelta

import pytest

from recsys_text.config import Settings
from recsys_text.errors import ConfigError
from recsys_text.lake.windows import DAY, HOUR
from recsys_text.sections import Schedule
from recsys_text.steps.freshness import freshness, newest_at

SIX = timedelta(hours=6)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def due_at_six(settings: Settings) -> Settings:
    return settings.model_copy(update={"schedule": Schedule(deadline="06:00")})


@pytest.mark.parametrize(
    ("now", "due", "span", "newest"),
    [
        ("2024-05-07T06:00", SIX, DAY, "2024-05-07"),
        ("2024-05-07T05:59", SIX, DAY, "2024-05-06"),  # today's deadline is still to come
        ("2024-05-07T23:59", SIX, DAY, "2024-05-07"),
        ("2024-05-07T00:00", timedelta(), DAY, "2024-05-06"),  # nobody scores a window in no time
        ("2024-05-07T06:00", SIX, HOUR, "2024-05-07T05:00"),
        ("2024-05-07T06:31", timedelta(hours=6, minutes=30), HOUR, "2024-05-07T06:00"),
    ],
)
def test_scores_must_know_the_newest_window_before_the_deadline(
    now: str, due: timedelta, span: timedelta, newest: str
) -> None:
    assert newest_at(at(now), due, span) == at(newest)


def test_scores_are_fresh_until_the_next_window_is_due(published: Settings) -> None:
    settings = due_at_six(published)  # windows to 2024-05-06 are published
    for now, late in (("2024-05-06T06:00", False), ("2024-05-07T05:59", False), ("2024-05-07T06:00", True)):
        result = freshness(settings, at(now))
        assert result["late"] == late, now
        assert result["version"] in result["reason"]
    assert result["reason"].startswith("Scores are late: ")
    assert result["reason"].endswith("by 06:00 UTC the scores are to know all before 2024-05-07T00:00Z")
    assert result["as_of"] == at("2024-05-06").isoformat()


def test_where_nothing_is_served_scores_are_late(published: Settings) -> None:
    empty = due_at_six(published.model_copy(update={"store": published.store.model_copy(update={"url": "file:no"})}))
    assert freshness(empty, at("2024-05-06T06:00"))["late"]


def test_without_a_deadline_nothing_is_late_or_fresh(published: Settings) -> None:
    with pytest.raises(ConfigError, match=r"schedule\.deadline"):
        freshness(published, at("2024-05-06T06:00"))
