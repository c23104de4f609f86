"""What makes a model poor is told before it is trained."""

from datetime import timedelta
from pathlib import Path

import pytest

from recsys_text.config import Settings, load
from recsys_text.fitting import doubts
from tests.ranking.test_window_impressions import at, log_of
from tests.test_config import MINIMAL, write

DAYS = 6
STARTS = [at(24 * day) for day in range(DAYS - 1)]
CUTOFF, TESTS = at(24 * (DAYS - 1)), [(at(24 * (DAYS - 1)), at(24 * DAYS))]


def settings_of(folder: Path, pool: str) -> Settings:
    settings = load(write(folder, MINIMAL))
    hour = timedelta(hours=1)
    candidates = settings.candidates.model_copy(update={"pool": pool, "active": hour, "fresh": hour})
    return settings.model_copy(update={"candidates": candidates})


def clicks(users: int) -> list[tuple[str, str, str, float]]:
    """Each user clicks one item a day, each day another, hours after anybody else."""
    return [
        (f"u{user:02}", "abcdef"[day], "click", 24 * day + 2 + user * 0.01)
        for day in range(DAYS)
        for user in range(users)
    ]


def test_clicks_outside_their_pool_are_told(tmp_path: Path) -> None:
    apart = [(user, item, kind, hour + 6 * int(user[1:])) for user, item, kind, hour in clicks(3)]
    blend, test = doubts(log_of(apart), STARTS, CUTOFF, TESTS, settings_of(tmp_path, "alive"))
    assert blend.startswith("6 of 6 clicks of the windows that teach the blend, ")
    assert test.startswith("3 of 3 clicks of the windows that measure, ")
    assert test.endswith("try candidates.pool = 'all', or longer candidates.active and candidates.fresh")


@pytest.mark.parametrize(("users", "told"), [(1, "clicks of 1 user that"), (19, "clicks of 19 users that"), (20, None)])
def test_users_who_are_too_few_to_decide_are_told(tmp_path: Path, users: int, told: str | None) -> None:
    found = doubts(log_of(clicks(users)), STARTS, CUTOFF, TESTS, settings_of(tmp_path, "all"))
    assert len(found) == (0 if told is None else 2)
    assert all(told is not None and told in line and "fewer than 20 decide nothing" in line for line in found)
