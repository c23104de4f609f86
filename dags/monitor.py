"""Measures the published scores against the clicks that followed.

Runs when the lake has news, and measures the newest window, and each other that was not measured yet or to which rows
came late: the version that was published before that window began. Skips when there is none, or when the windows have
no clicks. An alert that begins to fire is told to the notifiers of `schedule.notify`, once: as of the newest window.
One that no notifier could be told of is told by the next run.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, PartitionedAssetTimetable, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from recsys_text.errors import ContractError
from recsys_text.provider.projects import Project, projects, step
from recsys_text.provider.running import notify


def build(project: Project) -> DAG:
    settings = project.settings
    timetable = PartitionedAssetTimetable(assets=project.news)

    with DAG(**project.dag_args("monitor", __doc__ or ""), schedule=timetable) as dag:

        @task(inlets=[project.scores], outlets=[project.quality], execution_timeout=timedelta(hours=2))
        @step
        def monitor() -> dict[str, Any]:
            from recsys_text.provider import telling
            from recsys_text.steps.alerts import tell_once
            from recsys_text.steps.inputs import windows_of
            from recsys_text.steps.monitor import monitor as run_step
            from recsys_text.steps.monitor import unmeasured

            context = get_current_context()

            def tell(line: str) -> bool:
                telling.tell([line])
                return notify(project.notifiers, context, line)

            newest = context["dag_run"].partition_key or windows_of(settings)[-1].key
            results = []
            for key in sorted({newest, *unmeasured(settings)}):
                try:
                    with telling.progress(f"Monitoring of {key}"):
                        results.append(run_step(settings, key))
                except ContractError as error:  # an old window that is damaged keeps no night from being measured
                    if key == newest:
                        raise
                    telling.tell([f"{error}; window {key} stays unmeasured"])
            tell_once(settings, tell)
            measured = [result for result in results if result["version"] is not None]
            if not measured:
                raise AirflowSkipException(results[-1]["reason"])
            telling.tell(line for result in measured for line in telling.measured(result))
            event = context["outlet_events"][project.quality]
            event.add_partitions([result["window"] for result in measured])
            event.extra = telling.quality(measured[-1])
            return {"windows": [result["window"] for result in measured], "version": measured[-1]["version"]}

        monitor()
    return dag


for project in projects():
    build(project)
