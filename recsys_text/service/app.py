"""The ranking service: routes over published scores, and its server. Knows no model, lake or tracking."""

import contextlib
import logging
import os
import socket
from collections.abc import Mapping
from typing import Annotated, Any

import uvicorn
from fastapi import Body, FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.datastructures import MutableHeaders

from recsys_text import __version__
from recsys_text.config import Settings
from recsys_text.errors import ConfigError, UnavailableError
from recsys_text.sections import Service
from recsys_text.service import schemas
from recsys_text.service.guard import OPEN_PATH, Guard
from recsys_text.service.metrics import Metrics
from recsys_text.service.scores import Scores, Served

TOKEN_VARIABLE = "RECSYS_TEXT_TOKEN"  # noqa: S105 - the name of the variable, not a token

_LOOPBACK = "127.0.0.1"
_BACKLOG = 2048
# A client that never reads its answer does not hold up the stop for longer.
_STOP_SECONDS = 10
_DEFAULT_K = 10
# An id takes at most four bytes a character in UTF-8, and quotes and a comma around it.
_BYTES_PER_ID = 4 * schemas.MAX_ID_LENGTH + 4
_VERSION = "X-Scores-Version"
_RETRY = {"Retry-After": "1"}

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": schemas.Problem, "description": "No valid token; asked for only where the service has one"},
    422: {"model": schemas.Problem, "description": "The request breaks a rule or a bound, named in one line"},
    503: {"model": schemas.Problem, "description": "No scores are served; the reason in one line"},
}
_UNKNOWN_USER: dict[int | str, dict[str, Any]] = {
    404: {"model": schemas.UnknownUser, "description": "The served scores do not hold this user"}
}
_BODY_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": schemas.Problem, "description": "The body cannot be read"},
    413: {"model": schemas.Problem, "description": "The body has too many bytes"},
}


