"""The command line: reads arguments, calls one step, prints what it did. Knows no table and no model."""

import logging
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console

from recsys_text import __version__, terminal
from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError, GateRefusal, RecsysTextError, UnavailableError
from recsys_text.lake.windows import Window, parse_time, parse_window, windows_between

# Steps are imported by the command that needs them: `versions` must not wait for torch and MLflow.
# ruff: noqa: PLC0415

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, add_completion=False, help=__doc__)
out = Console()
err = Console(stderr=True)

Config = Annotated[Path, typer.Option("--config", "-c", envvar="RECSYS_TEXT_CONFIG", help="The project's TOML file.")]
CONFIG = Path("recsys.toml")
#: The extra that brings a package which some commands need.
_EXTRAS = {
    **dict.fromkeys(("lightgbm", "mlflow", "safetensors", "scipy", "sklearn", "tokenizers", "torch"), "train"),
    **dict.fromkeys(("fastapi", "jinja2", "prometheus_client", "uvicorn"), "serve"),
    "optuna": "tune",
}
WindowKey = Annotated[str | None, typer.Option("--window", help="One window by its key, such as 2014-03-18.")]
From = Annotated[str | None, typer.Option("--from", help="The start of a span of windows (UTC).")]
To = Annotated[str | None, typer.Option("--to", help="The end of a span of windows, exclusive (UTC).")]
Cutoff = Annotated[
    str | None, typer.Option(help="Train on what is strictly before it (UTC); the test windows' start by default.")
]
Model = Annotated[
    str, typer.Option("--model", help="champion, challenger, a version's number, or the folder of a bundle.")
]


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
        target.write_text((Path(__file__).parent / "template.toml").read_text())
    except OSError as error:
        raise ConfigError(f"cannot write {target}: {error.strerror}; choose another folder") from None
    out.print(f"Wrote {target}. Name your tables in it, then: recsys-text extract --from DAY --to DAY")


@app.command()
def mind(
    folders: Annotated[list[Path], typer.Argument(help="Folders of news.tsv and behaviors.tsv, as downloaded.")],
    to: Annotated[Path, typer.Option("--out", help="The folder to write the Parquet files to.")],
) -> None:
    """Turn the MIND dataset (msnews.github.io) into items, events and impressions that the sources take."""
    from recsys_text.lake.mind import convert

    result = convert(folders, to)
    rows = ", ".join(f"{count:,} {name}" for name, count in result.rows.items() if count)
    out.print(f"Wrote {rows} to {to}")
    end = (result.last + timedelta(days=1)).date()
    out.print(f"Name them in recsys.toml, then: recsys-text extract --from {result.first.date()} --to {end}")


@app.command()
def extract(config: Config = CONFIG, window: WindowKey = None, start: From = None, end: To = None) -> None:
    """Extract items, events and, where they are logged, impressions of the named windows into the lake."""
    settings = load(config)
    if (windows := _span(settings, window, start, end)) is None:
        raise ConfigError("say which windows: --window KEY, or --from A --to B")
    from recsys_text.steps.extract import extract as step

    result = step(settings, windows)
    terminal.extracted(out, result)
    out.print(f"{len(windows)} windows are in {settings.lake}")


@app.command()
def train(config: Config = CONFIG, cutoff: Cutoff = None) -> None:
    """Train a bundle, register it, and make it champion if it beats the champion (exit 4 if not)."""
    settings = load(config)
    verdict = _train(settings, parse_time(cutoff) if cutoff else None)
    if not verdict["promoted"]:
        raise GateRefusal(verdict["reason"])


