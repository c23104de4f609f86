"""From a champion to served scores and back: score, publish, refresh, versions, rollback, monitor, serve, run."""

from typing import Annotated

import typer

from recsys_text import terminal
from recsys_text.cli.app import CONFIG, Config, Cutoff, From, To, WindowKey, app, out, span
from recsys_text.cli.models import train_and_gate
from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError
from recsys_text.lake.windows import parse_time

# Steps are imported by the command that needs them: `versions` must not wait for torch and MLflow.
# ruff: noqa: PLC0415


@app.command()
def score(config: Config = CONFIG) -> None:
    """Stage the scores of every user bucket without publishing them; `publish` goes on from there."""
    settings = load(config)
    from recsys_text.steps.publish import publish_begin, write_parts

    with terminal.WorkProgress(out) as progress:
        plan, results = write_parts(settings, publish_begin(settings), progress=progress)
    users = sum(result["users"] for result in results)
    if not plan["views"]:
        out.print(f"{plan['version']} was published before: nothing is to be staged")
        return
    out.print(f"Staged the scores of {users:,} users as {plan['version']}; `recsys-text publish` serves them")


Shadow = Annotated[bool, typer.Option("--shadow", help="The challenger's scores, beside those that are served.")]


@app.command()
def publish(
    config: Config = CONFIG,
    items: Annotated[bool, typer.Option("--items", help="Items' vectors alone.")] = False,
    shadow: Shadow = False,
) -> None:
    """Score every user with the champion, verify, and swap the new version in; or let new items be known at once."""
    settings = load(config)
    if items and shadow:
        raise ConfigError("give --items or --shadow: the challenger has no vectors")
    if shadow:
        _publish_shadow(settings)
    else:
        _publish(settings, items=items)


@app.command()
def refresh(config: Config = CONFIG) -> None:
    """Publish again with the served model and what has happened since the window began; nothing new, nothing done."""
    settings = load(config)
    from recsys_text.steps.refresh import refresh as step

    with terminal.WorkProgress(out, "Extraction") as progress:
        result = step(settings, progress=progress)
    terminal.published(out, result)


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
    shadow: Shadow = False,
) -> None:
    """Serve a former version again."""
    settings = load(config)
    from recsys_text.steps.store import rollback as step

    out.print(f"{step(settings, version, shadow=shadow)} is served now")


@app.command()
def monitor(config: Config = CONFIG, window: WindowKey = None) -> None:
    """Measure published scores against the clicks that followed."""
    settings = load(config)
    from recsys_text.steps.monitor import monitor as step

    with terminal.WorkProgress(out, "Monitoring"):
        result = step(settings, window)
    terminal.monitored(out, result)


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
    if (windows := span(settings, window, start, end)) is not None:
        from recsys_text.steps.extract import extract as extract_step

        with terminal.WorkProgress(out, "Extraction"):
            extracted = extract_step(settings, windows)
        terminal.extracted(out, extracted, grace=settings.sources.items.grace)
    train_and_gate(settings, parse_time(cutoff) if cutoff else None)
    _publish(settings)
    from recsys_text.steps.monitor import monitor as monitor_step

    with terminal.WorkProgress(out, "Monitoring"):
        measured = monitor_step(settings, None)
    terminal.monitored(out, measured)


def _publish(settings: Settings, *, items: bool = False) -> None:
    from recsys_text.steps.publish import publish, publish_items

    if items:
        with terminal.WorkProgress(out, "Items"):
            result = publish_items(settings)
        terminal.published(out, result)
        return
    with terminal.WorkProgress(out) as progress:
        result = publish(settings, progress=progress)
    terminal.published(out, result)
    if settings.gate.shadow:
        _publish_shadow(settings)


def _publish_shadow(settings: Settings) -> None:
    from recsys_text.steps.shadow import publish_shadow

    with terminal.WorkProgress(out) as progress:
        result = publish_shadow(settings, progress=progress)
    terminal.published_shadow(out, result)
