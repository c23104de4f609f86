"""A training as the DAG and the operator run it. Knows no Airflow; imports the step when it runs."""

from typing import Any

from recsys_text.config import Settings
from recsys_text.lake.windows import parse_time
from recsys_text.provider import telling

# ruff: noqa: PLC0415 - parsing a DAG must import neither torch nor MLflow


def train(settings: Settings, *, cutoff: str | None, seed: int | None, warm_start: bool) -> dict[str, Any]:
    """Trains a challenger and shows how far it is in the task's log; `seed` replaces that of the config.

    Returns {"version", "run_id", "cutoff"}. Raises ConfigError for a cutoff that is no time, and what the step raises.
    """
    from recsys_text.steps.train import train as run_step

    if seed is not None:
        training = settings.training.model_copy(update={"seed": seed})
        settings = settings.model_copy(update={"training": training})
    with telling.progress() as progress:
        trained = run_step(
            settings, cutoff=parse_time(cutoff) if cutoff else None, warm_start=warm_start, progress=progress
        )
    return {"version": trained.version, "run_id": trained.run_id, "cutoff": trained.cutoff.isoformat()}
