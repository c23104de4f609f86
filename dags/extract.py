"""Brings the windows of the sources into the lake.

One run for each window, when it closes; the window's key is the run's partition key. Once its own window is
in the lake, a scheduled run goes on to those before it, the newest first: the `windows.late` windows, again, for the
rows that came late, and, where no other run of this DAG waits, those that a standstill of up to a week left out. What a
longer one left out is told to the notifiers of `schedule.notify`. One that breaks its contract stops no other: it is
left to a task `late` of its own, which fails. After `schedule.end` a scheduled run skips.

The assets `lake://<project>/items` and `lake://<project>/events` hear of each window that was brought, but for earlier
ones that are what they were. Training, publishing and monitoring listen to `lake://<project>/news` instead. `announce`
tells it, also where a task before it failed, if the lake is not what it was when it was last told; in a backfill only
the last run to end does, and the others skip it. So a backfill of a year trains, publishes and monitors once. A window
that failed, a run that was cancelled or a scheduler that was killed leaves nothing untold: the next run compares.

- History, a run for each window: `airflow backfill create --dag-id books_extract --from-date 2017-07-01
  --to-date 2017-08-28` (both inclusive). Airflow then schedules the newest closed window at once as well.
- History in one run, which reads the sources once: `airflow dags trigger books_extract --conf
  '{"from": "2017-07-01", "to": "2017-08-29"}'` (half-open).
- A run triggered with neither a partition key nor a span extracts the newest closed window.

- Late rows of older windows: `airflow backfill create --reprocess-behavior completed` for those windows.

Writing a window again replaces it, and changes no byte when the source has not changed. A run that breaks
a contract fails at once and leaves the former window; a source out of reach is tried again. Once the source
is mended, clear the task that failed.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, CronPartitionTimetable, Param, get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from recsys_text.config import Settings
from recsys_text.errors import ContractError
from recsys_text.lake.windows import Window, parse_window
from recsys_text.provider.announcing import announce as tell_news
from recsys_text.provider.projects import Project, projects, step
from recsys_text.provider.running import notify


def _bring(settings: Settings, windows: Sequence[Window]) -> dict[str, Any]:
    from recsys_text.provider import telling
    from recsys_text.steps.extract import extract

    with telling.progress("Extraction"):
        result = extract(settings, windows)
    telling.tell(telling.extracted(result))
    return result


def _land(project: Project, results: dict[str, dict[str, Any]]) -> None:
    """Tells of windows by their keys."""
    from recsys_text.provider import telling

    events = get_current_context()["outlet_events"]
    for table, asset in (("items", project.items), ("events", project.events)):
        events[asset].add_partitions(list(results))
        events[asset].extra = telling.landed(list(results.values()), table)


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

    outlets = {"outlets": [project.items, project.events], "execution_timeout": timedelta(hours=4)}

    def choose(window: Window) -> list[str]:
        """The keys of the windows to go on to. Another try keeps to them: the lake no longer shows what it lacked."""
        from recsys_text.provider import telling
        from recsys_text.steps.extract import earlier

        context = get_current_context()
        chosen = context["task_state_store"].get("earlier")
        if chosen is None:
            # What a backfill has not come to yet is not left out.
            alone = context["ti"].get_dr_count(dag_id=dag.dag_id, states=["queued", "running"]) == 1
            found, left_out = earlier(settings, window, gap=alone)
            if left_out:
                first, last = left_out[0], left_out[-1]
                line = (
                    f"the lake has none of the windows {first} to {last}; bring them by `airflow backfill create "
                    f"--dag-id {dag.dag_id} --from-date {first} --to-date {last}`"
                )
                telling.tell([line])
                notify(project.notifiers, context, line)
            chosen = [each.key for each in found]
            context["task_state_store"].set("earlier", chosen)
        return chosen

    with DAG(**project.dag_args("extract", __doc__ or ""), schedule=timetable, params=span) as dag:

        @task(**outlets)
        @step
        def extract() -> list[str]:
            from recsys_text.provider import telling

            context = get_current_context()
            run, params, ti = context["dag_run"], context["params"], context["ti"]
            windows = project.windows(
                run.partition_key, start=params["from"], end=params["to"], run_after=run.run_after
            )
            end = settings.schedule.end
            if run.run_type == "scheduled" and end is not None and windows[0].start >= end:
                raise AirflowSkipException(f"window {windows[0]} is after schedule.end, {end:%Y-%m-%dT%H:%MZ}")
            results, broken = {windows[-1].key: _bring(settings, windows)}, []
            for key in choose(windows[-1]) if run.run_type == "scheduled" else []:
                try:
                    result = _bring(settings, [parse_window(key, settings.windows.span)])
                except ContractError as error:
                    telling.tell([f"{error}; it is left to the task `late`"])
                    broken.append(key)
                    continue
                # A try that ended before it could tell of the window has left it as this one finds it.
                if result["changed"] or ti.try_number > 1:
                    results[key] = result
            _land(project, results)
            return broken

        @task(**outlets, map_index_template="{{ task.op_kwargs['key'] }}")
        @step
        def late(key: str) -> None:
            _land(project, {key: _bring(settings, [parse_window(key, settings.windows.span)])})

        # One at a time, so that two runs that end together do not tell the same twice.
        @task(
            inlets=[project.news],
            outlets=[project.news],
            max_active_tis_per_dag=1,
            execution_timeout=timedelta(hours=1),
        )
        @step
        def announce() -> str:
            return tell_news(project, get_current_context(), ["extract", "late"])

        extracted = extract()
        brought = late.expand(key=extracted)
        # A teardown runs whatever became of the tasks before it, and the run's state is theirs.
        [extracted, brought] >> announce().as_teardown()
    return dag


for project in projects():
    build(project)
