"""The application, its consoles and the options that commands share."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from recsys_text import __version__
from recsys_text.config import Settings
from recsys_text.errors import ConfigError
from recsys_text.lake.windows import Window, parse_time, parse_window, windows_between

#: Columns of what is written where there is no terminal.
_WIDTH = 120

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Fresh, verified scores for each user and item, from item text and a click log.",
)
# Where nobody watches, tables are as wide as they need to be: a file has no width.
out = Console() if sys.stdout.isatty() or "COLUMNS" in os.environ else Console(width=_WIDTH)
err = Console(stderr=True)

Config = Annotated[Path, typer.Option("--config", "-c", envvar="RECSYS_TEXT_CONFIG", help="The project's TOML file.")]
CONFIG = Path("recsys.toml")
WindowKey = Annotated[str | None, typer.Option("--window", help="One window by its key, such as 2014-03-18.")]
From = Annotated[str | None, typer.Option("--from", help="The start of a span of windows (UTC).")]
To = Annotated[str | None, typer.Option("--to", help="The end of a span of windows, exclusive (UTC).")]
Cutoff = Annotated[
    str | None, typer.Option(help="Train on what is strictly before it (UTC); the test windows' start by default.")
]
Model = Annotated[
    str, typer.Option("--model", help="champion, challenger, a version's number, or the folder of a bundle.")
]


def span(settings: Settings, window: str | None, start: str | None, end: str | None) -> list[Window] | None:
    """The windows that a command was asked for, None where it named none. Raises ConfigError for half a span."""
    length = settings.windows.span
    if window is not None and start is None and end is None:
        return [parse_window(window, length)]
    if window is None and start is not None and end is not None:
        return windows_between(parse_time(start), parse_time(end), length)
    if window is None and start is None and end is None:
        return None
    raise ConfigError("give either --window KEY or both --from A and --to B")


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        out.print(__version__)
        raise typer.Exit
