"""Trains a challenger, and makes it champion when the gate agrees.

Runs when the lake has news, and trains when there is no model yet, when the newest window is
`training.every` windows past the newest model, or when an alert of the quality asks for it; otherwise it skips. A
backfill is one news, however many windows it brings; a run that another waits behind leaves it to that. With
`training.full_every` it goes on from the champion, and trains anew only every so many windows. A run that is triggered
by hand always trains: the form asks for the time before which it may know anything, for the seed, and whether to go on
from the champion.

`gate` compares the challenger with the champion on the newest window's impressions and moves the alias
only when the gain is clear. A refusal is a skip, not a failure: the champion stays, nothing is published anew.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, PartitionedAssetTimetable, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from recsys_text.provider.projects import TRAIN_POOL, Project, projects, step
from recsys_text.provider.running import skip_if_another_waits


def build(project: Project) -> DAG:
    settings = project.settings
    timetable = PartitionedAssetTimetable(assets=project.news)
    form = {
        "cutoff": Param(
            None,
            type=["null", "string"],
            title="Cutoff",
            description_md="Train on what is strictly before this time (UTC), such as 2026-11-01 or "
            "2026-11-01T06:00Z. Empty: the start of the newest windows, which then measure the model.",
        ),
        "seed": Param(
            None,
            type=["null", "integer"],
            minimum=0,
            title="Seed",
            description_md=f"Other seeds give other models of the same data. Empty: {settings.training.seed}.",
        ),
        "warm_start": Param(
            False,
            type="boolean",
            title="Warm start",
            description_md="Go on from the champion with the windows since its cutoff, in a fraction of the time.",
        ),
    }

    with DAG(**project.dag_args("train", __doc__ or ""), schedule=timetable, params=form) as dag:
        # A try may cost half a day; the next window asks for the training again.
        @task(pool=TRAIN_POOL, retries=2, execution_timeout=timedelta(hours=12))
        @step
        def train() -> dict[str, Any]:
            from recsys_text.provider import telling, training
            from recsys_text.steps.schedule import due, starts_warm, unjudged

            context = get_current_context()
            scheduled = context["dag_run"].run_type != "manual"
            if context["ti"].try_number > 1 and (registered := unjudged(settings)) is not None:
                telling.tell([f"Version {registered['version']} was registered before: only the gate is left"])
                return dict(registered)
            if scheduled:
                skip_if_another_waits(context)

            warm_start = context["params"]["warm_start"]
            if scheduled:
                is_due, reason = due(settings)
                if not is_due:
                    raise AirflowSkipException(reason)
                warm_start, how = starts_warm(settings)
                telling.tell([f"Training: {reason}", f"{'Warm start' if warm_start else 'Whole training'}: {how}"])
            cutoff, seed = context["params"]["cutoff"], context["params"]["seed"]
            told = training.train(settings, cutoff=cutoff, seed=seed, warm_start=warm_start)
            telling.tell(
                [f"Trained version {told['version']} on what is before {told['cutoff']}, run {told['run_id']}"]
            )
            return told

        @task(outlets=[project.champion], execution_timeout=timedelta(hours=2))
        @step
        def gate(trained: dict[str, Any]) -> dict[str, Any]:
            from recsys_text.provider import telling
            from recsys_text.steps.gate import gate as run_step
            from recsys_text.steps.inputs import windows_of

            with telling.progress() as progress:
                verdict = run_step(settings, trained["version"], progress=progress)
            telling.tell(telling.judged(verdict))
            if not verdict["promoted"]:
                raise AirflowSkipException(verdict["reason"])
            context = get_current_context()
            # Triggered by hand, a run has no partition; what follows is for the newest window then.
            key = context["dag_run"].partition_key or windows_of(settings)[-1].key
            event = context["outlet_events"][project.champion]
            event.add_partitions(key)
            event.extra = telling.promoted(verdict)
            return verdict

        gate(train())
    return dag


for project in projects():
    build(project)
