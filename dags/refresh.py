"""Publishes again between two windows: the same model, and the newest events.

Runs every `schedule.refresh`; a config without it has no such DAG. The nightly run of the publish DAG stays what
it is: it scores whatever the lake has when a window has closed. Skips where nothing is served that it could follow, or
nothing is new. Its events are those of an asset of its own, without a partition.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, DeltaTriggerTimetable, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from recsys_text.provider.projects import STORE_POOL, Project, projects, step


def build(project: Project, every: timedelta) -> DAG:
    settings = project.settings

    with DAG(**project.dag_args("refresh", __doc__ or ""), schedule=DeltaTriggerTimetable(every)) as dag:

        @task(pool=STORE_POOL, outlets=[project.refreshed], execution_timeout=timedelta(hours=2))
        @step
        def refresh() -> dict[str, Any]:
            from recsys_text.provider import telling
            from recsys_text.steps.refresh import refresh as run_step

            with telling.progress("Extraction") as progress:
                result = run_step(settings, progress=progress)
            if not result["swapped"]:
                raise AirflowSkipException(result.get("reason") or telling.published(result)[0])
            telling.tell(telling.published(result))
            get_current_context()["outlet_events"][project.refreshed].extra = {
                "version": result["version"],
                "rows": result["users"],
            }
            return result

        refresh()
    return dag


for project in projects():
    if project.settings.schedule.refresh is not None:
        build(project, project.settings.schedule.refresh)
