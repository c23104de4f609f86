"""From the lake to a champion: train, gate, tune, evaluate, rank."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from recsys_text import terminal
from recsys_text.cli.app import CONFIG, Config, Cutoff, Model, app, out
from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError, GateRefusal
from recsys_text.lake.windows import parse_time

# Steps are imported by the command that needs them: `versions` must not wait for torch and MLflow.
# ruff: noqa: PLC0415

_QUICK = timedelta(minutes=2)


@app.command()
def train(
    config: Config = CONFIG,
    cutoff: Cutoff = None,
    warm_start: Annotated[
        bool, typer.Option("--warm-start", help="Go on from the champion with what came since its cutoff.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Take two minutes in place of training.budget, for a first look.")
    ] = False,
    like: Annotated[
        str | None,
        typer.Option(help="Repeat the training of a model or published version, compare, and register nothing."),
    ] = None,
) -> None:
    """Train a bundle, register it, and make it champion if it beats the champion (exit 4 if not)."""
    settings = load(config)
    if like is not None:
        if cutoff is not None or warm_start or quick:
            raise ConfigError("--like repeats a training as it was; leave out --cutoff, --warm-start and --quick")
        _repeat(settings, like)
        return
    if warm_start and quick:
        raise ConfigError("--quick sizes a whole training, and --warm-start keeps the champion's sizes; leave out one")
    if quick:
        training = settings.training.model_copy(update={"budget": _QUICK})
        settings = settings.model_copy(update={"training": training})
    verdict = train_and_gate(settings, parse_time(cutoff) if cutoff else None, warm_start=warm_start)
    if not verdict["promoted"]:
        raise GateRefusal(verdict["reason"])


@app.command()
def gate(
    config: Config = CONFIG,
    version: Annotated[str | None, typer.Argument(help="A model's version; the challenger by default.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the verdict that is kept of it, without scoring anything.")
    ] = False,
) -> None:
    """Compare a version with the champion, make it champion if it is better, and say why (exit 4 if not)."""
    settings = load(config)
    from recsys_text.steps.gate import explain as kept
    from recsys_text.steps.gate import gate as step

    if explain:
        terminal.explained(out, kept(settings, version))
        return
    with terminal.WorkProgress(out) as progress:
        verdict = step(settings, version, progress=progress)
    terminal.explained(out, verdict)
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
    from recsys_text.evaluation.table import left_out, render, verdict
    from recsys_text.steps.evaluate import evaluate as step

    with terminal.WorkProgress(out) as progress:
        found = step(settings, model, progress=progress)
    out.print(render(found.table), soft_wrap=True)
    out.print(verdict(found.table), soft_wrap=True)
    out.print(f"{left_out(found.dropped, found.missed)} Saved as {found.path}", soft_wrap=True)


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

    with terminal.WorkProgress(out, "Scores"):
        result = step(settings, impressions, to, model, prediction)
    out.print(f"Scored {result['pairs']:,} candidates of {result['impressions']:,} impressions into {to}")


def _repeat(settings: Settings, like: str) -> None:
    from recsys_text.steps.repeat import repeat as step

    with terminal.WorkProgress(out) as progress:
        result = step(settings, like, progress=progress)
    terminal.repeated(out, result)


def train_and_gate(settings: Settings, cutoff: datetime | None, *, warm_start: bool = False) -> dict[str, Any]:
    from recsys_text.evaluation.table import left_out, render
    from recsys_text.evaluation.table import verdict as summed_up
    from recsys_text.steps.gate import gate as gate_step
    from recsys_text.steps.train import train as step

    with terminal.WorkProgress(out) as progress:
        result = step(settings, cutoff=cutoff, warm_start=warm_start, progress=progress)
    out.print(render(result.table), soft_wrap=True)
    out.print(summed_up(result.table), soft_wrap=True)
    out.print(left_out(result.dropped, result.missed), soft_wrap=True)
    out.print(f"Registered version {result.version} of model '{settings.project.name}' (run {result.run_id})")
    if result.report is not None:
        out.print(f"Its report is {result.report}", soft_wrap=True)
    terminal.continued(out, result)
    with terminal.WorkProgress(out) as progress:
        verdict = gate_step(settings, result.version, progress=progress)
    if verdict["promoted"]:
        out.print(f"Version {result.version} is champion: {verdict['reason']}")
    else:
        stays = "and the champion stays" if verdict["champion"] else "and there is no champion"
        out.print(f"Version {result.version} stays challenger, {stays}: {verdict['reason']}")
    return verdict