@app.command()
def tune(
    config: Config = CONFIG,
    minutes: Annotated[float, typer.Option(min=0, help="Stop after so many minutes.")] = 60,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Stop when the search has so many trials, former runs included.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--out", help="The file to write, beside the config; recsys.tuned.toml by default.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Search hyperparameters on the windows before the test windows; goes on where the last search ended."""
    settings = load(config)
    from recsys_text.steps.tune import tune as step

    target = to or config.with_name(f"{config.stem}.tuned.toml")
    with terminal.TuningProgress(out) as progress:
        result = step(settings, config, target, minutes=minutes, trials=trials, force=force, progress=progress)
    terminal.tuned(out, result)
    if result.interrupted:
        raise KeyboardInterrupt


@app.command()
def evaluate(config: Config = CONFIG, model: Model = "champion") -> None:
    """Measure a bundle beside the baselines on the newest windows, which it has not seen."""
    settings = load(config)
    from recsys_text.evaluation.table import render, verdict
    from recsys_text.steps.evaluate import evaluate as step

    table, path, dropped = step(settings, model)
    out.print(render(table))
    out.print(verdict(table), soft_wrap=True)
    out.print(f"{dropped:,} clicks outside their pool, or alone in what was shown, were left out. Saved as {path}")


@app.command()
def rank(
    impressions: Annotated[Path, typer.Argument(help="Parquet: impression_id, user_id, shown_at, candidates.")],
    to: Annotated[Path, typer.Option("--out", help="Where to write the scores (Parquet).")],
    config: Config = CONFIG,
    model: Model = "champion",
    prediction: Annotated[
        Path | None, typer.Option("--prediction", help="Write the ranks here too, as MIND's leaderboard takes them.")
    ] = None,
) -> None:
    """Score any impressions, each candidate as of its impression's own time."""
    settings = load(config)
    from recsys_text.steps.score import rank as step

    result = step(settings, impressions, to, model, prediction)
    out.print(f"Scored {result['pairs']:,} candidates of {result['impressions']:,} impressions into {to}")


@app.command()
def score(config: Config = CONFIG) -> None:
    """Stage the scores of every user bucket without publishing them; `publish` goes on from there."""
    settings = load(config)
    from recsys_text.steps.publish import publish_begin, write_parts

    plan, results = write_parts(settings, publish_begin(settings))
    users = sum(result["users"] for result in results)
    out.print(f"Staged the scores of {users:,} users as {plan['version']}; `recsys-text publish` serves them")


@app.command()
def publish(
    config: Config = CONFIG, items: Annotated[bool, typer.Option("--items", help="Items' vectors alone.")] = False
) -> None:
    """Score every user with the champion, verify, and swap the new version in; or let new items be known at once."""
    settings = load(config)
    terminal.published(out, _publish(settings, items=items))


@app.command()
def versions(config: Config = CONFIG) -> None:
    """List the published and the refused versions of each view; the served ones are marked."""
    settings = load(config)
    from recsys_text.steps.store import versions as step

    terminal.versions(out, step(settings))


@app.command()
def rollback(
    config: Config = CONFIG,
    version: Annotated[str | None, typer.Argument(help="The version to serve; the one before by default.")] = None,
) -> None:
    """Serve a former version again."""
    settings = load(config)
    from recsys_text.steps.store import rollback as step

    out.print(f"{step(settings, version)} is served now")


@app.command()
def monitor(config: Config = CONFIG, window: WindowKey = None) -> None:
    """Measure published scores against the clicks that followed."""
    settings = load(config)
    from recsys_text.steps.monitor import monitor as step

    terminal.monitored(out, step(settings, window))


@app.command()
def serve(
    config: Config = CONFIG,
    host: Annotated[str | None, typer.Option(help="Listen here; needs a token unless it is loopback.")] = None,
    port: Annotated[int | None, typer.Option(help="Listen on this port.")] = None,
) -> None:
    """Run the ranking service over the published scores."""
    settings = load(config)
    given = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    from recsys_text.service.server import serve as run_service

    run_service(settings.model_copy(update={"service": settings.service.model_copy(update=given)}))


@app.command()
def run(
    config: Config = CONFIG, window: WindowKey = None, start: From = None, end: To = None, cutoff: Cutoff = None
) -> None:
    """Extract, train, gate, publish and monitor, one after the other; a challenger that loses ends nothing."""
    settings = load(config)
    if (windows := _span(settings, window, start, end)) is not None:
        from recsys_text.steps.extract import extract as extract_step

        terminal.extracted(out, extract_step(settings, windows))
    _train(settings, parse_time(cutoff) if cutoff else None)
    terminal.published(out, _publish(settings))
    from recsys_text.steps.monitor import monitor as monitor_step

    terminal.monitored(out, monitor_step(settings, None))


def _train(settings: Settings, cutoff: datetime | None) -> dict[str, Any]:
    from recsys_text.evaluation.table import render
    from recsys_text.evaluation.table import verdict as summed_up
    from recsys_text.steps.train import gate
    from recsys_text.steps.train import train as step

    with terminal.TrainingProgress(out) as progress:
        result = step(settings, cutoff=cutoff, progress=progress)
    out.print(render(result.table))
    out.print(summed_up(result.table), soft_wrap=True)
    out.print(f"Registered version {result.version} of model '{settings.project.name}' (run {result.run_id})")
    verdict = gate(settings, result.version)
    if verdict["promoted"]:
        out.print(f"Version {result.version} is champion: {verdict['reason']}")
    else:
        out.print(f"Version {result.version} stays challenger, and the champion stays: {verdict['reason']}")
    return verdict


def _publish(settings: Settings, *, items: bool = False) -> dict[str, Any]:
    from recsys_text.steps.publish import publish, publish_items

    return publish_items(settings) if items else publish(settings)


def _span(settings: Settings, window: str | None, start: str | None, end: str | None) -> list[Window] | None:
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


def _fail(line: str, code: int) -> NoReturn:
    err.print(f"error: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(code)


def main(arguments: list[str] | None = None) -> None:
    """Entry point of the console script; turns a RecsysTextError into one line and its exit code."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    try:
        app(arguments)
    except RecsysTextError as error:
        _fail(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        extra = _EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        _fail(f"this command needs {error.name}: pip install 'recsys-text[{extra}]'", ConfigError.exit_code)
    except OSError as error:
        _fail(str(error), UnavailableError.exit_code)
    except KeyboardInterrupt:
        err.print("stopped")
        sys.exit(130)
