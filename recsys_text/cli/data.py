"""From sources to the lake: init, mind, extract."""

import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from recsys_text import terminal
from recsys_text.cli.app import CONFIG, Config, From, To, WindowKey, app, err, out, span
from recsys_text.config import load
from recsys_text.errors import ConfigError

# Steps are imported by the command that needs them: `versions` must not wait for torch and MLflow.
# ruff: noqa: PLC0415


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write recsys.toml.")] = Path(),
    origins: Annotated[
        list[str] | None,
        typer.Option("--from", help="A file, a glob, a folder, a database's URL or an Airflow connection; repeatable."),
    ] = None,
) -> None:
    """Write a recsys.toml: a commented one to start from, or, with --from, one for the tables that are there."""
    from recsys_text.sources.boundary import printable

    target = folder / "recsys.toml"
    if target.exists():
        raise ConfigError(f"{target} exists; remove it or choose another folder")
    text = _drafted(origins, folder) if origins else _template()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write {target}: {error.strerror}; choose another folder") from None
    advice = _spanned(target) if origins else "Name your tables in it, then: recsys-text extract --from DAY --to DAY"
    out.print(printable(f"Wrote {target}. {advice}"), soft_wrap=True, markup=False)


def _template() -> str:
    return (Path(__file__).parent.parent / "template.toml").read_text(encoding="utf-8")


def _drafted(origins: Sequence[str], folder: Path) -> str:
    """The text of a config for the tables at these addresses."""
    from recsys_text.draft import draft
    from recsys_text.sources.guess import guess
    from recsys_text.sources.sample import sample

    sampled = [sample(origin) for origin in origins]
    for line in (line for each in sampled for line in each.left_out):
        err.print(line, soft_wrap=True, markup=False, highlight=False)
    found = [table for each in sampled for table in each.tables]
    tables = guess(found)
    if sys.stdin.isatty() and out.is_terminal:
        tables = terminal.confirmed(out, tables)
    terminal.guessed(out, tables, found)
    return draft(tables, folder.absolute())


def _spanned(target: Path) -> str:
    """What to do next: the extraction of all windows that the events lie in."""
    from recsys_text.steps.extract import time_range

    found = time_range(load(target))
    if found is None:
        return "Look at it; no event has a time that can be read."
    first, last = found
    where = "" if target.parent == Path() else f" --config {target}"
    return f"Look at it, then: recsys-text extract{where} --from {first.date()} --to {last.date() + timedelta(days=1)}"


@app.command()
def mind(
    folders: Annotated[list[Path], typer.Argument(help="Folders of news.tsv and behaviors.tsv, as downloaded.")],
    to: Annotated[Path, typer.Option("--out", help="The folder to write the Parquet files to.")],
) -> None:
    """Turn the MIND dataset (msnews.github.io) into items, events and impressions that the sources take."""
    from recsys_text.sources.mind import convert

    result = convert(folders, to)
    rows = ", ".join(f"{count:,} {name}" for name, count in result.rows.items() if count)
    out.print(f"Wrote {rows} to {to}")
    end = (result.last + timedelta(days=1)).date()
    out.print(f"Name them in recsys.toml, then: recsys-text extract --from {result.first.date()} --to {end}")


@app.command()
def extract(
    config: Config = CONFIG,
    window: WindowKey = None,
    start: From = None,
    end: To = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Let windows that had rows become empty where the source has none.")
    ] = False,
) -> None:
    """Extract items, events and, where they are logged, impressions of the named windows into the lake."""
    settings = load(config)
    if (windows := span(settings, window, start, end)) is None:
        raise ConfigError("say which windows: --window KEY, or --from A --to B")
    from recsys_text.steps.extract import extract as step

    with terminal.WorkProgress(out, "Extraction"):
        result = step(settings, windows, allow_empty=allow_empty)
    terminal.extracted(out, result, grace=settings.sources.items.grace)
    count = "1 window is" if len(windows) == 1 else f"{len(windows)} windows are"
    out.print(f"{count} in {settings.lake}", soft_wrap=True)
