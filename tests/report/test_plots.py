import re
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markupsafe import Markup

from recsys_text.report import plots
from recsys_text.report.plots import Estimate

HOSTILE = '<script>alert("x")</script>'

PLOTS: dict[str, Callable[[str], Markup]] = {
    "lines": lambda name: plots.lines(name, {name: [(1, 2.5), (2, 1.5)], "b": [(1, 3.0)]}, x=name, y=name, whole=True),
    "columns": lambda name: plots.columns(name, [name, "b"], {name: [2.5, 1.5], "b": [3.0, 0.0]}, x=name, y=name),
    "bars": lambda name: plots.bars(name, [(name, 2.5), ("b", -1.5)], x=name),
    "intervals": lambda name: plots.intervals(
        name, [Estimate(label=name, value=2.5, low=1.5, high=3.0, strong=True), Estimate(label="b", value=1.0)], x=name
    ),
    "diagonal": lambda name: plots.diagonal(name, [(0.025, 0.015, 0.01, 0.03)], x=name, y=name),
}


def text_of(svg: str) -> str:
    return re.sub(r"<[^>]*>", " ", svg)


@pytest.mark.parametrize("kind", PLOTS)
def test_a_plot_has_a_title_labelled_axes_and_its_values_as_text(kind: str) -> None:
    made = PLOTS[kind]("a name")
    assert "<figcaption>a name</figcaption>" in made
    assert text_of(made).count("a name") >= 2, "the title and an axis"
    told = re.search(r'role="img" aria-label="([^"]*)"', made)
    assert told is not None
    assert told[1].startswith("a name. ")
    assert "2.5" in told[1]
    assert "1.5" in told[1]


@pytest.mark.parametrize("kind", PLOTS)
def test_a_plot_escapes_its_texts_and_names_no_colour(kind: str) -> None:
    made = PLOTS[kind](HOSTILE)
    assert "<script" not in made
    assert "&lt;script&gt;" in made
    assert not re.search(r"#[0-9a-f]{3}|rgb|style=", made), "colours are the page's, in the dark and in print"


@pytest.mark.parametrize("stacked", [True, False])
def test_stacked_bars_stand_on_each_other(stacked: bool) -> None:
    made = plots.columns("t", ["a"], {"x": [2.0], "y": [3.0]}, x="x", y="y", stacked=stacked)
    bars = re.findall(r'<rect class="bar k\d" x="([\d.]+)" y="([\d.]+)" width="[\d.]+" height="([\d.]+)"', made)
    (left, top, _), (other, top_of_other, height) = [tuple(map(float, bar)) for bar in bars[-2:]]
    assert (left == other) == stacked
    foot = top_of_other + height
    assert (abs(foot - top) < 0.2) == stacked


def test_a_short_label_is_whole_and_a_long_one_is_cut_but_told() -> None:
    long = "a label of more letters than there is room for"
    made = plots.bars("t", [(long, 1.0), ("short", 2.0)], x="x")
    assert f">{long}<" not in made
    assert f"{long} 1" in made
    assert ">short<" in made


@pytest.mark.parametrize("letter", ["i", "n", "W", "水", "🚀"])
def test_a_label_is_cut_by_its_width_and_not_by_its_letters(letter: str) -> None:
    made = plots.bars("t", [(letter * 100, 1.0)], x="x")
    shown = re.search(rf">({letter}+)…<", made)
    assert shown is not None
    wide = {"i": 0.28, "n": 0.63, "W": 0.99, "水": 1.0, "🚀": 1.25}[letter] * 14 * len(shown[1])
    assert 0.7 * plots._LABEL < wide + 14 < plots._LABEL + 14


def test_numbers_are_as_short_as_an_axis_asks() -> None:
    values = (0.0, 0.123456, 999.0, 1234.0, 200_000.0, 1_000_000.0, -3_456_789.0, 2e9)
    assert [plots.number(value) for value in values] == [
        "0", "0.123", "999", "1,234", "200,000", "1M", "-3.46M", "2,000M",
    ]  # fmt: skip


@example([0.0, 1e-10], True)
@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=8), st.booleans())
def test_the_ticks_of_an_axis_embrace_its_values(values: list[float], whole: bool) -> None:
    scale = plots._Scale.over(values, 0, 100, whole=whole)
    ticks = scale.ticks
    slack = 1e-6 * max(1, *map(abs, values))
    assert ticks[0] <= min(values) + slack
    assert ticks[-1] >= max(values) - slack
    assert 2 <= len(ticks) <= 8
    assert all(-1e-3 <= scale(value) <= 100.001 for value in values)
    if whole:
        assert all(tick == round(tick) for tick in ticks)
