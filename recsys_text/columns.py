"""Tables for people, in a terminal and in a file: what identifies a row stays whole. Knows no values and no step."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

#: A column that folds is no narrower than its longest word, up to this many characters.
_WORD = 16
#: Spaces between columns: the first that lets the table fit.
_GAPS = (2, 1)


@dataclass(frozen=True, kw_only=True)
class Column:
    """How a column gives way where a table is wider than the console; by default it does not.

    right: aligned to the right, as numbers are. folds: text, which may go on in the next line; never a key, a version,
    a time, a name of a metric or a number. spare: something else in the table or below it tells the same, so that it
    is left out first.
    """

    name: str
    right: bool = False
    folds: bool = False
    spare: bool = False


@dataclass(frozen=True)
class _Row:
    cells: tuple[str, ...]
    style: str | None
    end_section: bool


class WholeTable:
    """A table that cuts nothing: it closes its gaps, leaves out spare columns and folds text until it fits.

    What still does not fit is wider than the console. Print it with `soft_wrap=True`, else the console cuts it.
    Cells are plain text, no markup.
    """

    def __init__(self, title: str, *columns: Column) -> None:
        self._title, self._columns = title, columns
        self._rows: list[_Row] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add_row(self, *cells: str, style: str | None = None, end_section: bool = False) -> None:
        self._rows.append(_Row(cells, style, end_section))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self._title:
            yield Text(self._title, style="table.title", no_wrap=True, overflow="ignore")
        chosen, gap = self._fitting(options.max_width)
        shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, gap - 1, 0, 0))
        for at in chosen:
            column = self._columns[at]
            shown.add_column(
                column.name,
                justify="right" if column.right else "left",
                no_wrap=not column.folds,
                overflow="fold",
                min_width=self._narrowest(at),
            )
        for row in self._rows:
            cells = [Text(row.cells[at]) for at in chosen]
            shown.add_row(*cells, style=row.style, end_section=row.end_section)
        yield from console.render(shown, options.update_width(max(options.max_width, self._needed(chosen, gap))))

    def _fitting(self, width: int) -> tuple[Sequence[int], int]:
        """The columns that are shown in so many characters, and the spaces between them."""
        chosen = list(range(len(self._columns)))
        while True:
            for gap in _GAPS:
                if self._needed(chosen, gap) <= width:
                    return chosen, gap
            spare = [at for at in chosen if self._columns[at].spare]
            if not spare:
                return chosen, _GAPS[-1]
            chosen.remove(spare[0])

    def _needed(self, chosen: Sequence[int], gap: int) -> int:
        return sum(map(self._narrowest, chosen)) + gap * (len(chosen) - 1)

    def _narrowest(self, at: int) -> int:
        column = self._columns[at]
        cells = [column.name, *(row.cells[at] for row in self._rows)]
        if not column.folds:
            return max(map(cell_len, cells))
        return min(_WORD, max((cell_len(word) for cell in cells for word in cell.split()), default=0))
