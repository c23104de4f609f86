"""Measures the published scores against the clicks that followed.

Runs when a window has landed in the lake, and measures the version that was published before that window
began. Skips when there is none, or when the window has no clicks.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, PartitionedAssetTimetable, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from recsys_text.provider.projects import Project, projects, step


def build(project: Project) -> DAG:
    settings = project.settings
    timetable = PartitionedAssetTimetable(assets=project.events)

    with DAG(**project.dag_args("monitor", __doc__ or ""), schedule=timetable) as dag:

        @task(inlets=[project.scores], execution_timeout=timedelta(hours=2))
        @step
        def monitor() -> dict[str, Any]:
            from recsys_text.steps.monitor import monitor as run_step

            result = run_step(settings, get_current_context()["dag_run"].partition_key)
            if result["version"] is None:
                raise AirflowSkipException(result["reason"])
            return result

        monitor()
    return dag


for project in projects():
    build(project)
