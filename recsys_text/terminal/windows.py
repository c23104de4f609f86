"""What is in the lake and what was taken out of it, as tables and lines. Knows no step."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from recsys_text.columns import Column, WholeTable
from recsys_text.lake.result import shortened

if TYPE_CHECKING:
    from recsys_text.steps.lake import Expired, ListedTable


def listed(out: Console, tables: "Sequence[ListedTable]") -> None:
    """A line for each table, and below it which of its windows are empty."""
    if not tables:
        out.print("The lake is empty; `recsys-text extract` fills it")
        return
    shown = WholeTable(
        "Lake",
        Column(name="table"),
        Column(name="windows", right=True),
        Column(name="from"),
        Column(name="to"),
        Column(name="rows", right=True),
        Column(name="MB", right=True),
        Column(name="empty", right=True, spare=True),  # the lines below tell which
        Column(name="rejected", right=True),
        Column(name="left", right=True),
    )
    for table in tables:
        windows = table.windows
        # Of items each window has all that there were, of the others each has its own.
        rows = windows[-1].rows if table.table == "items" else sum(window.rows for window in windows)
        rejected = windows[-1].rejected if table.table == "items" else sum(window.rejected for window in windows)
        amounts = (rows, sum(not window.rows for window in windows), rejected, sum(window.left for window in windows))
        texts = [f"{amount:,}" for amount in amounts]
        size = f"{table.bytes / 1e6:,.1f}"
        shown.add_row(
            table.table, f"{len(windows):,}", windows[0].window, windows[-1].window, texts[0], size, *texts[1:]
        )
    out.print(shown, soft_wrap=True)
    for table in tables:
        if empty := [window.window for window in table.windows if not window.rows]:
            out.print(f"Empty windows of {table.table}: {shortened(empty)}", soft_wrap=True)


def dropped(out: Console, windows: Mapping[str, Sequence[str]]) -> None:
    out.print(_taken(windows, "Took out"), soft_wrap=True)


def expired(out: Console, result: "Expired", *, dry_run: bool) -> None:
    line = _taken(result.dropped, "Would take out" if dry_run else "Took out")
    freed = "" if dry_run else f", {result.freed / 1e6:,.1f} MB"
    kept = f"; kept {shortened(result.needed)} of items, which later windows need" if result.needed else ""
    out.print(f"{line}{freed}: all that ends by {result.before:%Y-%m-%dT%H:%MZ}{kept}", soft_wrap=True)


def _taken(windows: Mapping[str, Sequence[str]], verb: str) -> str:
    some = [f"{shortened(keys)} of {table}" for table, keys in windows.items() if keys]
    return f"{verb} {', '.join(some) or 'nothing'}"
