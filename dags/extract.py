"""Brings the windows of the sources into the lake.

One run for each window, when it closes; the window's key is the run's partition key. A scheduled run
also extracts the `windows.late` windows before it again, for the rows that came late. What follows runs
once for the run's own window, and for a late one if it is not what it was.

- History, a run for each window: `airflow backfill create --dag-id books_extract --from-date 2017-07-01
  --to-date 2017-08-28` (both inclusive). Airflow then schedules the newest closed window at once as well.
- History in one run, which reads the sources once: `airflow dags trigger books_extract --conf
  '{"from": "2017-07-01", "to": "2017-08-29"}'` (half-open).
- A run triggered with neither a partition key nor a span extracts the newest closed window.

- Late rows of older windows: `airflow backfill create --reprocess-behavior completed` for those windows.

Writing a window again replaces it, and changes no byte when the source has not changed. A run that breaks
a contract fails at once and leaves the former window; a source out of reach is tried again. Once the source
is mended, clear the run.
"""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronPartitionTimetable, Param, get_current_context, task

from recsys_text.provider.projects import Project, projects, step


def build(project: Project) -> DAG:
    settings = project.settings
    timetable = CronPartitionTimetable(
        project.cron,
        timezone="UTC",
        run_offset=-1,  # the partition of a run is the window that has just closed
        run_immediately=timedelta(0),  # unpausing extracts nothing: history is asked for, never assumed
        key_format=project.key_format,
    )
    span = {
        "from": Param(None, type=["null", "string"], description="Start of a span to extract, such as 2017-07-01"),
        "to": Param(None, type=["null", "string"], description="End of the span, exclusive"),
    }

    with DAG(**project.dag_args("extract", __doc__ or ""), schedule=timetable, params=span) as dag:

        @task(outlets=[project.items, project.events], execution_timeout=timedelta(hours=4))
        @step
        def extract() -> dict[str, Any]:
            from recsys_text.provider import telling
            from recsys_text.steps.extract import extract as run_step

            context = get_current_context()
            run, params, events = context["dag_run"], context["params"], context["outlet_events"]
            late = settings.windows.late if run.run_type == "scheduled" else 0
            windows = project.windows(
                run.partition_key, start=params["from"], end=params["to"], run_after=run.run_after, late=late
            )
            result = run_step(settings, windows)
            telling.tell(telling.extracted(result))
            keys = [windows[-1].key]
            # A try that ended before it could tell of a late window has left it as this one finds it.
            again = context["ti"].try_number > 1
            keys += [window.key for window in windows[:-1] if late and (again or window.key in result["changed"])]
            for table, asset in (("items", project.items), ("events", project.events)):
                events[asset].add_partitions(keys)
                events[asset].extra = telling.landed(result, table)
            return result

        extract()
    return dag


for project in projects():
    build(project)
