"""Plots as inline SVG that follow the page's colours: in the dark, in print and read aloud. Knows numbers and labels.

Each has a title, axes with labels and units, and its values as a text alternative. Series differ by more than colour.
"""

import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from markupsafe import Markup

_WIDTH = 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 14, 34, 44
#: Values that a text alternative lists at most of each series.
_TOLD = 40
#: Where labels beside bars end, and what the values behind bars have.
_LABEL, _VALUE = 180, 68
#: The size of letters where it is largest, in print, and how wide they are in a wide font; all others are _OTHER.
_SIZE, _OTHER = 14, 0.63
_WIDTHS = dict.fromkeys("ijl|!'.,:; ", 0.34) | dict.fromkeys('frtI()[]{}/-"', 0.46) | dict.fromkeys("mwMW@%", 1.0)

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A value with the bounds of its interval, where it has one. `strong` makes it stand out."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    strong: bool = False


def number(value: float) -> str:
    """At most three digits, or whole, and of millions two after the point."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:,.2f}".rstrip("0").rstrip(".") + "M"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def percent(value: float) -> str:
    return f"{100 * value:.3g}%"


Format = Callable[[float], str]


def lines(title: str, series: Mapping[str, Points], *, x: str, y: str, whole: bool = False) -> Markup:
    """A line for each series, through its points (x, y). whole: x counts something."""
    points = [point for each in series.values() for point in each]
    across = _Scale.over([at for at, _ in points], _LEFT, _WIDTH - _RIGHT, whole=whole)
    height = 240
    up = _Scale.over([value for _, value in points], height - _BOTTOM, _TOP + 14)
    parts = [_axes(across, up, height, x=x, y=y), _legend(list(series), "line")]
    for kind, each in enumerate(series.values()):
        path = " ".join(f"{across(at):.1f},{up(value):.1f}" for at, value in each)
        parts.append(Markup('<polyline class="line k{}" points="{}"/>').format(kind, path))
        for at, value in each:
            parts.append(
                Markup('<circle class="dot k{}" cx="{:.1f}" cy="{:.1f}" r="3"/>').format(kind, across(at), up(value))
            )
    told = (
        f"{name}: " + ", ".join(f"{number(value)} at {number(at)}" for at, value in each[:_TOLD])
        for name, each in series.items()
    )
    return _figure(title, "; ".join(told), height, parts)


def columns(
    title: str,
    labels: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    x: str,
    y: str,
    shown: Format = number,
    stacked: bool = False,
) -> Markup:
    """Upright bars from 0: for each label one of each series side by side, or one upon the other."""
    height = 240
    tops = [sum(each) if stacked else max(each) for each in zip(*series.values(), strict=True)]
    up = _Scale.over([0.0, *tops], height - _BOTTOM, _TOP + 14)
    step = (_WIDTH - _LEFT - _RIGHT) / max(1, len(labels))
    beside = 1 if stacked else max(1, len(series))
    wide = step * 0.84 / beside
    parts = [_up_axis(up, y, shown), _legend(list(series), "bar")]
    below = [0.0] * len(labels)
    for kind, values in enumerate(series.values()):
        for place, value in enumerate(values):
            left = _LEFT + (place + 0.08) * step + (0 if stacked else kind * wide)
            parts.append(_bar(kind, left, up(below[place] + value), wide, up(0.0) - up(value)))
            below[place] += value if stacked else 0
    every = max(1, math.ceil((max(map(_width, labels), default=1) + 10) / step))
    for place in range(0, len(labels), every):
        parts.append(_text(_LEFT + (place + 0.5) * step, height - _BOTTOM + 15, labels[place], "middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, height - 6, x, "middle"))
    told = (
        f"{name}: "
        + ", ".join(
            f"{label} {shown(value)}" for label, value in list(zip(labels, values, strict=True))[-_TOLD:] if value
        )
        for name, values in series.items()
    )
    return _figure(title, "; ".join(told), height, parts)


def bars(title: str, rows: Sequence[tuple[str, float]], *, x: str, shown: Format = number) -> Markup:
    """Lying bars from 0, one below the other."""
    height = _TOP + 20 * len(rows) + _BOTTOM
    across = _Scale.over([0.0, *(value for _, value in rows)], _LABEL + 6, _WIDTH - _VALUE)
    parts = [_across_axis(across, height, x, shown)]
    for place, (label, value) in enumerate(rows):
        top = _TOP - 8 + 20 * place
        left, right = sorted((across(0.0), across(value)))
        parts += [_text(_LABEL, top + 12, _short(label), "end"), _bar(0, left, top + 2, right - left, 13)]
        parts.append(_text(right + 4, top + 12, shown(value), "start"))
    return _figure(title, ", ".join(f"{label} {shown(value)}" for label, value in rows), height, parts)


def intervals(title: str, rows: Sequence[Estimate], *, x: str, zero: bool = False) -> Markup:
    """A dot for each estimate and a line for its interval. zero: marks 0, as for gains."""
    height = _TOP + 20 * len(rows) + _BOTTOM
    bounds = [bound for row in rows for bound in (row.value, row.low, row.high) if bound is not None]
    across = _Scale.over([*bounds, *([0.0] if zero else [])], _LABEL + 6, _WIDTH - _RIGHT)
    parts = [_across_axis(across, height, x, number)]
    if zero:
        parts.append(
            Markup('<line class="mark" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(
                across(0.0), _TOP - 10, height - _BOTTOM
            )
        )
    for place, row in enumerate(rows):
        middle = _TOP + 20 * place
        parts.append(_text(_LABEL, middle + 4, _short(row.label), "end", "strong" if row.strong else ""))
        if row.low is not None and row.high is not None:
            parts.append(
                Markup('<line class="whisker" x1="{:.1f}" x2="{:.1f}" y1="{y}" y2="{y}"/>').format(
                    across(row.low), across(row.high), y=middle
                )
            )
        kind = 0 if row.strong else 1
        parts.append(
            Markup('<circle class="dot k{}" cx="{:.1f}" cy="{}" r="4"/>').format(kind, across(row.value), middle)
        )
    told = ", ".join(
        f"{row.label} {number(row.value)}"
        + (f" [{number(row.low)}, {number(row.high)}]" if row.low is not None and row.high is not None else "")
        for row in rows
    )
    return _figure(title, told, height, parts)


def diagonal(title: str, points: Sequence[tuple[float, float, float, float]], *, x: str, y: str) -> Markup:
    """Dots (x, y, low, high of y) beside the diagonal, where both axes say the same."""
    height = 340
    most = max([1e-6, *(bound for at, _, _, high in points for bound in (at, high))])
    across, up = _Scale.over([0.0, most], _LEFT, _WIDTH - _RIGHT), _Scale.over([0.0, most], height - _BOTTOM, _TOP + 14)
    end = min(across.high, up.high)
    parts = [_axes(across, up, height, x=x, y=y, shown=percent)]
    parts.append(
        Markup('<line class="mark" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
            across(0), up(0), across(end), up(end)
        )
    )
    for at, value, low, high in points:
        parts.append(
            Markup('<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(
                up(low), up(high), x=across(at)
            )
        )
        parts.append(Markup('<circle class="dot k0" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(across(at), up(value)))
    told = ", ".join(f"{percent(at)} predicted, {percent(value)} clicked" for at, value, _, _ in points)
    return _figure(title, told, height, parts)


@dataclass(frozen=True)
class _Scale:
    """Values between `low` and `high`, which are ticks, to places between `begin` and `end`."""

    low: float
    high: float
    step: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        return self.begin + (value - self.low) / (self.high - self.low) * (self.end - self.begin)

    @property
    def ticks(self) -> list[float]:
        return [self.low + self.step * place for place in range(round((self.high - self.low) / self.step) + 1)]

    @classmethod
    def over(cls, values: Sequence[float], begin: float, end: float, *, whole: bool = False) -> "_Scale":
        """Ticks at 1, 2 or 5 times a power of ten."""
        low, high = (min(values), max(values)) if values else (0.0, 1.0)
        if high - low <= 1e-9 * max(1e-6, abs(low), abs(high)):
            low, high = (low - 1, high + 1) if whole else (low - abs(low) / 10 - 1e-6, high + abs(high) / 10 + 1e-6)
        rough = (high - low) / 4
        power = 10 ** math.floor(math.log10(rough))
        step = power * next(times for times in (1, 2, 5, 10) if times * power >= rough * 0.999)
        step = max(1.0, step) if whole else step
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        return cls(first * step, max(last, first + 1) * step, step, begin, end)


def _figure(title: str, told: str, height: int, parts: Sequence[Markup]) -> Markup:
    return Markup(
        '<figure><svg viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg><figcaption>{}</figcaption></figure>'
    ).format(_WIDTH, height, f"{title}. {told}.", Markup().join(parts), title)


def _axes(across: _Scale, up: _Scale, height: int, *, x: str, y: str, shown: Format = number) -> Markup:
    parts = [_up_axis(up, y, shown)]
    for tick in across.ticks:
        parts.append(_text(across(tick), height - _BOTTOM + 15, shown(tick), "middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, height - 6, x, "middle"))
    return Markup().join(parts)


def _up_axis(up: _Scale, label: str, shown: Format) -> Markup:
    parts = [_text(4, 14, label, "start")]
    for tick in up.ticks:
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>').format(
                _LEFT, _WIDTH - _RIGHT, y=up(tick)
            )
        )
        parts.append(_text(_LEFT - 5, up(tick) + 4, shown(tick), "end"))
    return Markup().join(parts)


def _across_axis(across: _Scale, height: int, label: str, shown: Format) -> Markup:
    parts = [_text((across.begin + across.end) / 2, height - 6, label, "middle")]
    for tick in across.ticks:
        parts.append(
            Markup('<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{}" y2="{}"/>').format(
                _TOP - 14, height - _BOTTOM, x=across(tick)
            )
        )
        parts.append(_text(across(tick), height - _BOTTOM + 15, shown(tick), "middle"))
    return Markup().join(parts)


def _legend(names: Sequence[str], kind: str) -> Markup:
    """Right above the plot; a single series needs none."""
    parts: list[Markup] = []
    left = float(_WIDTH - _RIGHT)
    for place in reversed(range(len(names) if len(names) > 1 else 0)):
        left -= _width(names[place])
        parts.append(_text(left, 28, names[place], "start"))
        left -= 24
        if kind == "line":
            parts.append(
                Markup('<line class="line k{}" x1="{}" x2="{}" y1="24" y2="24"/>').format(place, left, left + 20)
            )
        else:
            parts.append(_bar(place, left + 8, 18, 11, 11))
        left -= 12
    return Markup().join(parts)


def _bar(kind: int, x: float, y: float, width: float, height: float) -> Markup:
    return Markup('<rect class="bar k{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
        kind, x, y, max(width, 0.5), max(height, 0.0)
    )


def _text(x: float, y: float, text: str, anchor: str, style: str = "") -> Markup:
    """Moved aside where it would be cut off at an edge."""
    before = _width(text) * {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor]
    x = max(before, min(x, _WIDTH - _width(text) + before))
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}"{}>{}</text>').format(
        x, y, anchor, Markup(' class="{}"').format(style) if style else "", text
    )


def _short(label: str) -> str:
    """As much of it as there is room for beside a bar."""
    if _width(label) <= _LABEL:
        return label
    widths = accumulate(map(_width, label))
    return label[: sum(width <= _LABEL - _width("…") for width in widths)] + "…"


def _width(text: str) -> float:
    return sum(map(_letter, text))


def _letter(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 1.3 * _SIZE  # an emoji is wider than a character of Chinese
    return _SIZE * _WIDTHS.get(letter, 0.8 if letter.isupper() or letter == "…" else _OTHER)
