"""Freshness: whether the served scores are what the deadline asks for. Knows the store, no model and no lake."""

from datetime import datetime, timedelta
from typing import Any

from recsys_text.config import Settings
from recsys_text.errors import ConfigError
from recsys_text.lake.windows import DAY, window_of
from recsys_text.steps.inputs import VIEW, the_store


def freshness(settings: Settings, now: datetime) -> dict[str, Any]:
    """Whether what is served knows the newest window that had closed before the last deadline, as seen at `now`.

    Returns {"late", "version", "as_of", "wanted", "reason"}, times as ISO 8601; version and as_of are None where
    nothing is served. Raises ConfigError where the config has no deadline, UnavailableError where the store is out of
    reach.
    """
    due = settings.schedule.due
    if due is None:
        raise ConfigError(
            "schedule.deadline is not set; give the time of day by which scores are to be served: '06:00'"
        )
    wanted = newest_at(now, due, settings.windows.span)
    with the_store(settings) as store:
        served = store.current(VIEW)
        info = next((info for info in store.versions(VIEW) if info.version == served), None)
    as_of = None if info is None else info.as_of
    late = as_of is None or as_of < wanted
    what = "nothing is served" if as_of is None else f"{served} is served, as of {as_of:%Y-%m-%dT%H:%MZ}"
    asked = f"by {settings.schedule.deadline} UTC the scores are to know all before {wanted:%Y-%m-%dT%H:%MZ}"
    return {
        "late": late,
        "version": served,
        "as_of": as_of and as_of.isoformat(),
        "wanted": wanted.isoformat(),
        "reason": f"Scores are {'late' if late else 'fresh'}: {what}; {asked}",
    }


def last_deadline(now: datetime, due: timedelta) -> datetime:
    """The newest time `due` after a midnight (UTC), at `now` or before it."""
    today = window_of(now, DAY).start
    return today + due if today + due <= now else today + due - DAY


def closed_before(deadline: datetime, span: timedelta) -> datetime:
    """The end of the newest window, `span` long, that had closed before a deadline."""
    return window_of(deadline - timedelta(microseconds=1), span).start


def newest_at(now: datetime, due: timedelta, span: timedelta) -> datetime:
    """The end of the newest window that had closed before the last deadline at or before `now`."""
    return closed_before(last_deadline(now, due), span)
