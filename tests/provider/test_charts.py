"""Where the lines of a plot lie."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.provider.page.charts import HEIGHT, WIDTH, plot, whisker
from recsys_text.steps.state import Figure

values = st.floats(-1e6, 1e6)


def figure(value: float, low: float | None = None, high: float | None = None) -> Figure:
    return Figure(window="2024-05-01", version="v1", value=value, low=low, high=high)


def test_a_line_and_a_band_by_hand() -> None:
    drawn = plot([figure(0.5, 0.0, 1.0), figure(1.0, 0.5, 1.0)])
    assert (drawn.bottom, drawn.top) == (0.0, 1.0)
    assert drawn.line == "M 250 50 L 750 8"
    assert drawn.bands == ["M 250 8 L 750 8 L 750 50 L 250 92 Z"]
    assert [(x, y) for x, y, _ in drawn.points] == [(250, 50), (750, 8)]


def test_a_figure_without_an_interval_parts_the_band() -> None:
    drawn = plot([figure(1, 0, 2), figure(1), figure(1, 0, 2), figure(1, 0, 2)])
    assert len(drawn.bands) == 2
    assert len(drawn.points) == 4


@pytest.mark.parametrize("count", [1, 3])
def test_what_never_changes_lies_in_the_middle(count: int) -> None:
    drawn = plot([figure(0.9)] * count)
    assert {y for _, y, _ in drawn.points} == {HEIGHT / 2}
    assert drawn.bottom < 0.9 < drawn.top
    assert drawn.points[count // 2][0] == WIDTH / 2


@given(st.lists(st.tuples(values, values, values), min_size=1, max_size=50))
def test_nothing_lies_outside(found: list[tuple[float, float, float]]) -> None:
    drawn = plot([figure(middle, low, high) for low, middle, high in map(sorted, found)])
    for path in (drawn.line, *drawn.bands):
        numbers = [float(text) for text in re.findall(r"-?[\d.]+(?:e[+-]?\d+)?", path)]
        assert all(0 <= x <= WIDTH for x in numbers[0::2])
        assert all(0 <= y <= HEIGHT for y in numbers[1::2])
    places = [x for x, _, _ in drawn.points]
    assert places == sorted(set(places))


def test_an_interval_beside_zero_by_hand() -> None:
    place = whisker(-0.1, 0.0, 0.1)
    assert place.low + place.high == pytest.approx(100)
    assert place.at == 50
    assert 0 < place.low < 10
    clear = whisker(0.1, 0.2, 0.3)
    assert 50 < clear.low < clear.at < clear.high < 100


@given(values, values, values)
def test_a_whisker_stays_on_its_axis(a: float, b: float, c: float) -> None:
    low, at, high = sorted((a, b, c))
    place = whisker(low, at, high)
    assert 0 <= place.low <= place.at <= place.high <= 100
    assert (low > 0) <= (place.low >= 50)
