"""What a step did, as the few lines of a task's log and as the extra of an asset's event. Knows no Airflow."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recsys_text.terminal import WorkProgress

Result = Mapping[str, Any]

logger = logging.getLogger("recsys_text")


def tell(lines: Iterable[str]) -> None:
    for line in lines:
        logger.info("%s", line)


def progress(name: str | None = None) -> "WorkProgress":
    """Shows in the task's log every ten seconds how far the step is that runs within; see `WorkProgress`."""
    from rich.console import Console  # noqa: PLC0415 - only where a step runs

    from recsys_text.terminal import WorkProgress  # noqa: PLC0415 - likewise

    return WorkProgress(Console(), name)


def extracted(result: Result) -> list[str]:
    """A line for each table, and one for the windows that are not what they were."""
    lines = []
    for table in result["tables"]:
        told = landed([result], table)
        rules = ", ".join(f"{count:,} {rule}" for rule, count in told["rejected"].items())
        left = f", {told['left']:,} left" if told["left"] else ""
        lines.append(
            f"{table} {' to '.join(told['windows'])}: {told['rows']:,} rows, "
            f"{sum(told['rejected'].values()):,} rejected{f' ({rules})' if rules else ''}, "
            f"{told['duplicates']:,} duplicates{left}"
        )
    changed = result["changed"]
    return [*lines, f"Changed: {_few(changed)}" if changed else "No window is other than it was"]


def landed(results: Sequence[Result], table: str) -> dict[str, Any]:
    """The extra of a table's event: first and last window; rows, rejects by rule, duplicates and `left` of all."""
    windows = {key: window for result in results for key, window in result["tables"][table].items()}
    rejected: dict[str, int] = {}
    for window in windows.values():
        for rule, count in window["rejected"].items():
            rejected[rule] = rejected.get(rule, 0) + count
    return {
        "windows": list(dict.fromkeys([min(windows), max(windows)])),
        "rows": sum(window["rows"] for window in windows.values()),
        "rejected": dict(sorted(rejected.items())),
        "duplicates": sum(window["duplicates"] for window in windows.values()),
        "left": sum(window["left"] for window in windows.values()),
        "changed": sum(len(result["changed"]) for result in results),
    }


def judged(verdict: Result) -> list[str]:
    """The verdict of the gate with its numbers."""
    refused = "is refused, the champion stays" if verdict.get("champion") else "is refused, and there is no champion"
    what = "is champion now" if verdict["promoted"] else refused
    return [f"Version {verdict['version']} {what}: {verdict['reason']}"]


def promoted(verdict: Result) -> dict[str, Any]:
    """The extra of a new champion's event: the version, and what it gained where it was compared."""
    return {key: verdict[key] for key in ("version", "reason", "gain", "low", "high") if verdict.get(key) is not None}


def published(result: Result) -> list[str]:
    if result["swapped"]:
        left = [f"{result['left']:,} items have left the catalogue"] if result["left"] else []
        return [f"Published {result['version']}: the scores of {result['users']:,} users", *left]
    return [f"{result['version']} was published before; {result['served']} is served"]


def served(plan: Result, result: Result) -> dict[str, Any]:
    """The extra of the scores' event: version, rows, and what they were made of."""
    return {"version": result["version"], "rows": result["users"]} | {
        key: plan[key] for key in ("as_of", "model_version", "model_run", "last_window")
    }


def measured(result: Result) -> list[str]:
    figures = ", ".join(f"{name} {value:.4g}" for name, value in _overall(result).items())
    return [f"{result['version']} against the clicks of {result['window']}: {figures}"]


def quality(result: Result) -> dict[str, Any]:
    """The extra of the quality's event: the window, the version, and each figure over all users."""
    return {"window": result["window"], "version": result["version"]} | _overall(result)


def _overall(result: Result) -> dict[str, float]:
    return {row["metric"]: row["value"] for row in result["rows"] if row["slice"] == "all"}


def _few(keys: list[str], shown: int = 5) -> str:
    more = f" and {len(keys) - shown} more" if len(keys) > shown else ""
    return ", ".join(keys[:shown]) + more
