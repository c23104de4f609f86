"""The evaluation table for people: a verdict, and tables of 80 columns. Knows the table, not how it was measured."""

import polars as pl
from rich.console import Group

from recsys_text.columns import Column, WholeTable
from recsys_text.evaluation.measure import AS_SERVED, FRESH, HEADLINE, INTEREST, SCORE, SERVED, WITHOUT_TEXT, baselines
from recsys_text.evaluation.slices import DEFINITIONS

#: How many times what is served the score must reach when it is made at each impression, for that to be said.
_MUCH = 1.1
#: Users of a slice in which a better baseline is named: there are a dozen slices, and in small ones one is by chance.
_MANY_USERS = 200


def verdict(table: pl.DataFrame) -> str:
    """Say whether the score beats every one of the `baselines` in nDCG@10.

    It also says in which slices one of them is better, what the texts add, and where scores that are published more
    often would. A gain counts where its whole interval lies above zero.
    """
    others = baselines(table)
    if others.is_empty() or others["gain"].null_count():
        return "There is no evidence: no impression with a click, or no baseline, was measured."
    beaten = pl.col("gain_low").fill_null(float("-inf")) > 0
    level = others.filter(~beaten).sort("gain")
    said = f"score beats every baseline in nDCG@10 (95% intervals, {others['impressions'][0]:,} impressions)."
    if len(level):
        against = ", ".join(f"{row['method']} (gain {gain(row)})" for row in level.iter_rows(named=True))
        said = f"score does NOT beat: {against} in nDCG@10."
    said += _lost(table)
    whole = (pl.col("slice") == "all") & (pl.col("metric") == HEADLINE) & (pl.col("method") == WITHOUT_TEXT)
    for row in table.filter(whole).iter_rows(named=True):
        adds = "add to it" if (row["gain_low"] or 0) > 0 else "add nothing that these impressions can tell"
        said += f" The texts {adds}: gain {gain(row)} over the score without them."
    return said + _sooner(table)


def _lost(table: pl.DataFrame) -> str:
    """The slices of many users in which a baseline is better than the score, each with the best such; else nothing."""
    named = []
    for rows in table.filter(~pl.col("slice").is_in(["all", AS_SERVED])).partition_by("slice", maintain_order=True):
        part = rows["slice"][0]
        others = baselines(rows, part)
        better = others.filter((pl.col("gain_high") < 0) & (pl.col("users") >= _MANY_USERS)).sort("gain")
        named += [f"{part} ({row['method']}, gain {gain(row)})" for row in better.head(1).iter_rows(named=True)]
    return f" A simple method is better in these slices: {', '.join(named)}." if named else ""


def _sooner(table: pl.DataFrame) -> str:
    """What publishing more often would gain, where scores made at each impression are much better; else nothing."""
    whole = (pl.col("slice") == "all") & (pl.col("metric") == HEADLINE)
    rows = table.filter(whole & pl.col("method").is_in([SCORE, FRESH])).rows_by_key("method", named=True)
    if FRESH not in rows or SCORE not in rows:
        return ""
    (served,), (fresh,) = rows[SCORE], rows[FRESH]
    if (fresh["gain_high"] or 0) >= 0 or fresh["value"] < _MUCH * served["value"]:
        return ""
    return (
        f" Made at each impression the score would reach {short(fresh['value'])} in place of {short(served['value'])}: "
        "publish within windows too (schedule.refresh), or take shorter ones (windows.length)."
    )


def render(table: pl.DataFrame) -> Group:
    """All methods on the whole test as published, the score made sooner or later, and the score in each slice.

    Methods come by nDCG@10, best first. Gains are the paired ones of SCORE over a method, in nDCG@10.
    """
    whole = table.filter(pl.col("slice") == "all")
    aged, sliced = (table.filter(chosen) for chosen in (pl.col("slice") == AS_SERVED, pl.col("slice") != AS_SERVED))
    shown: list[WholeTable | str] = [_methods(whole)]
    if len(aged):
        shown += ["", _served(aged)]
    if sliced["slice"].n_unique() > 1:
        shown += ["", _slices(sliced)]
        named = [name for name in sliced["slice"].unique(maintain_order=True) if name in DEFINITIONS]
        shown += ["", "Slices, as of when the scores were made:", *(f"  {name}: {DEFINITIONS[name]}" for name in named)]
    return Group(*shown)


