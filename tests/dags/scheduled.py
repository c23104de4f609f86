"""Nights of the extract DAG as the scheduler would begin them, one after the other in this process.

    python scheduled.py CONFIG

Prints as JSON the states of each run's tasks, and all events of assets: of tables their rows, of news the windows.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
from airflow import settings
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.models.asset import AssetEvent
from airflow.sdk.definitions.dag import _run_task
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import select

from recsys_text.config import load
from recsys_text.lake.windows import DAY, parse_window
from recsys_text.steps.extract import extract

CONFIG = Path(sys.argv[1])
DAG_FILE = Path(__file__).resolve().parents[2] / "dags" / "extract.py"


class Nights:
    def __init__(self) -> None:
        self.session = settings.Session()
        manager = DagBundlesManager()
        manager.sync_bundles_to_db(session=self.session)
        self.session.commit()
        (bundle,) = manager.get_all_dag_bundles()
        bag = DagBag(str(DAG_FILE))
        sync_bag_to_db(bag, bundle.name, None)
        (dag,) = bag.dags.values()
        self.scheduled = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))

    def begin(self, key: str, of_type: DagRunType, state: DagRunState) -> Any:
        window = parse_window(key, DAY)
        return self.scheduled.create_dagrun(
            run_id=f"{of_type}__{key}",
            partition_key=key,
            run_after=window.end,
            run_type=of_type,
            state=state,
            triggered_by=DagRunTriggeredByType.TEST,
            start_date=window.end,
            session=self.session,
        )

    def night(self, key: str, obstacle: Path | None = None) -> dict[str, str]:
        """The state of each task of the scheduled run of a window, whose first try finds the obstacle in its way."""
        if obstacle:
            obstacle.touch()
        return self.go(self.begin(key, DagRunType.SCHEDULED, DagRunState.RUNNING), obstacle)

    def go(self, run: Any, obstacle: Path | None = None) -> dict[str, str]:
        """The state of each task of a run at its end."""
        run = self.session.merge(run)  # a task that was run has closed the session
        run.dag, run.state = self.scheduled, DagRunState.RUNNING
        self.session.commit()
        (dag,) = DagBag(str(DAG_FILE)).dags.values()  # anew, as in each process of a worker
        while run.state == DagRunState.RUNNING:
            self.session.expire_all()
            for ready in run.update_state(session=self.session)[0]:
                ready.try_number += 1
                ready.state = TaskInstanceState.SCHEDULED
            self.session.commit()
            tasks = run.get_task_instances(session=self.session, state=[TaskInstanceState.SCHEDULED])
            for task in tasks:
                _run_task(ti=task, task=dag.task_dict[task.task_id])
            if not tasks:
                time.sleep(0.5)  # it waits for the next try
            elif obstacle and obstacle.is_file():
                obstacle.unlink()
        return {
            f"late {task.rendered_map_index}" if task.map_index >= 0 else task.task_id: str(task.state)
            for task in run.get_task_instances(session=self.session)
        }

    def events(self) -> Iterator[list[Any]]:
        for event in self.session.scalars(select(AssetEvent).order_by(AssetEvent.id)):
            yield [event.uri, event.partition_key, event.extra.get("rows", event.extra.get("windows"))]


def rename_events(day: str, kind: str) -> None:
    """Gives all events of a day another type."""
    path = CONFIG.parent / "events.parquet"
    of_day = pl.col("occurred_at").dt.strftime("%Y-%m-%d") == day
    pl.read_parquet(path).with_columns(
        pl.when(of_day).then(pl.lit(kind)).otherwise("event_type").alias("event_type")
    ).write_parquet(path)


def main() -> None:
    extract(load(CONFIG), [parse_window("2024-05-01", DAY)])
    nights, told = Nights(), {}
    rename_events("2024-05-03", "klick")
    told["after a standstill"] = nights.night("2024-05-05")
    told["as ever"] = nights.night("2024-05-06")
    waiting = nights.begin("2024-05-07", DagRunType.BACKFILL_JOB, DagRunState.QUEUED)
    told["beside a backfill"] = nights.night("2024-05-10")
    nights.session.delete(waiting)
    nights.session.commit()
    told["after a month"] = nights.night("2024-06-10")
    told["of two tries"] = nights.night("2024-06-15", load(CONFIG).lake / "events" / "window=2024-06-13")
    backfill = {
        key: nights.begin(key, DagRunType.BACKFILL_JOB, DagRunState.QUEUED)
        for key in ("2024-04-29", "2024-04-30", "2024-05-03")
    }
    for key, run in backfill.items():
        told[f"backfill of {key}"] = nights.go(run)
    told["backfill of the broken window again"] = nights.go(
        nights.begin("2024-05-03", DagRunType.MANUAL, DagRunState.QUEUED)
    )
    print("RESULT", json.dumps({"nights": told, "events": list(nights.events())}))


if __name__ == "__main__":
    main()
