import xml.etree.ElementTree as ET

import numpy as np
import polars as pl
import pytest

from recsys_text.evaluation.calibration import calibration
from recsys_text.evaluation.reliability import PARTS, SCHEMA, diagram, reliability, svg


def counted(number=30_000, bias=1.0):
    random = np.random.default_rng(0)
    probability = random.random(number) ** 8
    return calibration(probability, random.random(number) < np.minimum(1, bias * probability))


def test_the_bins_are_those_of_the_calibration_error():
    for bias in (1.0, 0.5):
        found = counted(bias=bias)
        bins = reliability(found)
        assert bins.schema == pl.Schema(SCHEMA)
        for part, top in PARTS.items():
            own = bins.filter(pl.col("part") == part)
            assert own["bin"].to_list() == list(range(15))
            gap = (own["predicted"] - own["clicked"]).abs()
            assert (gap * own["candidates"]).sum() / own["candidates"].sum() == pytest.approx(found.error(top=top))


def test_the_diagram_shows_each_bin_and_its_error():
    bins = reliability(counted(bias=0.5))
    figure = diagram(bins)
    assert len(figure.axes) == 2
    for axes, part in zip(figure.axes, PARTS, strict=True):
        own = bins.filter(pl.col("part") == part)
        shown = axes.containers[0].lines[0]
        np.testing.assert_array_equal(shown.get_xdata(), own["predicted"])
        np.testing.assert_array_equal(shown.get_ydata(), own["clicked"])
        assert axes.get_title().startswith(f"{part}: error 0.")
        assert axes.get_xlim()[1] >= own["predicted"].max()


def test_the_same_bins_are_the_same_picture():
    bins = reliability(counted())
    assert svg(bins) == svg(bins)
    assert ET.fromstring(svg(bins)).tag.endswith("svg")


def test_without_candidates_the_panels_are_empty():
    bins = reliability(calibration(np.zeros(0), np.zeros(0, bool)))
    assert bins.is_empty()
    assert "svg" in svg(bins)


def test_nothing_clicked_is_a_rate_of_zero():
    assert "svg" in svg(reliability(calibration(np.full(100, 0.25), np.zeros(100, bool))))