def left_out(dropped: int, missed: int) -> str:
    """Say in one line how many clicks were not measured, how many count as missed, and why."""
    return (
        f"{dropped:,} clicks outside their candidate pool, or alone in what was shown, were left out; {missed:,} on "
        "items that were not known yet when scores were published count as missed."
    )


def _methods(whole: pl.DataFrame) -> WholeTable:
    size = whole.row(0, named=True)
    shown = _table(
        f"{size['impressions']:,} impressions of {size['users']:,} users, with 95% intervals over users",
        ("AUC", "nDCG@10", "rec@50", "score gains"),
    )
    for method, row in by_method(whole, sort=True).items():
        ours = method == SCORE
        shown.add_row(
            method,
            short(row["auc"]["value"]),
            interval(row[HEADLINE]),
            short(row["recall@50"]["value"]),
            "" if ours else gain(row[HEADLINE]),
            style="bold" if ours else None,
        )
    return shown


def _served(rows: pl.DataFrame) -> WholeTable:
    shown = _table(
        f"The score when it is made sooner or later, on {rows['impressions'][0]:,} impressions",
        ("AUC", "nDCG@10", "published gains"),
    )
    for method, row in by_method(rows, sort=False).items():
        ours = method == SCORE
        shown.add_row(
            "published" if ours else method.removeprefix(SERVED),
            short(row["auc"]["value"]),
            interval(row[HEADLINE]),
            "" if ours else gain(row[HEADLINE]),
        )
    return shown


def _slices(table: pl.DataFrame) -> WholeTable:
    shown = WholeTable(
        "nDCG@10 by slice, and the score's gain over the best baseline there",
        Column(name="slice", folds=True),  # the name of a category is of any length
        Column(name="impr.", right=True),
        Column(name="int.", right=True),
        Column(name="score", right=True),
        Column(name="best", right=True, spare=True),  # the score less what it gains
        Column(name=" best baseline"),
        Column(name="score gains", right=True),
    )
    for part in table.partition_by("slice", maintain_order=True):
        name = part["slice"][0]
        headline = {row["method"]: row for row in part.filter(pl.col("metric") == HEADLINE).iter_rows(named=True)}
        best = baselines(part, name).sort("value", descending=True, nulls_last=True).head(1)
        against = best.row(0, named=True) if len(best) else None
        shown.add_row(
            name,
            f"{part['impressions'][0]:,}",
            short(headline[INTEREST]["value"]) if INTEREST in headline else "",
            short(headline[SCORE]["value"]),
            short(against["value"]) if against else "",
            f" {against['method']}" if against else "",
            gain(against) if against else "",
        )
    return shown


def _table(title: str, headings: tuple[str, ...]) -> WholeTable:
    return WholeTable(title, Column(name="method"), *(Column(name=name, right=True) for name in headings))


Row = dict[str, dict[str, float | None]]


def by_method(rows: pl.DataFrame, *, sort: bool) -> dict[str, Row]:
    """The values and gains of each method by metric."""
    order = rows.filter(pl.col("metric") == HEADLINE)
    if sort:
        order = order.sort("value", descending=True, nulls_last=True)
    found: dict[str, Row] = {method: {} for method in order["method"]}
    for row in rows.iter_rows(named=True):
        found[row["method"]][row["metric"]] = row
    return found


def interval(row: dict[str, float | None]) -> str:
    return _range(row["value"], row["low"], row["high"])


def gain(row: dict[str, float | None]) -> str:
    return _range(row["gain"], row["gain_low"], row["gain_high"], sign="+")


def _range(value: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    if low is None or high is None:
        return short(value, sign)
    return f"{short(value, sign)} [{short(low, sign)}, {short(high, sign)}]"


def short(value: float | None, sign: str = "") -> str:
    """Three digits and no leading zero, as the literature prints them."""
    return "-" if value is None else format(value, f"{sign}.3f").replace("0.", ".", 1)
