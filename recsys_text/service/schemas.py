"""What the service is asked and answers, as its OpenAPI shows it. Knows no store and no server."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, StringConstraints

MAX_ID_LENGTH = 256

#: The id of a user or an item: as long as the lake allows, and no control characters.
Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_LENGTH, pattern=r"^[^\x00-\x1f\x7f]+$")]


class Item(BaseModel):
    item_id: str = Field(examples=["4"])
    score: float = Field(description="calibrated click probability", examples=[0.31])
    interest: float = Field(description="what the text model alone says", examples=[2.4])


class RankedItem(BaseModel):
    item_id: str = Field(examples=["4"])
    score: float | None = Field(description="null where the store holds none for this user", examples=[0.31])
    interest: float | None = Field(examples=[2.4])


class Answer(BaseModel):
    """Which user, and which scores the answer is made from."""

    user_id: str = Field(examples=["1185"])
    version: str = Field(description="version of the scores", examples=["2014-03-18"])
    as_of: datetime = Field(description="the scores know what happened before this time")
    age_seconds: float = Field(description="time since as_of", examples=[3600.0])
    known: bool = Field(description="whether the scores hold this user at all")


class UserItems(Answer):
    items: list[Item] = Field(description="best first; empty for a known user with nothing to show")


class UnknownUser(UserItems):
    """An unknown user is not a user with an empty list."""

    detail: str = Field(examples=["no user '77' in version '2014-03-18' of the scores"])
    known: bool = Field(default=False, examples=[False])
    items: list[Item] = Field(default=[], examples=[[]])


class Ranking(Answer):
    items: list[RankedItem] = Field(
        description="as many as the candidates: those with a score first, best first; then the others as they came"
    )


class Health(BaseModel):
    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    ready: bool
    version: str | None = Field(default=None, examples=["2014-03-18"])
    as_of: datetime | None = None
    age_seconds: float | None = Field(default=None, examples=[3600.0])
    reason: str | None = Field(
        default=None, description="why no scores are served, or why a newer version is not", examples=[None]
    )


class Problem(BaseModel):
    detail: str = Field(description="one line: what is wrong with the request, or why there is no answer")
