"""What a check of the data found, as a table and lines. Knows no rule."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from recsys_text.columns import Column, WholeTable

if TYPE_CHECKING:
    from recsys_text.evaluation.checks import Finding

_STYLES = {"error": "red", "warning": "yellow", "ok": "green"}


def checked(out: Console, findings: "Sequence[Finding]") -> None:
    """A row for each rule, and a line for each that is not as it should be, errors first."""
    table = WholeTable(
        "Data",
        Column(name="check"),
        Column(name="level"),
        Column(name="count", right=True),
        Column(name="share", right=True),
    )
    for finding in findings:
        share = f"{finding.share:.2%}" if finding.count else ""
        table.add_row(finding.name, finding.level, f"{finding.count:,}", share, style=_STYLES[finding.level])
    out.print(table, soft_wrap=True)
    for level in ("error", "warning"):
        for finding in findings:
            if finding.level == level:
                line = f"{level}: {finding.name}: {finding.line}"
                out.print(line, style=_STYLES[level], markup=False, highlight=False, soft_wrap=True)
