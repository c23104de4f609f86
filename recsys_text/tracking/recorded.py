"""What a finished or broken run has recorded, for people to read. Knows MLflow's client, no project."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

#: The metrics that have a value for each epoch.
CURVES = ("loss", "valid_loss", "valid_ndcg_at_10")


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A run as MLflow has it. `status` is MLflow's: FINISHED, RUNNING, FAILED or KILLED; digests: of its data sets, cut
    to 36 letters; curves: the CURVES that it has, as (epoch, value).
    """

    run_id: str
    status: str
    started: datetime
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    digests: Mapping[str, str]
    curves: Mapping[str, Sequence[tuple[int, float]]]


def recorded(client: MlflowClient, run_id: str) -> Recorded | None:
    """None for a run that was deleted."""
    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    histories = {name: client.get_metric_history(run_id, name) for name in CURVES if name in run.data.metrics}
    return Recorded(
        run_id=run_id,
        status=run.info.status,
        started=datetime.fromtimestamp(run.info.start_time / 1000, UTC),
        params=run.data.params,
        metrics=run.data.metrics,
        tags=run.data.tags,
        digests={each.dataset.name: each.dataset.digest for each in run.inputs.dataset_inputs},
        # A run that was continued may have logged an epoch again: its last value counts.
        curves={name: sorted({each.step: each.value for each in found}.items()) for name, found in histories.items()},
    )
