"""What watches over models and scores: gate, tracking, schedule."""

from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from recsys_text.sections.base import Duration, Section, Time


class Gate(Section):
    """What a challenger must show to become champion, on impressions of the newest windows that neither has seen.

    min_gain decides: the lower end of the 95% interval of its gain in nDCG@10 must lie above it. All others are guards,
    which can only refuse, and only where their whole interval lies beyond the bound (see `evaluation.guards`); `inf`
    switches one off, and for min_coverage 0.

    max_calibration_error: of its click probabilities, among the highest 1% of them. Good bundles have .01 and less, so
    that .1 is no longer noise of a window but a score that says nothing as a probability. max_calibration_loss: the
    same, as how much more than the champion's; two trainings of one configuration differ by .007. min_coverage: how
    many distinct items its lists of ten have, as a share of the champion's; less than half of them is a ranker that has
    collapsed to what is popular. max_slice_loss: what it may lose in nDCG@10 in a slice, such as new items or users
    without history; the texts, all in all, bring .012 where clicked items are rarely clicked (caixin). max_slowdown:
    how many times the champion's time its scoring may take. A night has room for twice; three times is late, and far
    more than a busy machine makes of equals (see `steps.gate`).

    shadow: publish the challenger's scores too, as the view `user_scores_shadow`, which is served to nobody unless an
    experiment names it.
    """

    min_gain: float = 0.0
    max_calibration_error: float = Field(default=0.1, gt=0)
    max_calibration_loss: float = Field(default=0.02, gt=0)
    min_coverage: float = Field(default=0.5, ge=0, le=1)
    max_slice_loss: float = Field(default=0.01, ge=0)
    max_slowdown: float = Field(default=3.0, gt=1)
    shadow: bool = False


class Tracking(Section):
    """Where MLflow keeps runs and models: a server, a SQLite file or a folder; MLFLOW_TRACKING_URI by default, else a
    SQLite file under the root.
    """

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
    end: the time at which the log ends, such as 2017-08-30: scheduled runs skip the windows after it. For a log that
    gets no more rows, where each night would fail for want of them; by default a log never ends.
    """

    deadline: str | None = Field(default=None, pattern=r"^([01]\d|2[0-3]):[0-5]\d$")
    refresh: Duration | None = None
    notify: tuple[Notifier, ...] = Field(default=(), repr=False)  # their arguments may hold a password
    end: Time | None = None

    @property
    def due(self) -> timedelta | None:
        """The deadline as the time since midnight."""
        if self.deadline is None:
            return None
        hours, minutes = self.deadline.split(":")
        return timedelta(hours=int(hours), minutes=int(minutes))
