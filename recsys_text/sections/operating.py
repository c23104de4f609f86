"""What watches over models and scores: gate, tracking, schedule."""

from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from recsys_text.sections.base import Duration, Section


class Gate(Section):
    min_gain: float = 0.0


class Tracking(Section):
    uri: str | None = None


class Notifier(BaseModel):
    """An Airflow notifier: its class by dotted path, and the keyword arguments that make one of it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    path: str = Field(alias="class", pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$")

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Schedule(Section):
    """What Airflow does beside the windows.

    deadline: the time of day (UTC) by which the scores of the newest closed window are to be served; none by default.
    refresh: how often scores are published again between two windows, with the same model; never by default.
    notify: whom a failed task, a missed deadline and an alert of the quality are told to.
    """

    deadline: str | None = Field(default=None, pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    refresh: Duration | None = None
    notify: tuple[Notifier, ...] = Field(default=(), repr=False)  # their arguments may hold a password

    @property
    def due(self) -> timedelta | None:
        """The deadline as the time since midnight."""
        if self.deadline is None:
            return None
        hours, minutes = self.deadline.split(":")
        return timedelta(hours=int(hours), minutes=int(minutes))
