"""The reliability diagram: click rates beside the probabilities that were predicted. Knows predictions, no method."""

import io

import matplotlib as mpl
import polars as pl
from matplotlib.figure import Figure

from recsys_text.evaluation.calibration import BINS, TOP, Calibration

#: The parts of the candidates that have bins of their own, and the share of highest predictions in each.
PARTS = {"all candidates": 1.0, f"top {TOP:.0%} of predictions": TOP}
SCHEMA = {
    "part": pl.String,
    "bin": pl.Int64,
    "candidates": pl.Float64,
    "predicted": pl.Float64,
    "clicked": pl.Float64,
}


def reliability(counted: Calibration) -> pl.DataFrame:
    """A row for each bin of equal mass of all candidates and of the highest predictions, with the columns of SCHEMA.

    candidates: how many are in the bin, a fraction where its edge divides equal predictions; predicted: their mean
    click probability; clicked: their click rate.
    """
    rows: list[tuple[object, ...]] = []
    for part, top in PARTS.items():
        rows += [(part, place, *row) for place, row in enumerate(zip(*counted.bins(top=top), strict=True))]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def diagram(bins: pl.DataFrame) -> Figure:
    """A panel for each part: bins on the diagonal are as often clicked as predicted. Readable in print."""
    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    for axes, part in zip(figure.subplots(1, len(PARTS)), PARTS, strict=True):
        own = with_interval(bins.filter(pl.col("part") == part))
        weights = own["candidates"] / own["candidates"].sum()
        error = ((own["predicted"] - own["clicked"]).abs() * weights).sum()
        highest = max(1e-6, *own.select(pl.max_horizontal("predicted", "high").max()).to_series()) if len(own) else 1.0
        axes.plot([0, highest], [0, highest], color="0.6", linewidth=1, linestyle="--", label="perfect")
        whiskers = [(own["clicked"] - own["low"]).to_numpy(), (own["high"] - own["clicked"]).to_numpy()]
        axes.errorbar(
            own["predicted"], own["clicked"], yerr=whiskers, fmt="o", color="black", markersize=4, linewidth=1,
            capsize=2, label=f"{BINS} bins of equal mass",
        )  # fmt: skip
        axes.set_title(f"{part}: error {error:.2g}", fontsize=10)
        axes.set_xlabel("predicted click probability")
        axes.set_ylabel("click rate")
        axes.set_xlim(0, highest * 1.05)
        axes.set_ylim(0, highest * 1.05)
        axes.set_aspect("equal")
        axes.tick_params(labelsize=8)
        axes.locator_params(nbins=5)
        axes.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def svg(bins: pl.DataFrame) -> str:
    """The diagram as SVG; the same bins give the same text."""
    with mpl.rc_context({"svg.hashsalt": "reliability"}):
        out = io.StringIO()
        diagram(bins).savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def with_interval(bins: pl.DataFrame) -> pl.DataFrame:
    """The bins with `low` and `high`: the 95% interval of the click rate (Wilson 1927), as if candidates were
    independent.
    """
    z, n, p = 1.96, pl.col("candidates"), pl.col("clicked")
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)).sqrt()
    return bins.with_columns(
        low=pl.min_horizontal(middle - half, p).clip(0, 1), high=pl.max_horizontal(middle + half, p)
    )
