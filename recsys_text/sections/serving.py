"""What is published, where, and how the ranking service serves it."""

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from recsys_text.sections.base import Duration, PositiveInt, Section


class PublishChecks(Section):
    """What a version must be to replace the served one; it is refused otherwise. That lists are as long as their
    scores, and no longer than `top_k`, and that scores are probabilities, is asked for always.

    min_users: least share of the served version's users. min_length: least length of a user's list. max_repeated:
    greatest share of a list's items that repeat others. max_drift: greatest population stability index of the scores
    against the served ones, 0.25 being a grave drift by a rule of thumb; not asked for by default, as a new champion
    may well score otherwise. max_age: how old the newest window may be; not asked for by default, as a backfill or a
    sample is older than any night.
    """

    min_users: float = Field(default=0.5, ge=0)
    min_length: int = Field(default=0, ge=0)
    max_repeated: float = Field(default=0.0, ge=0, le=1)
    max_drift: float | None = Field(default=None, gt=0)
    max_age: Duration | None = None


class Publish(Section):
    top_k: PositiveInt = 100
    buckets: PositiveInt = 4
    keep: PositiveInt = 5
    checks: PublishChecks = PublishChecks()

    @model_validator(mode="after")
    def _fillable(self) -> Self:
        if self.checks.min_length > self.top_k:
            raise ValueError(f"checks.min_length = {self.checks.min_length} is above top_k = {self.top_k}; lower it")
        return self


class Store(Section):
    """Where scores are published: `file:FOLDER`, or `redis://` and `rediss://` (by TLS) as redis-py reads them."""

    url: str = Field(default="file:store", repr=False)  # it may hold a password


class Arm(Section):
    """What a share of the users gets: `diversity` in place of the request's, the view `scores` for `user_scores`."""

    share: float = Field(gt=0, le=1)
    diversity: float | None = Field(default=None, ge=0, lt=1)
    scores: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")


class Experiment(Section):
    """Arms by name; their shares are 1 together."""

    arms: dict[str, Arm]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        total = sum(arm.share for arm in self.arms.values())
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares of the arms are {total:g} together; they must be 1")
        return self


class Service(Section):
    """`workers` processes listen on one port. `impressions` is a folder under `project.root` into which every ranking
    and list is logged, where it is given; files there that are older than `keep_impressions` are removed. A connection
    without a request is kept open for `timeout_keep_alive` seconds: longer than proxies keep theirs (60 in most), which
    would else send a request into a connection that is being closed.
    """

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    workers: PositiveInt = 1
    timeout_keep_alive: PositiveInt = 75
    max_k: PositiveInt = 1000
    max_candidates: PositiveInt = 2000
    impressions: Path | None = None
    keep_impressions: Duration | None = None
    experiments: dict[str, Experiment] = Field(default_factory=dict)
