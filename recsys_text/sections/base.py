"""What all sections are made of: frozen, unknown keys refused, durations as texts."""

from datetime import timedelta
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from recsys_text.lake.windows import parse_duration


def _duration(value: Any) -> timedelta:
    if isinstance(value, str):
        return parse_duration(value)
    if not isinstance(value, timedelta):
        raise ValueError("write a duration as a text with its unit, such as '24h'")
    return value


# A text has whole minutes, so what is read comes back from minutes as it was.
Duration = Annotated[
    timedelta, BeforeValidator(_duration), PlainSerializer(lambda span: f"{span // timedelta(minutes=1)}m")
]
PositiveInt = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
