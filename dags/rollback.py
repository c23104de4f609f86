"""Serves a version that was published before.

By hand alone: the form asks for the version, and without one takes the version before the served one. Whoever may
trigger this DAG may roll back. Vectors go back with their scores. It holds until the next window or a new champion
makes a new version; a refresh leaves it alone. To go back to a former model for good, give it the alias `champion` in
MLflow as well.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Param, get_current_context, task

from recsys_text.provider.projects import STORE_POOL, Project, projects, step


def build(project: Project) -> DAG:
    settings = project.settings
    form = {
        "version": Param(
            None,
            type=["null", "string"],
            title="Version",
            description_md="The name of a version of `user_scores`, as `recsys-text versions` and the logs of the "
            "publish DAG tell it. Empty: the one before the served one.",
        )
    }

    with DAG(**project.dag_args("rollback", __doc__ or ""), schedule=None, params=form) as dag:
        # Two tasks, as another try of the second one must not go back by one version more; and few tries, as who asked
        # for it stands by, and has found another way an hour later.
        @task(pool=STORE_POOL, retries=3, execution_timeout=timedelta(minutes=30))
        @step
        def choose() -> dict[str, Any]:
            from recsys_text.steps.store import previous

            return {"version": get_current_context()["params"]["version"] or previous(settings)}

        @task(pool=STORE_POOL, retries=3, execution_timeout=timedelta(minutes=30))
        @step
        def rollback(chosen: dict[str, Any]) -> dict[str, Any]:
            from recsys_text.provider import telling
            from recsys_text.steps.store import rollback as run_step

            version = run_step(settings, chosen["version"])
            telling.tell([f"{version} is served now"])
            return {"version": version}

        rollback(choose())
    return dag


for project in projects():
    build(project)
