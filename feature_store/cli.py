"""The command line of a feature store: what it holds, and whether it's whole. Knows no backend and changes nothing."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, NoReturn

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from feature_store import open_store
from feature_store.base import VersionInfo
from feature_store.errors import InvalidInput, StoreError, StoreUnavailable, UnknownVersion

#: Bad usage, data that isn't what it should be, a store out of reach.
_USAGE, _DAMAGED, _UNREACHABLE = 2, 3, 5
#: Columns of a terminal below which the time that the data speak of is left out: their age says the same.
_NARROW = 100

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help=__doc__)
#: Wide where nobody looks: a name that's broken into lines can't be searched for.
out = Console(width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True)

Url = Annotated[str, typer.Argument(help="Where the store is, such as file:var/store or redis://host:6379/0.")]


@app.command("ls")
def list_versions(
    url: Url, view: Annotated[str | None, typer.Argument(help="One view; all of them by default.")] = None
) -> None:
    """List the versions of a view, or of all: what they hold, how old they are, which one is served."""
    store = open_store(url)
    views = store.views()
    if not views:
        raise UnknownVersion("the store holds no view; publish one first, or check its address")
    if view is not None and view not in views:
        raise UnknownVersion(f"there's no view '{view}' in the store, which holds {', '.join(views)}")
    now = datetime.now(UTC)
    for number, name in enumerate(views if view is None else [view]):
        if number:
            out.print()
        _show(name, store.versions(name), store.current(name), now)


@app.command()
def verify(
    url: Url,
    view: Annotated[str, typer.Argument(help="The view.")],
    version: Annotated[str | None, typer.Argument(help="The version; the served one by default.")] = None,
) -> None:
    """Read all of a version again: checksums, counts, and that its index leads to each key."""
    info = open_store(url).verify(view, version)
    out.print(f"{view} {info.version} is whole: {info.rows:,} rows, {_size(info.bytes)}", soft_wrap=True)


def _show(view: str, infos: list[VersionInfo], served: str | None, now: datetime) -> None:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    names = ["version", "rows", "size", "as of (UTC)", "age", "state"]
    if out.width < _NARROW:
        names.remove("as of (UTC)")
    for name in names:
        table.add_column(name, justify="right" if name in ("rows", "size", "age") else "left", no_wrap=True)
    table.columns[0].min_width = max((len(info.version) for info in infos), default=0)  # whole, however narrow
    for info in infos:
        as_of = f"{info.as_of:%Y-%m-%d %H:%M}" if info.as_of else ""
        state = "served" if info.version == served else "refused" if info.refused else ""
        if info.problem and not info.refused:
            cells = {"version": info.version, "state": f"{state} damaged".strip()}
        else:
            cells = {
                "version": info.version,
                "rows": f"{info.rows:,}",
                "size": _size(info.bytes),
                "as of (UTC)": as_of,
                "age": _span(now - (info.as_of or info.created_at)),
                "state": state,
            }
        table.add_row(*(cells.get(name, "") for name in names))
    out.print(view, style="table.title", markup=False, highlight=False)
    out.print(table, soft_wrap=True)
    for info in infos:
        if info.problem:
            out.print(f"{info.version}: {info.problem}", markup=False, highlight=False, soft_wrap=True)


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _span(age: timedelta) -> str:
    """The two greatest units of an age; nothing for a time that's still to come."""
    minutes = age // timedelta(minutes=1)
    if minutes < 0:
        return ""
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _fail(error: StoreError) -> NoReturn:
    err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
    if isinstance(error, InvalidInput | UnknownVersion):
        sys.exit(_USAGE)
    sys.exit(_UNREACHABLE if isinstance(error, StoreUnavailable) else _DAMAGED)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script: one line for an error, and its exit code."""
    try:
        app(arguments, prog_name="feature_store")
    except StoreError as error:
        _fail(error)
    except KeyboardInterrupt:
        err.print("stopped")
        sys.exit(130)
