"""DAGs as a user writes them, and a run of each: the whole way to scores, a worse challenger, a mistake.

    python own_dag.py CONFIG

Prints as JSON what became of each task: state, tries and what it returned.
"""

import json
import os
import sys
from typing import Any

from airflow.sdk import DAG

from recsys_text.provider.operators import (
    ExtractOperator,
    GateOperator,
    MonitorOperator,
    PublishOperator,
    TrainOperator,
)
from recsys_text.provider.sensor import ScoresPublishedSensor

CONFIG = sys.argv[1]
TRAINED = "{{ ti.xcom_pull('train')['version'] }}"

with DAG("shop_nightly", schedule=None, params={"start": "2024-05-01", "end": "2024-05-06"}) as nightly:
    extract = ExtractOperator(task_id="extract", config=CONFIG, start="{{ params.start }}", end="{{ params.end }}")
    train = TrainOperator(task_id="train", config=CONFIG, cutoff="2024-05-05")
    gate = GateOperator(task_id="gate", config=CONFIG, version=TRAINED)
    publish = PublishOperator(task_id="publish", config=CONFIG)
    scores = ScoresPublishedSensor(task_id="scores", config=CONFIG, as_of="{{ params.end }}")
    later = ExtractOperator(task_id="later", config=CONFIG, window="2024-05-06")
    monitor = MonitorOperator(task_id="monitor", config=CONFIG, window="{{ ti.xcom_pull('later')['windows'][-1] }}")
    extract >> train >> gate >> publish >> scores >> later >> monitor

with DAG("shop_again", schedule=None) as again:
    train = TrainOperator(task_id="train", config=CONFIG)
    (
        train
        >> GateOperator(task_id="gate", config=CONFIG, version=TRAINED)
        >> PublishOperator(task_id="publish", config=CONFIG)
    )

with DAG("shop_mistaken", schedule=None, default_args={"retries": 3}) as mistaken:
    ExtractOperator(task_id="extract", config=CONFIG, window="2024-05-06", start="2024-05-01")


def became(dag: DAG) -> dict[str, Any]:
    run = dag.test()
    return {
        task.task_id: {
            "state": str(task.state),
            "tries": task.try_number,
            "returned": task.xcom_pull(task.task_id, run_id=run.run_id),
        }
        for task in run.get_task_instances()
    }


if __name__ == "__main__":
    told = {"nightly": became(nightly)}
    os.environ["RECSYS_TEXT_GATE__MIN_GAIN"] = "0.9"  # which nothing clears
    told |= {"again": became(again), "mistaken": became(mistaken)}
    print("RESULT", json.dumps(told))
