"""Fails, and tells the notifiers of `schedule.notify`, where scores are late.

Runs every day at `schedule.deadline` (UTC); a config without it has no such DAG. Scores are late where what is
served is older than the newest window that had closed before the deadline. It looks at the store itself, so that it
also tells of a night in which nothing ran at all: deadlines of Airflow's own belong to a run, and there is none then.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException

from recsys_text.provider.projects import Project, projects, step


def build(project: Project, due: timedelta) -> DAG:
    settings = project.settings
    minutes = due // timedelta(minutes=1)
    timetable = CronTriggerTimetable(f"{minutes % 60} {minutes // 60} * * *", timezone="UTC")

    with DAG(**project.dag_args("freshness", __doc__ or ""), schedule=timetable) as dag:
        # Whoever counts on the deadline is not to hear an hour later that nobody could look.
        @task(retries=3, execution_timeout=timedelta(minutes=30))
        @step
        def freshness() -> dict[str, Any]:
            from recsys_text.provider import telling
            from recsys_text.steps.freshness import freshness as run_step

            result = run_step(settings, get_current_context()["dag_run"].run_after)
            telling.tell([result["reason"]])
            if result["late"]:
                raise AirflowFailException(result["reason"])
            return result

        freshness()
    return dag


for project in projects():
    if project.settings.schedule.due is not None:
        build(project, project.settings.schedule.due)
