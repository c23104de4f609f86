"""The verdict of the gate as a table. Knows no step."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from recsys_text.evaluation.explained import headline, outcome, questions


def explained(out: Console, verdict: Mapping[str, Any]) -> None:
    """What the gate asked of a version, what it measured, and what would have had to be."""
    if asked := questions(verdict):
        out.print(headline(verdict), markup=False, highlight=False)
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("asked")
        for name in ("measured", "had to be", ""):
            table.add_column(name, no_wrap=True)
        for one in asked:
            table.add_row(
                Text(one.asked),
                one.measured,
                one.needed,
                "pass" if one.passed else "FAIL",
                style=None if one.passed else "bold",
            )
        out.print(table)
        for one in asked:
            if not one.passed:
                out.print(one.remedy, markup=False, highlight=False)
    out.print(outcome(verdict), markup=False, highlight=False)
