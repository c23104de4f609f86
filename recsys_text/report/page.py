"""Renders a report's content as one HTML page without scripts and without another host. Knows no step."""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import polars as pl
from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from recsys_text.evaluation.measure import AS_SERVED, HEADLINE, INTEREST, SCORE, SERVED, baselines
from recsys_text.evaluation.reliability import PARTS, with_interval
from recsys_text.evaluation.slices import DEFINITIONS
from recsys_text.evaluation.table import by_method, gain, interval, short, verdict
from recsys_text.report import plots
from recsys_text.report.content import Content
from recsys_text.report.plots import Estimate

_TEMPLATES = files("recsys_text.report") / "templates"
#: Rows of a table, and bars of a plot, that a reader still takes in.
_WINDOWS, _FEATURES, _BARS = 14, 15, 120
#: The learning curves by plot: title, unit, and the metrics with their names for people.
_CURVES = (
    ("Loss of the text model", "loss (nats per row)", {"loss": "training", "valid_loss": "validation"}),
    ("Ranking quality of the text model while it learns", "validation nDCG@10", {"valid_ndcg_at_10": "validation"}),
)
_ROLES = ("older", "learned from", "tested on", "later")


#: Between these stands the verdict. No text of users or items can look like them, as those are escaped.
_BEGIN, _END = Markup("<!-- verdict -->"), Markup("<!-- end of the verdict -->")


def render(content: Content) -> str:
    """The page. Texts of users and items stand in it as text, whatever they hold."""
    style = Markup((_TEMPLATES / "style.css").read_text())  # noqa: S704 - our own file
    return _template("report.html").render(
        report=content, style=style, verdict=_verdict(content.verdict), **_data(content), **_evaluation(content),
        **_importance(content),
        loss_plots=_curves(content), popularity_plot=_popularity(content),
    )  # fmt: skip


def with_verdict(page: str, verdict: Mapping[str, str]) -> str:
    """A page that was rendered before, with this verdict of the gate. Raises ValueError where it has no place."""
    return page[: page.index(_BEGIN)] + str(_verdict(verdict)) + page[page.index(_END) + len(_END) :]


def _verdict(verdict: Mapping[str, str]) -> Markup:
    return Markup(_template("verdict.html").render(verdict=verdict, begin=_BEGIN, end=_END).strip())  # noqa: S704 - ours


def _template(name: str) -> Template:
    environment = Environment(
        loader=FunctionLoader(lambda name: (_TEMPLATES / name).read_text()),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _data(content: Content) -> dict[str, Any]:
    rows = content.windows
    roles = [role for role in _ROLES if any(row.role == role for row in rows)]
    totals = [
        {
            "role": role,
            "windows": len(own),
            "first": own[0].key,
            "last": own[-1].key,
            **{
                name: sum(getattr(row, name) for row in own)
                for name in ("events", "impressions", "rejected", "duplicates")
            },
        }
        for role in roles
        if (own := [row for row in rows if row.role == role])
    ]
    shown = rows[-_BARS:]
    series = {role: [float(row.events) if row.role == role else 0.0 for row in shown] for role in roles}
    plot = plots.columns(
        "Events of each window", [row.key for row in shown], series, x="window (UTC)", y="events", stacked=True
    )
    return {"totals": totals, "newest": rows[-_WINDOWS:], "windows_plot": plot if rows else None}


def _curves(content: Content) -> list[Markup]:
    found = []
    for title, unit, names in _CURVES:
        series = {shown: content.curves[name] for name, shown in names.items() if content.curves.get(name)}
        if series:
            found.append(plots.lines(title, series, x="epoch", y=unit, whole=True))
    return found


def _evaluation(content: Content) -> dict[str, Any]:
    table = content.table
    if table is None:
        nothing: dict[str, Any] = dict.fromkeys(("line", "size", "methods_plot", "slices_plot"))
        return nothing | {"methods": [], "served": [], "sliced": [], "reliability_plots": []}
    whole = by_method(table.filter(pl.col("slice") == "all"), sort=True)
    aged = by_method(table.filter(pl.col("slice") == AS_SERVED), sort=False)
    sliced = _slices(table)
    size = table.filter(pl.col("slice") == "all").row(0, named=True)
    return {
        "line": verdict(table),
        "size": size,
        "methods": _methods(whole),
        "served": _methods({name.removeprefix(SERVED): row for name, row in aged.items()}),
        "methods_plot": plots.intervals(
            "nDCG@10 of each method, with 95% intervals over users",
            [_estimate(name, row[HEADLINE], strong=name == SCORE) for name, row in whole.items() if _measured(row)],
            x="nDCG@10 (0 to 1)",
        ),
        "sliced": sliced,
        "slices_plot": plots.intervals(
            "Gain of the score over the best baseline of each slice, with 95% intervals",
            [
                Estimate(label=row["slice"], value=row["gain"], low=row["low"], high=row["high"])
                for row in sliced
                if row["known"]
            ],
            x="gain in nDCG@10",
            zero=True,
        )
        if any(row["known"] for row in sliced)
        else None,
        "reliability_plots": _reliability(content),
    }


def _methods(rows: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "method": name,
            "auc": short(row["auc"]["value"]),
            "mrr": short(row["mrr"]["value"]),
            "ndcg": interval(row[HEADLINE]),
            "recall": short(row["recall@50"]["value"]),
            "coverage": short(row["coverage@10"]["value"]),
            "diversity": short(row["diversity@10"]["value"]),
            "gain": "" if name == SCORE else gain(row[HEADLINE]),
            "ours": name == SCORE,
        }
        for name, row in rows.items()
    ]


