"""From sources to the lake: init, mind, extract."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from recsys_text import terminal
from recsys_text.cli.app import CONFIG, Config, From, To, WindowKey, app, out, span
from recsys_text.config import load
from recsys_text.errors import ConfigError

# Steps are imported by the command that needs them: `versions` must not wait for torch and MLflow.
# ruff: noqa: PLC0415


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write recsys.toml.")] = Path(),
) -> None:
    """Write a commented recsys.toml to start from."""
    target = folder / "recsys.toml"
    if target.exists():
        raise ConfigError(f"{target} exists; remove it or choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        target.write_text((Path(__file__).parent.parent / "template.toml").read_text())
    except OSError as error:
        raise ConfigError(f"cannot write {target}: {error.strerror}; choose another folder") from None
    out.print(f"Wrote {target}. Name your tables in it, then: recsys-text extract --from DAY --to DAY")


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

    result = step(settings, windows, allow_empty=allow_empty)
    terminal.extracted(out, result)
    out.print(f"{len(windows)} windows are in {settings.lake}")
