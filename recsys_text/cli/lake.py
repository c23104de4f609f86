"""The lake: what is in it, and taking windows out of it."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from recsys_text import terminal
from recsys_text.cli.app import CONFIG, Config, From, To, WindowKey, app, out, span
from recsys_text.config import load
from recsys_text.errors import ConfigError
from recsys_text.lake.windows import parse_duration

# Steps are imported by the command that needs them: `versions` must not wait for torch and MLflow.
# ruff: noqa: PLC0415

lake = typer.Typer(no_args_is_help=True, help="What is in the lake, and taking windows out of it.")
app.add_typer(lake, name="lake")


@lake.command()
def ls(
    config: Config = CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="Every window, for programs.")] = False,
) -> None:
    """Show the windows of each table: how many, rows, bytes, empty ones, rejected rows, items that left."""
    from recsys_text.steps.lake import listed

    tables = listed(load(config))
    if as_json:
        typer.echo(json.dumps([asdict(table) for table in tables]))
    else:
        terminal.listed(out, tables)


@lake.command()
def drop(
    config: Config = CONFIG,
    window: WindowKey = None,
    start: From = None,
    end: To = None,
    table: Annotated[str | None, typer.Option(help="Of this table alone; else items, events, impressions.")] = None,
) -> None:
    """Take windows out of the lake; `extract` brings them again."""
    from recsys_text.steps.lake import drop as step

    settings = load(config)
    if (windows := span(settings, window, start, end)) is None:
        raise ConfigError("say which windows: --window KEY, or --from A --to B")
    terminal.dropped(out, step(settings, windows, table))


@lake.command()
def expire(
    older_than: Annotated[str, typer.Option(help="How long before the newest window's end, such as 90d.")],
    config: Config = CONFIG,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Take out old windows, but for windows of items that those which stay need."""
    from recsys_text.steps.lake import expire as step

    terminal.expired(out, step(load(config), parse_duration(older_than), dry_run=dry_run), dry_run=dry_run)
