"""Measures the published scores against the clicks that followed.

Runs when a window has landed in the lake, and measures the version that was published before that window
began. Skips when there is none, or when the window has no clicks. An alert that begins to fire is
told to the notifiers of `schedule.notify`, once: as of the newest window that was measured, also where a late one is
measured after it. One that no notifier could be told of is told by the next run.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, PartitionedAssetTimetable, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from recsys_text.provider.projects import Project, projects, step
from recsys_text.provider.running import notify


def build(project: Project) -> DAG:
    settings = project.settings
    timetable = PartitionedAssetTimetable(assets=project.events)

    with DAG(**project.dag_args("monitor", __doc__ or ""), schedule=timetable) as dag:

        @task(inlets=[project.scores], outlets=[project.quality], execution_timeout=timedelta(hours=2))
        @step
        def monitor() -> dict[str, Any]:
            from recsys_text.provider import telling
            from recsys_text.steps.alerts import tell_once
            from recsys_text.steps.monitor import monitor as run_step

            context = get_current_context()

            def tell(line: str) -> bool:
                telling.tell([line])
                return notify(project.notifiers, context, line)

            result = run_step(settings, context["dag_run"].partition_key)
            tell_once(settings, tell)
            if result["version"] is None:
                raise AirflowSkipException(result["reason"])
            telling.tell(telling.measured(result))
            event = context["outlet_events"][project.quality]
            event.add_partitions(result["window"])
            event.extra = telling.quality(result)
            return result

        monitor()
    return dag


for project in projects():
    build(project)
