"""Bounds for databases that compare values of different types by rules of their own."""

from datetime import timedelta

from recsys_text.sources.sql.databases import UNITS
from recsys_text.sources.sql.query import Bounds
from recsys_text.sources.times import Span

_DAY = timedelta(days=1)
#: Bounds that hold every time, be it a number or a text of any form.
EVERY_TIME = (Bounds(start=0, end=10**17), Bounds(start="", end="~"))


def lenient_bounds(span: Span, time_unit: str | None) -> list[Bounds]:
    """The span as naive times, as numbers since 1970 in each unit that they may have, and as days around it."""
    low, high = span.wall_clock()
    seconds = span.start.timestamp(), span.end.timestamp()
    units = [UNITS[time_unit]] if time_unit else UNITS.values()
    return [
        Bounds(start=low, end=high),
        *(Bounds(start=int(seconds[0] * unit), end=int(seconds[1] * unit)) for unit in units),
        # As texts: those with offsets or a T sort into the days around the span.
        Bounds(start=f"{low - _DAY:%Y-%m-%d}", end=f"{high + 2 * _DAY:%Y-%m-%d}", exact=False),
    ]
