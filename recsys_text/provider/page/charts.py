"""Where the lines, bands and points of a plot lie. Knows no page and no store."""

from collections.abc import Sequence
from dataclasses import dataclass

from recsys_text.steps.state import Figure

#: Of a plot whose width and height the page stretches.
WIDTH, HEIGHT = 1000, 100
_MARGIN = 8
_FLAT = 0.1


@dataclass(frozen=True, kw_only=True)
class Plot:
    """Paths of an SVG of WIDTH by HEIGHT: the line of values, the band of intervals, and a place for each figure.

    `top` and `bottom` are the values at the upper and lower end of the axis.
    """

    line: str
    bands: Sequence[str]
    points: Sequence[tuple[float, float, Figure]]
    top: float
    bottom: float


@dataclass(frozen=True, kw_only=True)
class Whisker:
    """An interval on an axis that has zero in its middle; places in percent of its width."""

    low: float
    high: float
    at: float


def plot(figures: Sequence[Figure]) -> Plot:
    """The figures in their order, evenly spaced; those without an interval make a gap in the band."""
    seen = [value for figure in figures for value in (figure.value, figure.low, figure.high) if value is not None]
    bottom, top = min(seen), max(seen)
    if bottom == top:  # in the middle of the axis then
        bottom, top = bottom - _FLAT, top + _FLAT
    span = top - bottom
    step = WIDTH / max(len(figures), 2)

    def place(position: int) -> float:
        return round((position + 0.5) * step if len(figures) > 1 else WIDTH / 2, 1)

    def height(value: float) -> float:
        return round(_MARGIN + (HEIGHT - 2 * _MARGIN) * (top - value) / span, 1)

    points = [(place(position), height(figure.value), figure) for position, figure in enumerate(figures)]
    bands: list[list[tuple[float, float, float]]] = [[]]
    for x, _, figure in points:
        if figure.low is None or figure.high is None:
            bands.append([])
        else:
            bands[-1].append((x, height(figure.low), height(figure.high)))
    return Plot(
        line=_path([(x, y) for x, y, _ in points]),
        bands=[
            _path([(x, high) for x, _, high in band] + [(x, low) for x, low, _ in reversed(band)]) + " Z"
            for band in bands
            if band
        ],
        points=points,
        top=top,
        bottom=bottom,
    )


def whisker(low: float, at: float, high: float) -> Whisker:
    """An interval and its middle, beside zero."""
    reach = max(abs(low), abs(high), abs(at)) * 1.15 or 1.0
    low, at, high = (round(50 + 50 * value / reach, 1) for value in (low, at, high))
    return Whisker(low=low, at=at, high=high)


def _path(places: Sequence[tuple[float, float]]) -> str:
    return "M " + " L ".join(f"{x:g} {y:g}" for x, y in places)
