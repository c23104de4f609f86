"""Times that were cut to a day or an hour are told as what they are, and honest clocks of any step are not told."""

import numpy as np
import polars as pl
import pytest

from recsys_text.evaluation.checks import Finding, times
from tests.evaluation.checks.frames import events

SHARES = {
    "evenly": np.ones(24),
    "a usual day": 1.2 + np.sin(np.arange(24) / 24 * 2 * np.pi - 2.2),
    "lunch": np.eye(24)[12],
}
#: The times of dates and of hours in UTC, of zones that are whole hours from it and of one that is not.
ZONES = {"UTC": 0.0, "Asia/Tokyo": -9.0, "Asia/Kolkata": -5.5}


def clicks(seconds: float, day: str = "a usual day", *, number: int = 5000, shift: float = 0) -> pl.DataFrame:
    """Of two weeks, by a clock of such steps, at some hours of the day more than at others."""
    random = np.random.default_rng(6)
    chance = SHARES[day] / SHARES[day].sum()
    hours = random.choice(24, number, p=chance) + random.uniform(0, 1, number) + 24 * random.integers(0, 14, number)
    cut = hours if seconds == 0 else hours * 3600 // seconds * seconds / 3600
    return events((f"u{n % 100}", f"i{n % 7}", float(hour)) for n, hour in enumerate(cut + 240 + shift))


def told(frame: pl.DataFrame, *, ordered: bool = False) -> dict[str, Finding]:
    return {finding.name: finding for finding in times.cut(frame, ordered=ordered)}


@pytest.mark.parametrize("day", SHARES)
@pytest.mark.parametrize("seconds", [0, 1, 60, 300, 900, 1800])
def test_an_honest_clock_is_not_told(seconds: float, day: str) -> None:
    assert {name: finding.level for name, finding in told(clicks(seconds, day)).items()} == {
        "dates for times": "ok",
        "times cut to the hour": "ok",
    }


@pytest.mark.parametrize("day", ["evenly", "a usual day"])
@pytest.mark.parametrize("zone", ZONES)
def test_hours_are_told_as_hours(zone: str, day: str) -> None:
    found = told(clicks(3600, day, shift=ZONES[zone]))
    assert found["dates for times"].level == "ok"
    hours = found["times cut to the hour"]
    assert (hours.level, hours.count) == ("error", 5000)
    assert f"5,000 of 5,000 events more are {'30' if zone == 'Asia/Kolkata' else '00'} minutes sharp" in hours.line


@pytest.mark.parametrize("zone", ZONES)
def test_dates_are_told_as_dates(zone: str) -> None:
    found = told(clicks(86400, shift=ZONES[zone]))
    assert found["times cut to the hour"].level == "ok"
    dates = found["dates for times"]
    assert (dates.level, dates.count) == ("error", 5000)
    assert {"UTC": "at 00:00", "Asia/Tokyo": "at 15:00", "Asia/Kolkata": "at 18:30"}[zone] in dates.line


@pytest.mark.parametrize("clock", [0, 1, 60, 300])
@pytest.mark.parametrize(("step", "name"), [(3600, "times cut to the hour"), (86400, "dates for times")])
def test_a_part_of_the_log_is_told(clock: float, step: float, name: str) -> None:
    found = told(pl.concat([clicks(clock), clicks(step, number=1250)]))
    assert [finding.name for finding in found.values() if finding.level == "warning"] == [name]
    assert found[name].count == pytest.approx(1250, rel=0.12)


def test_an_order_without_a_clock_is_no_error() -> None:
    assert told(clicks(3600), ordered=True)["times cut to the hour"].level == "warning"


def test_a_few_events_say_nothing_about_their_clock() -> None:
    assert all(finding.level == "ok" for finding in told(clicks(3600, number=19)).values())
