"""What all sections are made of: frozen, unknown keys refused, durations and times as texts."""

from datetime import date, datetime, timedelta
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from recsys_text.lake.windows import parse_duration, parse_time


def _duration(value: Any) -> timedelta:
    if isinstance(value, str):
        return parse_duration(value)
    if not isinstance(value, timedelta):
        raise ValueError("write a duration as a text with its unit, such as '24h'")
    return value


def _time(value: Any) -> datetime:
    if isinstance(value, date):  # as TOML writes one without quotes
        value = value.isoformat()
    if not isinstance(value, str):
        raise ValueError("write a time such as 2014-03-18 or 2014-03-18T05:00Z")
    return parse_time(value)


# A text has whole minutes, so what is read comes back from minutes as it was.
Duration = Annotated[
    timedelta, BeforeValidator(_duration), PlainSerializer(lambda span: f"{span // timedelta(minutes=1)}m")
]
Time = Annotated[datetime, BeforeValidator(_time)]
PositiveInt = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """`AUTO` names the keys that are decided from the log where they are not set; "auto" says so by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    AUTO: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _decided_later(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {key: value for key, value in given.items() if not (key in cls.AUTO and value == "auto")}

    def record(self) -> dict[str, Any]:
        """Return the section as JSON has it, with "auto" for keys that are not set and not decided from the log yet."""
        return self.model_dump(mode="json") | dict.fromkeys(self.AUTO - self.model_fields_set, "auto")
