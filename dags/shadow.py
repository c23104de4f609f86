"""Publishes the challenger's scores beside those that are served, so that both are held against the same clicks.

Runs when scores were published for a window; a config without `gate.shadow` has no such DAG. Skips where there is no
challenger. Nobody is served from the view `user_scores_shadow`, unless an experiment of the service names it.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, PartitionedAssetTimetable, task
from airflow.sdk.exceptions import AirflowSkipException

from recsys_text.provider.projects import STORE_POOL, Project, projects, step


def build(project: Project) -> DAG:
    settings = project.settings
    timetable = PartitionedAssetTimetable(assets=project.scores)

    with DAG(**project.dag_args("shadow", __doc__ or ""), schedule=timetable) as dag:

        @task(pool=STORE_POOL, execution_timeout=timedelta(hours=4))
        @step
        def shadow() -> dict[str, Any]:
            from recsys_text.provider import telling
            from recsys_text.steps.shadow import publish_shadow

            with telling.progress() as progress:
                result = publish_shadow(settings, progress=progress)
            if not result["swapped"]:
                raise AirflowSkipException(result["reason"])
            telling.tell([f"Beside the served scores: {result['version']}, {result['users']:,} users"])
            return result

        shadow()
    return dag


for project in projects():
    if project.settings.gate.shadow:
        build(project)
