"""The verdict of the gate as a table. Knows no step."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from recsys_text.columns import Column, WholeTable
from recsys_text.evaluation.explained import headline, outcome, questions


def explained(out: Console, verdict: Mapping[str, Any]) -> None:
    """What the gate asked of a version, what it measured, and what would have had to be."""
    if asked := questions(verdict):
        out.print(headline(verdict), markup=False, highlight=False)
        table = WholeTable(
            "", Column(name="asked", folds=True), Column(name="measured"), Column(name="had to be"), Column(name="")
        )
        for one in asked:
            table.add_row(
                one.asked,
                one.measured,
                one.needed,
                "pass" if one.passed else "FAIL",
                style=None if one.passed else "bold",
            )
        out.print(table, soft_wrap=True)
        for one in asked:
            if not one.passed:
                out.print(one.remedy, markup=False, highlight=False)
    out.print(outcome(verdict), markup=False, highlight=False)
