"""Trains a challenger, and makes it champion when the gate agrees.

Runs on new events in the lake, and trains when there is no model yet or when the newest window is
`training.every` windows past the newest model; otherwise it skips. So a year of backfilled windows
trains no more often than a year of nights. A run that is triggered by hand always trains. With `training.full_every`
it goes on from the champion, and trains anew only every so many windows.

`gate` compares the challenger with the champion on the newest window's impressions and moves the alias
only when the gain is clear. A refusal is a skip, not a failure: the champion stays, nothing is published anew.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, PartitionedAssetTimetable, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from recsys_text.provider.projects import TRAIN_POOL, Project, projects, step


def build(project: Project) -> DAG:
    settings = project.settings
    timetable = PartitionedAssetTimetable(assets=project.events)

    with DAG(**project.dag_args("train", __doc__ or ""), schedule=timetable) as dag:

        @task(pool=TRAIN_POOL, execution_timeout=timedelta(hours=12))
        @step
        def train() -> dict[str, Any]:
            from rich.console import Console

            from recsys_text.steps.schedule import due, starts_warm
            from recsys_text.terminal import TrainingProgress

            warm_start = False
            if get_current_context()["dag_run"].run_type != "manual":
                is_due, reason = due(settings)
                if not is_due:
                    raise AirflowSkipException(reason)
                warm_start, reason = starts_warm(settings)
                print(f"{'Warm start' if warm_start else 'Whole training'}: {reason}")  # noqa: T201 - the task's log
            from recsys_text.steps.train import train as run_step

            with TrainingProgress(Console()) as progress:
                trained = run_step(settings, warm_start=warm_start, progress=progress)
            return {"version": trained.version, "run_id": trained.run_id, "cutoff": trained.cutoff.isoformat()}

        @task(outlets=[project.champion], execution_timeout=timedelta(hours=2))
        @step
        def gate(trained: dict[str, Any]) -> dict[str, Any]:
            from recsys_text.steps.gate import gate as run_step

            verdict = run_step(settings, trained["version"])
            if not verdict["promoted"]:
                raise AirflowSkipException(verdict["reason"])
            context = get_current_context()
            key = context["dag_run"].partition_key or trained["cutoff"]  # triggered by hand, a run has no partition
            context["outlet_events"][project.champion].add_partitions(key)
            return verdict

        gate(train())
    return dag


for project in projects():
    build(project)
