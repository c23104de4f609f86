"""Scores every user and publishes the scores as one new version of the feature store.

Runs when the lake has news, and on a new champion. `begin` decides on the version, or skips when there
is no champion yet or the served version already has all of it; `items` writes the vectors of all items and what
scoring has in common; `score` writes a part for each bucket of users, as many at once as the pool allows;
`commit` verifies all parts, holds them against `publish.checks` and swaps the version in. Until then, and after
any failure, readers keep the former version, scores and vectors. Refused scores are listed with the reason; once the
check is relaxed in the config, clearing `commit` is enough. Where vectors are refused (a number in them is none), what
was staged of the views after them is removed: clear `begin` and all that follows. A run that the lake overtakes
skips the rest, and one that another waits behind skips all: that one publishes what is there then.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, AssetAny, PartitionedAssetTimetable, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from recsys_text.provider.projects import STORE_POOL, Project, projects, step
from recsys_text.provider.running import skip_if_another_waits, skip_if_overtaken


def build(project: Project) -> DAG:
    settings = project.settings
    timetable = PartitionedAssetTimetable(assets=AssetAny(project.news, project.champion))

    with DAG(**project.dag_args("publish", __doc__ or ""), schedule=timetable) as dag:

        @task(execution_timeout=timedelta(hours=1))
        @step
        def begin() -> dict[str, Any]:
            skip_if_another_waits(get_current_context())
            from recsys_text.provider import telling
            from recsys_text.steps.inputs import tracker
            from recsys_text.steps.publish import publish_begin

            if tracker(settings).version("champion") is None:
                raise AirflowSkipException("there is no champion yet")
            plan = publish_begin(settings)
            if not plan["views"]:
                raise AirflowSkipException(f"{plan['version']} was published before")
            telling.tell([f"Publishing {plan['version']}: model {plan['model_version']}, as of {plan['as_of']}"])
            return plan

        @task(pool=STORE_POOL, execution_timeout=timedelta(hours=1))
        @step
        @skip_if_overtaken
        def items(plan: dict[str, Any]) -> dict[str, Any]:
            from recsys_text.provider import telling
            from recsys_text.steps.vectors import write_items

            with telling.progress("Items"):
                return write_items(settings, plan)

        @task(pool=STORE_POOL, execution_timeout=timedelta(hours=4))
        @step
        @skip_if_overtaken
        def score(plan: dict[str, Any], bucket: int) -> dict[str, Any]:
            from recsys_text.provider import telling
            from recsys_text.steps.score import score_bucket

            with telling.progress() as progress:
                scored = score_bucket(settings, plan, bucket, progress=progress)
            telling.tell([f"Bucket {bucket}: {scored['users']:,} users, {scored['pairs']:,} scored items"])
            return scored

        @task(outlets=[project.scores], execution_timeout=timedelta(hours=1))
        @step
        @skip_if_overtaken
        def commit(plan: dict[str, Any]) -> dict[str, Any]:
            from recsys_text.provider import telling
            from recsys_text.steps.publish import publish_commit

            with telling.progress("Verification"):
                result = publish_commit(settings, plan)
            if not result["swapped"]:
                raise AirflowSkipException(result.get("reason") or telling.published(result)[0])
            telling.tell(telling.published(result))
            event = get_current_context()["outlet_events"][project.scores]
            event.add_partitions(plan["last_window"])
            event.extra = telling.served(plan, result)
            return result

        plan = items(begin())
        score.partial(plan=plan).expand(bucket=list(range(settings.publish.buckets))) >> commit(plan)
    return dag


for project in projects():
    build(project)