def _slices(table: pl.DataFrame) -> list[dict[str, Any]]:
    """The score in each slice, the interest, and the best baseline there with what the score gains over it."""
    found = []
    for part in table.filter(pl.col("slice") != AS_SERVED).partition_by("slice", maintain_order=True):
        name = part["slice"][0]
        headline = {row["method"]: row for row in part.filter(pl.col("metric") == HEADLINE).iter_rows(named=True)}
        best = baselines(part, name).sort("value", descending=True, nulls_last=True).head(1)
        against = best.row(0, named=True) if len(best) and best["gain"][0] is not None else None
        found.append(
            {
                "slice": name,
                "definition": DEFINITIONS.get(name, ""),
                "impressions": part["impressions"][0],
                "score": short(headline[SCORE]["value"]),
                "interest": short(headline[INTEREST]["value"]) if INTEREST in headline else "",
                "best": f"{against['method']} {short(against['value'])}" if against else "",
                "told": gain(against) if against else "",
                "known": against is not None,
                "gain": against and against["gain"],
                "low": against and against["gain_low"],
                "high": against and against["gain_high"],
            }
        )
    return found


def _reliability(content: Content) -> list[Markup]:
    if content.reliability is None:
        return []
    found = []
    for part in PARTS:
        own = with_interval(content.reliability.filter(pl.col("part") == part))
        if own.is_empty():
            continue
        points = list(own.select("predicted", "clicked", "low", "high").iter_rows())
        weights = own["candidates"] / own["candidates"].sum()
        error = float(((own["predicted"] - own["clicked"]).abs() * weights).sum())
        name = f"Reliability, {part}: error {plots.percent(error)}"
        found.append(plots.diagonal(name, points, x="predicted click probability (%)", y="click rate (%)"))
    return found


def _popularity(content: Content) -> Markup | None:
    rows = content.popularity
    if rows is None or rows.is_empty():
        return None
    return plots.columns(
        "Who is recommended and who is clicked, by popularity",
        [str(part) for part in rows["part"]],
        {"recommended": rows["recommended"].to_list(), "clicked": rows["clicked"].to_list()},
        x="tenth of the items by clicks before the test, 1 the most clicked",
        y="share (%)",
        shown=plots.percent,
    )


def _importance(content: Content) -> dict[str, Any]:
    gain_rows = list(content.gain.items())[:_FEATURES]
    lost = sorted(content.permuted.items(), key=lambda row: -row[1])[:_FEATURES]
    return {
        "gain_plot": plots.bars(
            "Share of each feature in the trees' gain", gain_rows, x="share of gain (%)", shown=plots.percent
        )
        if gain_rows
        else None,
        "permuted_plot": plots.bars("What the blend loses when a feature is shuffled", lost, x="nDCG@10 lost")
        if lost
        else None,
    }


def _measured(row: dict[str, Any]) -> bool:
    return row[HEADLINE]["value"] is not None


def _estimate(name: str, row: dict[str, Any], *, strong: bool) -> Estimate:
    return Estimate(label=name, value=row["value"], low=row["low"], high=row["high"], strong=strong)
