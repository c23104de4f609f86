"""What the values of one foreign column look like: ids, times, numbers, lists, texts. Knows no tables and no names."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal

TimeUnit = Literal["s", "ms", "us"]

#: Texts that mostly mean that there is no value; guessing leaves them out, whatever a config will say of them.
NULL_TEXTS = frozenset({"", "null", "none", "nan", "n/a", "\\n"})
_ISO = re.compile(
    r"\d{4}-\d{2}-\d{2}(?P<clock>[T ]\d{2}:\d{2}(:\d{2}([.,]\d+)?)?)?\s*(?P<zone>Z|UTC|GMT|[+-]\d{2}(:?\d{2})?)?",
    re.IGNORECASE,
)
#: Texts that stand for an unknown time: signs and zeros alone, the first or the last day that a tool has, a few words.
_MARKER = re.compile(
    r"[\W0_]+(?:T[\W0_]+)?Z?|0001-01-01.*|9999-12-31.*|unknown|tb[ad]|never|na|nil|missing", re.IGNORECASE
)
_MOST_MARKERS = 5
_SHOWN = 40
#: Extraction takes no earlier time for one.
_FIRST_YEAR = 1678
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
#: A number is a time where it lies between these, counted in the unit: nobody's log is older or from the future.
_EARLIEST, _LATEST = datetime(1995, 1, 1, tzinfo=UTC).timestamp(), datetime(2040, 1, 1, tzinfo=UTC).timestamp()
_PER_SECOND: dict[TimeUnit, int] = {"s": 1, "ms": 1000, "us": 1_000_000}
#: So many of a column's values must be of a kind for it to be a column of these; extraction rejects the rows of others.
MOST = 0.95


@dataclass(frozen=True, kw_only=True)
class TimeLook:
    """How a column tells time: texts or typed times, with or without a zone, or numbers of a `unit`; `dates` has no
    clock.
    """

    unit: TimeUnit | None = None
    naive: bool = False
    dates: bool = False


def known(values: Sequence[Any]) -> list[Any]:
    """The values that are neither null nor a text that means null."""
    return [value for value in values if not _is_null(value)]


def as_id(value: Any) -> str:
    """The id that extraction makes of a value: 7, 7.0 and Decimal('7.000') are one."""
    return str(int(value)) if isinstance(value, float | Decimal) and _is_whole(value) else str(value)


def time_look(values: Sequence[Any]) -> TimeLook | None:
    """How the values tell time, None where most of them tell none."""
    some = without(markers(values), known(values))
    if not some:
        return None
    typed = [value for value in some if isinstance(value, date)]
    if typed:
        stamps = [value for value in typed if isinstance(value, datetime)]
        naive = any(value.tzinfo is None for value in stamps) or not stamps
        midnight = all(value.time() == datetime.min.time() for value in stamps)
        return TimeLook(naive=naive, dates=midnight) if len(typed) >= MOST * len(some) else None
    found = [match for value in some if (match := _as_time(value))]
    if len(found) >= MOST * len(some):
        clocks = [match["clock"] for match in found]
        return TimeLook(
            naive=any(match["zone"] is None for match in found),
            dates=all(clock is None or re.fullmatch(r"[T ]00:00(:00([.,]0+)?)?", clock) for clock in clocks),
        )
    numbers = as_numbers(some)
    for unit, scale in _PER_SECOND.items():
        if numbers and all(_EARLIEST * scale <= number < _LATEST * scale for number in numbers):
            return TimeLook(unit=unit, dates=all(number % (86_400 * scale) == 0 for number in numbers))
    return None


def null_texts(values: Sequence[Any]) -> list[str]:
    """The texts among the values that mean that there is none, though extraction knows only the empty one."""
    return sorted({value for value in values if isinstance(value, str) and value and _is_null(value)})


def markers(values: Sequence[Any]) -> list[str]:
    """The texts among times that stand for an unknown one, such as '-' and '0000-00-00'; none where there are many."""
    marks = {value for value in values if isinstance(value, str) and value and _MARKER.fullmatch(value.strip())}
    found = sorted({*null_texts(values), *marks})
    return found if len(found) <= _MOST_MARKERS else []


def without(texts: Sequence[str], values: Sequence[Any]) -> list[Any]:
    """The values that are none of the texts."""
    return [value for value in values if not (isinstance(value, str) and value in texts)]


def is_time(value: Any) -> bool:
    """Whether the value alone tells a time; a number tells one by its unit only."""
    return isinstance(value, date) or _as_time(value) is not None


def _as_time(value: Any) -> re.Match[str] | None:
    """The parts of a text that is a time of a day that there is."""
    match = _ISO.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        return None
    try:
        return match if date.fromisoformat(match.string[:10]).year >= _FIRST_YEAR else None
    except ValueError:
        return None


def is_number(value: Any) -> bool:
    """Whether the value, or what its text writes out, is a number or a truth value."""
    return isinstance(value, bool) or as_numbers([value]) is not None


def shown(value: Any) -> str:
    """The value as an error or a comment tells it."""
    text = str(value)
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def as_numbers(values: Sequence[Any]) -> list[float] | None:
    """The values as numbers, None where some are none or are truth values."""
    some = known(values)
    if any(isinstance(value, bool) or not isinstance(value, int | float | Decimal | str) for value in some) or not all(
        _NUMBER.fullmatch(value.strip()) for value in some if isinstance(value, str)
    ):
        return None
    return [_as_float(value) for value in some]


def is_id_like(values: Sequence[Any]) -> bool:
    """Whether the values can be ids: whole numbers or short texts without line breaks."""
    some = known(values)
    return bool(some) and all(
        not isinstance(value, bool)
        and (
            (isinstance(value, str) and len(value) <= 256 and "\n" not in value)
            or isinstance(value, int)
            or (isinstance(value, float | Decimal) and _is_whole(value))
        )
        for value in some
    )


def is_list_like(values: Sequence[Any]) -> bool:
    """Whether the values are lists of texts, or texts that extraction splits into such."""
    some = known(values)
    if not some:
        return False
    listed = [value for value in some if isinstance(value, list)]
    if listed:
        return all(isinstance(entry, str | int | None) for value in listed for entry in value)
    return all(isinstance(value, str) and len(value) < 1000 for value in some)


def is_text(values: Sequence[Any]) -> bool:
    """Whether the values are texts with letters in most of them."""
    some = known(values)
    lettered = [value for value in some if isinstance(value, str) and re.search(r"[^\W\d_]", value)]
    return bool(some) and len(lettered) > len(some) / 2


def distinct_share(values: Sequence[Any]) -> float:
    """The number of distinct values by the number of values; lists count by what they hold."""
    some = [json.dumps(value, default=str) if isinstance(value, list | dict) else value for value in known(values)]
    return len(set(some)) / len(some) if some else 0.0


def _is_whole(value: float | Decimal) -> bool:
    finite = value.is_finite() if isinstance(value, Decimal) else math.isfinite(value)
    return finite and value == int(value)


def _as_float(value: float | Decimal | str) -> float:
    try:
        return float(value.strip() if isinstance(value, str) else value)
    except OverflowError:  # an int of hundreds of digits; a text of as many is infinite by itself
        assert isinstance(value, int)
        return math.inf if value > 0 else -math.inf


def _is_null(value: Any) -> bool:
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, Decimal) and value.is_nan())
        or (isinstance(value, str) and value.strip().casefold() in NULL_TEXTS)
    )
