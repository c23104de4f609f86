"""DAGs of a project that are run by hand, really: `dag.test`, where nothing is served yet.

    python by_hand.py

Prints as JSON the state of each task, of each event its asset and partition, and what the page says of each run.
"""

import json
from typing import Any

from airflow.dag_processing.dagbag import DagBag
from airflow.models.asset import AssetEvent
from airflow.utils.session import create_session

from recsys_text.provider import dags_folder
from recsys_text.provider.page.access import newest_runs

dags = DagBag(dags_folder()).dags
tasks: dict[str, Any] = {}
for name in ("small_monitor", "small_monitor", "small_refresh", "small_train"):
    for task in dags[name].test().get_task_instances():
        tasks[f"{name}.{task.task_id}"] = str(task.state)
with create_session() as session:
    events = [(event.asset.uri, event.partition_key) for event in session.query(AssetEvent)]
runs = [(run.dag_id, run.state, run.idle, run.reason) for run in newest_runs(list(dags))]
print("RESULT", json.dumps({"tasks": tasks, "events": events, "runs": runs}))
