"""Scores every user and publishes the scores as one new version of the feature store.

Runs on new events in the lake and on a new champion. `begin` decides on the version, or skips when there
is no champion yet or the served version already has both; `items` writes the vectors of all items and what
scoring has in common; `score` writes a part for each bucket of users, as many at once as the pool allows;
`commit` verifies all parts, holds them against `publish.checks` and swaps the version in. Until then, and after
any failure, readers keep the former version, scores and vectors. Refused scores are listed with the reason; once the
check is relaxed in the config, clearing `commit` is enough. Where vectors are refused (a number in them is none), what
was staged of the views after them is removed: clear `begin` and all that follows.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, AssetAny, PartitionedAssetTimetable, task
from airflow.sdk.exceptions import AirflowSkipException

from recsys_text.provider.projects import STORE_POOL, Project, projects, step


def build(project: Project) -> DAG:
    settings = project.settings
    timetable = PartitionedAssetTimetable(assets=AssetAny(project.events, project.champion))

    with DAG(**project.dag_args("publish", __doc__ or ""), schedule=timetable) as dag:

        @task(execution_timeout=timedelta(hours=1))
        @step
        def begin() -> dict[str, Any]:
            from recsys_text.steps.inputs import tracker
            from recsys_text.steps.publish import publish_begin

            if tracker(settings).version("champion") is None:
                raise AirflowSkipException("there is no champion yet")
            plan = publish_begin(settings)
            if not plan["views"]:
                raise AirflowSkipException(f"{plan['version']} was published before")
            return plan

        @task(pool=STORE_POOL, execution_timeout=timedelta(hours=1))
        @step
        def items(plan: dict[str, Any]) -> dict[str, Any]:
            from recsys_text.steps.vectors import write_items

            return write_items(settings, plan)

        @task(pool=STORE_POOL, execution_timeout=timedelta(hours=4))
        @step
        def score(plan: dict[str, Any], bucket: int) -> dict[str, Any]:
            from recsys_text.steps.score import score_bucket

            return score_bucket(settings, plan, bucket)

        @task(outlets=[project.scores], execution_timeout=timedelta(hours=1))
        @step
        def commit(plan: dict[str, Any]) -> dict[str, Any]:
            from recsys_text.steps.publish import publish_commit

            return publish_commit(settings, plan)

        plan = items(begin())
        score.partial(plan=plan).expand(bucket=list(range(settings.publish.buckets))) >> commit(plan)
    return dag


for project in projects():
    build(project)
