"""Tells the project's own DAGs that the lake has news: once, not for each window. Knows Airflow; no model and no store.

What was told is the digest of the lake, in the event itself: whoever comes next compares, so that nothing stays untold.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk.exceptions import AirflowSkipException

from recsys_text.provider.projects import Project

# ruff: noqa: PLC0415 - parsing a DAG must not import dataframes


def announce(project: Project, context: Mapping[str, Any], before: Sequence[str]) -> str:
    """Adds an event of `project.news` whose partition is the lake's newest window, and returns that window's key.

    before: the tasks of the DAG that bring windows. A run of a backfill leaves it to those that are still to end, and
    so does any run before the first news of all: a model of the first windows of a history would stay for a week.
    Raises AirflowSkipException where nothing is to be told.
    """
    from recsys_text.lake.store import Lake
    from recsys_text.provider import telling
    from recsys_text.steps.inputs import lake_state

    former = list(context["inlet_events"][project.news].ascending(False).limit(1))
    waits = context["dag_run"].run_type == "backfill" or not former
    if waits and _others_are_to_come(context, before):
        raise AirflowSkipException("other windows are still being extracted; the last one is announced for all")
    if not Lake(project.settings.lake).keys("events"):
        raise AirflowSkipException("the lake has no window yet")
    state = lake_state(project.settings)
    if former and former[0].extra.get("lake") == state.digests:
        raise AirflowSkipException("the lake is what it was when it was last announced")
    newest = state.windows[-1].key
    event = context["outlet_events"][project.news]
    event.add_partitions(newest)
    event.extra = {"lake": state.digests, "windows": len(state.windows)}
    telling.tell([f"The lake has {len(state.windows)} windows, the newest is {newest}"])
    return newest


def _others_are_to_come(context: Mapping[str, Any], task_ids: Sequence[str]) -> bool:
    """Whether another run of this DAG is sure to come to its own announcement later: one is queued, or at these tasks.

    One that waits for another try may wait for an hour, and does not count.
    """
    ti, dag_id = context["ti"], context["dag"].dag_id
    working = ["scheduled", "queued", "running", "restarting"]
    return bool(
        ti.get_dr_count(dag_id=dag_id, states=["queued"])
        or ti.get_ti_count(dag_id=dag_id, task_ids=list(task_ids), states=working)
    )
