"""What the service is asked and answers, as its OpenAPI shows it. Knows no store and no server."""

import difflib
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from recsys_text.sections import Service

MAX_ID_LENGTH = 256
MAX_CATEGORIES = 50
MAX_BATCH = 100

#: The id of a user or an item: as long as the lake allows, and no control characters.
Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_LENGTH, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Name = Annotated[str, StringConstraints(max_length=MAX_ID_LENGTH)]


class RankFields(BaseModel):
    """Which candidates to rank for whom, and how. What bounds them is added by `bounded_requests`."""

    model_config = ConfigDict(extra="forbid")

    user_id: Id = Field(examples=["1185"])
    candidates: list[Id] = Field(examples=[["4", "27", "9"]])
    k: int | None = Field(default=None)
    categories: list[_Name] | None = Field(
        default=None, max_length=MAX_CATEGORIES, description="keep only items of these", examples=[["news", "sports"]]
    )
    exclude: list[Id] = Field(default=[], description="ids to drop", examples=[["27"]])
    seen: bool = Field(default=False, description="true drops what is in the user's history", examples=[True])
    diversity: float = Field(
        default=0,
        ge=0,
        lt=1,
        description="0 sorts by score; above it the best 200 are sorted by maximal marginal relevance",
        examples=[0.3],
    )
    explain: bool = Field(default=False, description="true adds to each item why it stands there", examples=[True])
    experiment: str | None = Field(default=None, description="ranks as the user's arm of it says", examples=[None])

    @field_validator("candidates")
    @classmethod
    def _different(cls, ids: list[str]) -> list[str]:
        if len(set(ids)) < len(ids):
            twice = next(item for place, item in enumerate(ids) if item in ids[:place])
            raise ValueError(f"{twice!r:.80} is among them twice; a list shows an item once")
        return ids


class BatchFields(BaseModel):
    """Several rankings. What bounds them is added by `bounded_requests`."""

    model_config = ConfigDict(extra="forbid")

    requests: Sequence[RankFields] = Field(min_length=1)


def bounded_requests(settings: Service) -> tuple[type[RankFields], type[BatchFields]]:
    """The two requests with the bounds of a configuration: what its service checks and shows."""
    most, experiments = settings.max_candidates, sorted(settings.experiments)

    class RankRequest(RankFields):
        """Which candidates to rank for whom, and how."""

        candidates: list[Id] = Field(
            max_length=most,
            description="each once",
            json_schema_extra={"uniqueItems": True},
            examples=[["4", "27", "9"]],
        )
        k: int | None = Field(
            default=None, ge=1, le=most, description="how many to answer; all by default", examples=[10]
        )
        exclude: list[Id] = Field(default=[], max_length=most, description="ids to drop", examples=[["27"]])

        @field_validator("experiment")
        @classmethod
        def _known(cls, name: str | None) -> str | None:
            if name is not None and name not in experiments:
                near = difflib.get_close_matches(name, experiments, n=1, cutoff=0.0)
                hint = f"did you mean '{near[0]}'?" if near else "the service has none"
                raise ValueError(f"no such experiment; {hint}")
            return name

    class RankBatch(BatchFields):
        """Several rankings, all of one version of the scores."""

        requests: Annotated[Sequence[RankRequest], Field(min_length=1, max_length=min(MAX_BATCH, most))] = Field(
            description=f"together with {most} candidates at most",
            examples=[[{"user_id": "1185", "candidates": ["4", "27"]}, {"user_id": "9", "candidates": ["4"]}]],
        )

        @model_validator(mode="after")
        def _together(self) -> Self:
            total = sum(len(request.candidates) for request in self.requests)
            if total > most:
                raise ValueError(f"a batch may have {most} candidates, and this one has {total}")
            return self

    return RankRequest, RankBatch