def create_app(store_url: str, settings: Service, token: str | None = None) -> FastAPI:
    """The service over the view `user_scores` of a store, whose swaps it follows.

    It starts without a store or a published version too, and is not ready until there is one. With a
    token every path but /health asks for it as a bearer token.
    """
    scores = Scores(store_url)
    metrics = Metrics(scores)

    def stamp(headers: MutableHeaders) -> None:
        # An answer made from scores names its own version; by now the store may have swapped to another.
        if _VERSION not in headers and (served := scores.served) is not None:
            headers.update(_headers(served))

    app = FastAPI(
        title="recsys-text ranking service",
        version=__version__,
        description="Per-user scores of the version now published. Every answer names that version and its age.",
        redoc_url=None,
        lifespan=lambda _: scores.following(),
    )
    app.add_middleware(
        Guard,
        token=token,
        max_body=_BYTES_PER_ID * (settings.max_candidates + 1),
        stamp=stamp,
        observe=metrics.observe,
    )
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(UnavailableError, _unavailable)

    @app.get(
        "/users/{user_id:path}/items",
        response_model=schemas.UserItems,
        responses=_PROBLEMS | _UNKNOWN_USER,
        summary="A user's best items",
    )
    async def items(
        user_id: Annotated[schemas.Id, Path(examples=["1185"])],
        k: Annotated[int, Query(ge=1, le=settings.max_k, description="how many")] = min(_DEFAULT_K, settings.max_k),
    ) -> Response:
        # Not a thread's work: a lookup in memory-mapped parts takes less time than the way to a thread and back.
        served, row = scores.lookup(user_id)
        if row is None:
            detail = f"no user {user_id!r} in version '{served.version}' of the scores"
            return _answer(schemas.UnknownUser(user_id=user_id, **_about(served), detail=detail), served, status=404)
        stored = zip(row["item_id"][:k], row["score"][:k], row["interest"][:k], strict=True)
        best = [schemas.Item(item_id=item, score=score, interest=interest) for item, score, interest in stored]
        return _answer(schemas.UserItems(user_id=user_id, **_about(served), known=True, items=best), served)

    @app.post(
        "/rank",
        response_model=schemas.Ranking,
        responses=_PROBLEMS | _BODY_PROBLEMS,
        summary="Candidates in the order of a user's stored scores",
    )
    async def rank(
        user_id: Annotated[schemas.Id, Body(examples=["1185"])],
        candidates: Annotated[list[schemas.Id], Body(max_length=settings.max_candidates, examples=[["4", "27", "9"]])],
    ) -> Response:
        served, row = scores.lookup(user_id)
        ranked = _rank(row or {}, candidates)
        return _answer(schemas.Ranking(user_id=user_id, **_about(served), known=row is not None, items=ranked), served)

    @app.get(OPEN_PATH, response_model=schemas.Health, summary="The process lives")
    async def health() -> Response:
        return _json(schemas.Health())

    @app.get(
        "/ready",
        response_model=schemas.Readiness,
        responses={401: _PROBLEMS[401], 503: {"model": schemas.Readiness, "description": "No scores are served"}},
        summary="Scores are served",
    )
    async def ready() -> Response:
        served = scores.served
        if served is None:
            return _json(schemas.Readiness(ready=False, reason=scores.problem), status=503, headers=_RETRY)
        return _answer(schemas.Readiness(ready=True, **_about(served), reason=scores.problem), served)

    @app.get("/metrics", response_class=Response, responses={401: _PROBLEMS[401]}, summary="Metrics for Prometheus")
    async def prometheus() -> Response:
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    if token is not None:
        _declare_token(app)
    return app


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or Ctrl-C, and then finishes the requests that have begun.

    Listens on `service.host` and `service.port` (0: any free port) and logs the address. Raises
    ConfigError where the host is not 127.0.0.1 and the environment gives no token, and where the
    address cannot be listened on.
    """
    host, port = settings.service.host, settings.service.port
    token = os.environ.get(TOKEN_VARIABLE, "").strip() or None
    if host != _LOOPBACK and token is None:
        raise ConfigError(
            f"service.host '{host}' opens the service to other machines: "
            f"set a token in the environment variable {TOKEN_VARIABLE}, or listen on {_LOOPBACK}"
        )
    app = create_app(settings.store_url, settings.service, token)
    # Requests are counted in the metrics; a line for each would name users and cost more than the lookup.
    config = uvicorn.Config(app, access_log=False, timeout_graceful_shutdown=_STOP_SECONDS)
    with listen(host, port) as listener:
        address = f"[{host}]" if ":" in host else host
        logging.getLogger("uvicorn.error").info(
            "Ranking service on http://%s:%d (Ctrl-C stops it)", address, listener.getsockname()[1]
        )
        # After its graceful stop uvicorn raises what stopped it once more.
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError where the address is taken, unknown or not allowed."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"cannot listen on {host}:{port}: {reason}; set another service.host or service.port"
        ) from None


def _rank(row: Mapping[str, Any], candidates: list[str]) -> list[schemas.RankedItem]:
    stored = dict(zip(row["item_id"], zip(row["score"], row["interest"], strict=True), strict=True)) if row else {}
    scored = sorted((item for item in candidates if item in stored), key=lambda item: -stored[item][0])
    others = [item for item in candidates if item not in stored]
    return [
        *(schemas.RankedItem(item_id=item, score=stored[item][0], interest=stored[item][1]) for item in scored),
        *(schemas.RankedItem(item_id=item, score=None, interest=None) for item in others),
    ]


def _about(served: Served) -> dict[str, Any]:
    return {"version": served.version, "as_of": served.as_of, "age_seconds": served.age_seconds}


def _headers(served: Served) -> dict[str, str]:
    return {_VERSION: served.version, "X-Scores-Age": str(int(served.age_seconds))}


def _answer(body: BaseModel, served: Served, status: int = 200) -> Response:
    return _json(body, status=status, headers=_headers(served))


def _json(body: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # Written here, since FastAPI would validate once more what was just built.
    return Response(body.model_dump_json(), status_code=status, headers=headers, media_type="application/json")


async def _unavailable(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, status_code=503, headers=_RETRY)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return JSONResponse({"detail": _explain(error)}, status_code=422)


def _explain(error: RequestValidationError) -> str:
    """One line for the first fault: where it is, what is wrong, and the value."""
    if isinstance(error.body, bytes):
        return "send the body as JSON, with 'Content-Type: application/json'"
    fault = error.errors()[0]
    if fault["type"] == "json_invalid":
        return f"the body is no JSON: {fault['ctx']['error']} at character {fault['loc'][-1]}"
    where = ".".join(str(part) for part in fault["loc"][1:]) or "the body"
    value = fault["input"]
    got = f", got {value!r:.80}" if isinstance(value, str | int | float) else ""
    return f"{where}: {fault['msg']}{got}"


def _declare_token(app: FastAPI) -> None:
    """Names the bearer token in the OpenAPI document, where tools look for it."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        document["paths"][OPEN_PATH]["get"]["security"] = []
        return document

    app.openapi = openapi  # type: ignore[method-assign]
