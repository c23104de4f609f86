"""What a step did, as tables and lines. Knows no step."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console

from recsys_text.columns import Column, WholeTable
from recsys_text.lake.result import no_candidates

if TYPE_CHECKING:
    from feature_store import VersionInfo
    from recsys_text.steps.tune import Tuned

_SHOWN_WINDOWS = 10
#: How a time in UTC stands in a column.
_MINUTE = "%Y-%m-%d %H:%M"
#: The metrics that are no mean and no share.
_COUNTS = {"users"}


def extracted(out: Console, result: Mapping[str, Any], *, grace: int) -> None:
    """Rows per table and window; the middle of a long span is summed up.

    grace: how many windows an item that has left stays a candidate for.
    """
    table = WholeTable(
        "Lake",
        Column(name="table"),
        Column(name="window"),
        Column(name="rows", right=True),
        Column(name="rejected", right=True, folds=True),
        Column(name="duplicates", right=True),
    )
    for name, windows in result["tables"].items():
        shown = list(windows) if len(windows) <= _SHOWN_WINDOWS else [*list(windows)[:1], *list(windows)[-1:]]
        for key in shown:
            table.add_row(name, key, *_amounts([windows[key]]))
        if len(windows) > 1:
            table.add_row(name, f"all {len(windows)}", *_amounts(list(windows.values())), end_section=True)
    out.print(table, soft_wrap=True)
    for name, windows in result["tables"].items():
        if conflicts := max(window["conflicts"] for window in windows.values()):
            which = "the newest by updated_at, else the last," if name == "items" else "one of each"
            out.print(f"{conflicts:,} {name} have rows that differ; {which} was kept", soft_wrap=True)
        if left := sum(window["left"] for window in windows.values()):
            out.print(_left_line(left, grace), soft_wrap=True)


def _left_line(left: int, grace: int) -> str:
    return f"{left:,} {'item has' if left == 1 else 'items have'} left the catalogue, {no_candidates(grace)}"


def _amounts(windows: list[Mapping[str, Any]]) -> tuple[str, str, str]:
    rules: dict[str, int] = {}
    for window in windows:
        for rule, count in window["rejected"].items():
            rules[rule] = rules.get(rule, 0) + count
    rejected = ", ".join(f"{count:,} {rule}" for rule, count in sorted(rules.items())) or "0"
    return f"{sum(w['rows'] for w in windows):,}", rejected, f"{sum(w['duplicates'] for w in windows):,}"


def published(out: Console, result: Mapping[str, Any]) -> None:
    if "reason" in result:
        stays = f"{result['served']} stays" if result["served"] else "Nothing was published"
        out.print(f"{stays}: {result['reason']}", soft_wrap=True)
    elif result["swapped"] and "items" in result:
        out.print(f"Published the vectors of {result['items']:,} items as {result['version']}")
    elif result["swapped"]:
        out.print(f"Published {result['version']}: {result['users']:,} users, {result['pairs']:,} scored items")
        if result["left"]:
            # Those whose grace is over.
            out.print(_left_line(result["left"], grace=0))
    elif result["served"] == result["version"]:
        out.print(f"{result['version']} is published already; nothing changed since")
    else:
        out.print(
            f"{result['version']} was published before and rolled back; {result['served']} stays. "
            "New clicks or a new champion make a new version; `recsys-text rollback VERSION` goes back to it"
        )


def published_shadow(out: Console, result: Mapping[str, Any]) -> None:
    line = (
        f"No shadow was published: {result['reason']}"
        if "reason" in result
        else (f"Published {result['version']} as a shadow: {result['users']:,} users, {result['pairs']:,} scored items")
    )
    out.print(line, soft_wrap=True)


def versions(out: Console, views: "Mapping[str, tuple[list[VersionInfo], str | None]]") -> None:
    """A table for each view, and below it why a version of it cannot be served."""
    if not views:
        out.print("Nothing is published yet; `recsys-text publish` does")
    for number, (view, (listed, served)) in enumerate(views.items()):
        if number:
            out.print()
        table = WholeTable(
            view,
            Column(name="version"),
            Column(name="rows", right=True),
            Column(name="as of (UTC)", spare=True),  # a version's name begins with it, and goes on with the model
            Column(name="model", spare=True),
            Column(name="published (UTC)"),
            Column(name="served"),
        )
        for info in listed:
            as_of = f"{info.as_of:{_MINUTE}}" if info.as_of else ""
            model, published = info.metadata.get("model_version", ""), f"{info.created_at:{_MINUTE}}"
            problem = "refused" if info.refused else "damaged" if info.problem else ""
            state = problem or ("yes" if info.version == served else "")
            table.add_row(info.version, f"{info.rows:,}", as_of, model, published, state)
        out.print(table, soft_wrap=True)
        for info in listed:
            if info.problem:
                out.print(f"{info.version}: {info.problem}", markup=False, soft_wrap=True)


def monitored(out: Console, result: Mapping[str, Any]) -> None:
    """The quality of a published version over a window, or why there is none; the window's data; the alerts."""
    if result["reason"]:
        out.print(result["reason"])
    if result["rows"]:
        against = f"{result['version']} against the clicks of" if result["version"] else "Data of"
        table = WholeTable(
            f"{against} {result['window']}",
            Column(name="metric"),
            Column(name="slice", folds=True),  # that of reject_rate is a table and a rule
            Column(name="value", right=True),
            Column(name="95% interval"),
        )
        for row in result["rows"]:
            low_high = "" if row["low"] is None else f"[{row['low']:.4f}, {row['high']:.4f}]"
            value = f"{row['value']:,.0f}" if row["metric"] in _COUNTS else f"{row['value']:.4f}"
            table.add_row(row["metric"], row["slice"], value, low_high)
        out.print(table, soft_wrap=True)
    for alert in result["alerts"]:
        if alert["fires"] or alert["changed"]:
            out.print(alert["line"], style="red" if alert["fires"] else "green", markup=False, soft_wrap=True)


def tuned(out: Console, result: "Tuned") -> None:
    """What the search changed, what that gained where trials were compared, and what is not known yet."""
    best, present = result.best, result.present
    table = WholeTable(
        f"Best of {result.trials} trials: trial {best.number}",
        Column(name="key"),
        Column(name="present", folds=True),
        Column(name="best", folds=True),
    )
    for key, value in best.values.items():
        if value != present.values[key]:
            table.add_row(key, _value(present.values[key]), _value(value))
    if len(table):
        out.print(table, soft_wrap=True)
        out.print(
            f"nDCG@10 of the score {present.ndcg:.4f} -> {best.ndcg:.4f}, gain {best.gain:+.4f} "
            f"[{best.low:+.4f}, {best.high:+.4f}], on {result.impressions:,} impressions of {result.windows}",
            soft_wrap=True,
        )
        out.print(
            "The best of many is flattered by the windows that chose it; the test windows have not been looked at."
        )
    else:
        out.print(f"No trial of {result.trials} was better than the present configuration, nDCG@10 {present.ndcg:.4f}")
    out.print(f"Wrote {result.path}; `recsys-text train --config {result.path}` tries it", soft_wrap=True)


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