class Item(BaseModel):
    item_id: str = Field(examples=["4"])
    score: float = Field(description="calibrated click probability", examples=[0.31])
    interest: float | None = Field(
        description="what the text model alone says; null for a popular item that an unknown user gets", examples=[2.4]
    )


class Like(BaseModel):
    """An item of the user's history."""

    item_id: str = Field(examples=["27"])
    title: str = Field(examples=["The left hand of darkness"])
    likeness: float = Field(description="cosine of its vector and that of the ranked item", examples=[0.62])


class Parts(BaseModel):
    """Addends whose sum is the log odds of a score."""

    level: float = Field(description="of all users and items", examples=[-1.2])
    interest: float = Field(description="of what the user read and what the item says", examples=[0.8])
    popular: float = Field(description="of what the item gets from users of whom nothing is known", examples=[-0.4])


class Explanation(BaseModel):
    because: list[Like] = Field(description="the up to three items of the history that are most like it")
    parts: Parts | None = Field(description="null unless the score is a match; a stored score has no such parts")


class RankedItem(BaseModel):
    item_id: str = Field(examples=["4"])
    score: float | None = Field(description="click probability; null where nothing is known", examples=[0.31])
    interest: float | None = Field(description="what the text model alone says, if it does", examples=[2.4])
    source: Literal["stored", "match", "popular", "none"] = Field(
        description="whether the score was published for this user, comes from the vectors of user and item, "
        "is what a user of whom nothing is known gets, or is not there",
        examples=["stored"],
    )
    explanation: Explanation | None = Field(default=None, description="there where the request says explain")


class Answer(BaseModel):
    """Which user, and which scores the answer is made from."""

    user_id: str = Field(examples=["1185"])
    version: str = Field(description="version of the scores", examples=["2014-03-18"])
    as_of: datetime = Field(
        description="the scores know what happened before this time", examples=["2014-03-19T00:00:00Z"]
    )
    age_seconds: float = Field(description="time since as_of", examples=[3600.0])
    known: bool = Field(description="whether the published views hold this user at all", examples=[True])
    impression_id: str | None = Field(
        default=None,
        description="of the row in the log of impressions; null where there is no log, or nothing to show",
        examples=[None],
    )


class UserItems(Answer):
    items: list[Item] = Field(
        description="best first; empty for a known user with nothing to show",
        examples=[[{"item_id": "4", "score": 0.31, "interest": 2.4}]],
    )


class UnknownUser(UserItems):
    """An unknown user is not a user with an empty list."""

    detail: str = Field(examples=["no user '77' in version '2014-03-18' of the scores"])
    known: bool = Field(default=False, examples=[False])
    items: list[Item] = Field(default=[], examples=[[]])


class Ranking(Answer):
    experiment: str | None = Field(default=None, description="as asked", examples=[None])
    arm: str | None = Field(
        default=None,
        description="the user's arm of the experiment; null where there is none, or its scores are not published",
        examples=[None],
    )
    items: list[RankedItem] = Field(
        description="the candidates that were kept: those with a score first, best first; then the others as they came",
        examples=[[{"item_id": "4", "score": 0.31, "interest": 2.4, "source": "stored"}]],
    )


class Rankings(BaseModel):
    answers: list[Ranking] = Field(description="one for each request, in their order")


class Health(BaseModel):
    status: Literal["alive"] = Field(default="alive", examples=["alive"])


class Readiness(BaseModel):
    ready: bool = Field(examples=[True])
    version: str | None = Field(default=None, examples=["2014-03-18"])
    as_of: datetime | None = Field(default=None, examples=["2014-03-19T00:00:00Z"])
    age_seconds: float | None = Field(default=None, examples=[3600.0])
    reason: str | None = Field(
        default=None, description="why no scores are served, or why a newer version is not", examples=[None]
    )


class Problem(BaseModel):
    detail: str = Field(
        description="one line: what is wrong with the request, or why there is no answer",
        examples=["k: Input should be greater than or equal to 1, got '0'"],
    )
