"""What a user reads before and after a training: check, report."""

import json
from typing import Annotated

import typer

from recsys_text import terminal
from recsys_text.cli.app import CONFIG, Config, From, Model, To, WindowKey, app, out, span
from recsys_text.config import load
from recsys_text.errors import ContractError

# Steps are imported by the command that needs them: `versions` must not wait for torch and MLflow.
# ruff: noqa: PLC0415


@app.command()
def check(
    config: Config = CONFIG,
    window: WindowKey = None,
    start: From = None,
    end: To = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Look for leaks, wrong clocks, robots and other faults in the lake's windows (exit 3 if there are errors)."""
    settings = load(config)
    from recsys_text.steps.check import check as step

    with terminal.WorkProgress(out, "Check"):
        findings = step(settings, span(settings, window, start, end))
    if as_json:
        typer.echo(json.dumps([finding.to_json() for finding in findings], indent=1, ensure_ascii=False))
    else:
        terminal.checked(out, findings)
    errors = [finding.name for finding in findings if finding.level == "error"]
    if errors:
        raise ContractError(f"the data are not fit to learn from: {', '.join(errors)}")
    if not as_json:
        out.print(f"{len(findings)} checks found no error")


@app.command()
def report(config: Config = CONFIG, model: Model = "champion") -> None:
    """Write one HTML page about a registered version: data, curves, evaluation, examples, what changed."""
    settings = load(config)
    from recsys_text.steps.report import report as step

    with terminal.WorkProgress(out, "Report"):
        page = step(settings, model)
    out.print(f"Wrote {page}", soft_wrap=True)
