"""The page's paths: who may see and do what, and which template answers. Knows no store and no model.

What a person starts here is a run of the project's own DAGs, so that workers do it and Airflow remembers who asked.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from recsys_text.config import Settings
from recsys_text.provider.page.access import Access, login_address, newest_runs, startable
from recsys_text.provider.page.render import HEADERS, render
from recsys_text.provider.projects import Project, problems, projects
from recsys_text.service.explore.forms import posted
from recsys_text.steps.state import Deadline, deadline, scores, state, tables, warm_up

_PUBLISH, _ROLLBACK = "publish", "rollback"


def create_page() -> FastAPI:
    """The application; Airflow has put who asks into each request, and what is asked for stands below the prefix."""
    app = FastAPI(title="recsys-text", openapi_url=None)
    warm_up([project.settings for project in projects()])

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        return _message(request, str(error.detail), error.status_code)

    @app.get("/")
    def overview(request: Request, user: GetUserDep) -> Response:
        access = Access(user)
        seen = [project for project in projects() if access.reads(_dag(project, _PUBLISH))]
        faults = problems() if access.reads_import_errors() else []
        if len(seen) == 1 and not faults:
            return _lead(request, f"projects/{seen[0].name}")
        now = datetime.now(UTC)
        lines = [_line(project, now) for project in seen]
        return render("overview.html", base=_base(request), lines=lines, faults=faults, now=now)

    @app.get("/projects/{name}")
    def show(request: Request, name: str, user: GetUserDep) -> Response:
        access = Access(user)
        return _page(request, _project(access, name), access)

    @app.post("/projects/{name}/{action}")
    async def act(request: Request, name: str, action: str, user: GetUserDep) -> Response:
        form = await posted(request)
        return await run_in_threadpool(acted, request, Access(user), name, action, form)

    def acted(request: Request, access: Access, name: str, action: str, form: Mapping[str, str] | None) -> Response:
        project = _project(access, name)
        if action not in (_PUBLISH, _ROLLBACK):
            raise HTTPException(404, f"There is nothing to be done by the name of '{action:.40}'.")
        if form is None:
            raise HTTPException(403, "The form came from a page of another site: nothing was started.")
        if not access.starts(_dag(project, action)):
            raise HTTPException(403, f"You may not start {_dag(project, action)}: nothing was started.")
        conf = {}
        if action == _ROLLBACK:
            version = form.get("version", "")
            published = scores(project.settings)
            if published.value is None or version not in published.value.others:
                failure = f"There is no version '{version:.80}' to go back to: nothing was started."
                return _page(request, project, access, status=409, failure=failure)
            conf = {"version": version}
        try:
            access.start(_dag(project, action), conf)
        except LookupError as error:
            return _page(request, project, access, status=409, failure=str(error))
        return _lead(request, f"projects/{name}#runs")

    return app


def _line(project: Project, now: datetime) -> dict[str, Any]:
    """What the list of projects says of one."""
    lake, published = tables(project.settings), scores(project.settings)
    return {
        "name": project.name,
        "lake": lake,
        "events": next((table for table in lake.value or [] if table.name == "events"), None),
        "scores": published,
        "deadline": _deadline(project.settings, published.value.as_of if published.value else None, now),
    }


def _page(request: Request, project: Project, access: Access, *, status: int = 200, failure: str = "") -> Response:
    now, found = datetime.now(UTC), state(project.settings)
    as_of = found.scores.value.as_of if found.scores.value else None
    dags = [_dag(project, action) for action in (_PUBLISH, _ROLLBACK)]
    may = {action: access.starts(_dag(project, action)) for action in (_PUBLISH, _ROLLBACK)}
    return render(
        "project.html",
        status=status,
        base=_base(request),
        state=found,
        now=now,
        deadline=_deadline(project.settings, as_of, now),
        may=may,
        startable={action: startable(_dag(project, action)) for action in may if may[action]},
        runs=newest_runs([dag_id for dag_id in dags if access.reads_runs(dag_id)]),
        failure=failure,
        others=sum(access.reads(_dag(other, _PUBLISH)) for other in projects()) - 1,
    )


def _message(request: Request, text: str, status: int) -> Response:
    login = login_address() if status == 401 else ""
    return render("message.html", status=status, base=_base(request), text=text, login=login)


def _project(access: Access, name: str) -> Project:
    """The project, where the user may see it. What they may not see is not there for them."""
    for project in projects():
        if project.name == name and access.reads(_dag(project, _PUBLISH)):
            return project
    raise HTTPException(404, f"There is no project '{name:.80}' that you may see.")


def _dag(project: Project, step: str) -> str:
    return f"{project.name}_{step}"


def _deadline(settings: Settings, as_of: datetime | None, now: datetime) -> Deadline | None:
    return deadline(settings.schedule.due, settings.windows.span, as_of, now)


def _base(request: Request) -> str:
    """The path of this application, as a browser knows it."""
    return str(request.scope["root_path"])


def _lead(request: Request, to: str) -> Response:
    return RedirectResponse(f"{_base(request)}/{to}", status_code=303, headers=HEADERS)
