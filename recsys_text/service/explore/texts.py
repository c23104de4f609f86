"""Numbers, times and titles as pages write them. Knows no page."""

import math
from datetime import datetime

_TITLE_LENGTH = 120
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))
_SIZES = ("B", "kB", "MB", "GB", "TB")


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many digits after the point; a dash where there is none, or none that is finite."""
    return f"{value:.{digits}f}".replace("-", "−") if value is not None and math.isfinite(value) else "–"


def signed(value: float, digits: int = 2) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def age(seconds: float) -> str:
    """The two largest units of a time span, such as '3 d 4 h'."""
    left = int(seconds)
    said: list[str] = []
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count or said:
            said.append(f"{count} {unit}")
    return " ".join(said[:2]) or f"{left} s"


def when(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def size(count: int) -> str:
    power = 0
    while power < len(_SIZES) - 1 and count >= 1000 ** (power + 1):
        power += 1
    return f"{count / 1000**power:.{min(1, power)}f} {_SIZES[power]}"


def short(text: str, length: int = _TITLE_LENGTH) -> str:
    """A title or an id as lists show it: no list grows large by its texts."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"
