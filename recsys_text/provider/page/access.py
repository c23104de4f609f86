"""What Airflow lets a user see and do, and the runs of its DAGs. Knows no page and no step."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow.api.common.trigger_dag import trigger_dag
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.models import DagModel, DagRun, Log, TaskInstance
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from recsys_text.provider.running import SKIP_REASON

SHOWN_RUNS = 6


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run of a DAG; `by` is who started it by hand.

    `idle`: it ended well, and none of its tasks had anything to do. `reason`: why the first task that skipped did so.
    """

    dag_id: str
    run_id: str
    state: str
    idle: bool
    reason: str
    by: str | None
    at: datetime


class Access:
    """One user, as Airflow's auth manager knows them."""

    def __init__(self, user: Any) -> None:
        self._user = user

    def reads(self, dag_id: str) -> bool:
        """Whether they may see a DAG."""
        return self._may("GET", dag_id, None)

    def reads_runs(self, dag_id: str) -> bool:
        return self._may("GET", dag_id, DagAccessEntity.RUN)

    def starts(self, dag_id: str) -> bool:
        """Whether they may start a run of a DAG."""
        return self._may("POST", dag_id, DagAccessEntity.RUN)

    def reads_import_errors(self) -> bool:
        return bool(get_auth_manager().is_authorized_view(access_view=AccessView.IMPORT_ERRORS, user=self._user))

    def start(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """Starts a run in the user's name, in Airflow's audit log as if by its own button; returns the run's id.

        The caller has asked `starts`. Raises LookupError where Airflow has no such DAG to run.
        """
        with create_session() as session:
            if startable(dag_id) is None:
                raise LookupError(f"Airflow has no DAG {dag_id} to run: nothing was started.")
            name = self._user.get_name()
            run = trigger_dag(
                dag_id,
                triggered_by=DagRunTriggeredByType.UI,
                triggering_user_name=name,
                conf=dict(conf),
                session=session,
            )
            run_id = str(run.run_id)
            extra = json.dumps({"method": "POST", "conf": dict(conf), "page": "recsys-text"})
            session.add(
                Log("trigger_dag_run", owner=name, owner_display_name=name, extra=extra, dag_id=dag_id, run_id=run_id)
            )
        return run_id

    def _may(self, method: str, dag_id: str, entity: DagAccessEntity | None) -> bool:
        details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
        allowed = get_auth_manager().is_authorized_dag(
            method=method, access_entity=entity, details=details, user=self._user
        )
        return bool(allowed)


def startable(dag_id: str) -> bool | None:
    """Whether a run of the DAG would begin at once: False while it is paused, None where there is no such DAG."""
    with create_session() as session:
        dag = session.get(DagModel, dag_id)
        return None if dag is None or dag.is_stale or dag.has_import_errors else not dag.is_paused


def newest_runs(dag_ids: Sequence[str]) -> list[Run]:
    """The newest runs of these DAGs, the newest first."""
    worked = exists().where(
        TaskInstance.dag_id == DagRun.dag_id,
        TaskInstance.run_id == DagRun.run_id,
        TaskInstance.state == TaskInstanceState.SUCCESS,
    )
    asked = select(DagRun, worked).where(DagRun.dag_id.in_(dag_ids)).order_by(DagRun.id.desc()).limit(SHOWN_RUNS)
    with create_session() as session:
        found = session.execute(asked).all()
        # Of a run that goes on, the reasons may be those of a former try.
        ended = [run.id for run, _ in found if run.state == DagRunState.SUCCESS]
        reasons = _skip_reasons(session, ended)
        return [
            Run(
                dag_id=run.dag_id,
                run_id=run.run_id,
                state=str(run.state),
                idle=run.id in ended and not any_worked,
                reason=reasons.get(run.id, ""),
                by=run.triggering_user_name,
                at=run.run_after,
            )
            for run, any_worked in found
        ]


def _skip_reasons(session: Session, runs: Sequence[int]) -> dict[int, str]:
    """Why the first task of each of these runs that skipped did so."""
    asked = select(XComModel).where(XComModel.dag_run_id.in_(runs), XComModel.key == SKIP_REASON)
    reasons: dict[int, str] = {}
    for kept in session.scalars(asked.order_by(XComModel.timestamp)):
        reasons.setdefault(kept.dag_run_id, str(XComModel.deserialize_value(kept)))
    return reasons


def login_address() -> str:
    """Where Airflow asks who somebody is."""
    return str(get_auth_manager().get_url_login())
