"""The ranking service as an application: its routes put together. Knows no model, lake or tracking."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST
from threadpoolctl import threadpool_limits

from feature_store import StoreError
from recsys_text import __version__
from recsys_text.errors import UnavailableError
from recsys_text.sections import Service
from recsys_text.service import schemas
from recsys_text.service.answers import (
    PROBLEMS,
    RETRY,
    VERSION_HEADER,
    RawHeaders,
    about,
    handle_invalid,
    handle_unavailable,
    json_response,
    version_headers,
)
from recsys_text.service.explore.routes import explore_routes
from recsys_text.service.explore.sign_in import SignIn
from recsys_text.service.guard import OPEN_PATH, Guard
from recsys_text.service.impressions import ImpressionLog
from recsys_text.service.items_route import add_items_route
from recsys_text.service.metrics import Metrics
from recsys_text.service.rank_routes import rank_routes
from recsys_text.service.views import Views

# An id takes at most four bytes a character in UTF-8, and quotes and a comma around it.
_BYTES_PER_ID = 4 * schemas.MAX_ID_LENGTH + 4
# The names and the numbers of a request.
_BYTES_PER_REQUEST = 512


def create_app(store_url: str, settings: Service, *, token: str | None = None, root: Path = Path()) -> FastAPI:
    """The service over the views of a store, whose swaps it follows.

    It starts without a store or a published version too, and is not ready until there is one. With a
    token every path but /health asks for it as a bearer token, and browsers sign in with it under /explore;
    without one only requests to this machine by name are answered. `root` is where the folder of impressions starts.
    """
    metrics = Metrics(lambda: views.served)
    arms = [arm for experiment in settings.experiments.values() for arm in experiment.arms.values()]
    others = {arm.scores for arm in arms if arm.scores is not None}
    views = Views(store_url, others=others, count_error=metrics.count_error)
    log = None
    if settings.impressions is not None:
        log = ImpressionLog(root / settings.impressions, metrics.count_dropped, keep=settings.keep_impressions)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # The products of a request are small: threads that share one wait longer for each other than it takes.
        with threadpool_limits(1), log.writing() if log is not None else nullcontext():
            async with views.following():
                yield

    def stamp(headers: RawHeaders) -> None:
        # An answer made from scores names its own version; by now the store may have swapped to another.
        if all(name != VERSION_HEADER for name, _ in headers) and (served := views.served) is not None:
            headers.extend(version_headers(served))

    app = FastAPI(
        title="recsys-text ranking service",
        version=__version__,
        description="Per-user scores of the version now published. Every answer names that version and its age.",
        redoc_url=None,
        lifespan=lifespan,
    )
    add_items_route(app, views, settings, log)
    app.include_router(rank_routes(views, settings, log))
    _add_status_routes(app, views, metrics)
    sign_in = SignIn(token)
    app.include_router(explore_routes(views, settings, sign_in, store_url))
    app.add_exception_handler(RequestValidationError, handle_invalid)
    app.add_exception_handler(UnavailableError, handle_unavailable)
    app.add_exception_handler(StoreError, handle_unavailable)
    # What is added last is passed first.
    app.add_middleware(
        Guard,
        token=token,
        host=settings.host,
        sign_in=sign_in,
        max_body=_max_body(settings),
        stamp=stamp,
        observe=metrics.observe,
    )
    if token is not None:
        _declare_token(app)
    return app


def _max_body(settings: Service) -> int:
    """Bytes of the largest batch that keeps its bounds, though each of its requests excluded few ids."""
    most = settings.max_candidates
    requests = min(schemas.MAX_BATCH, most)
    return _BYTES_PER_ID * (2 * most + requests + schemas.MAX_CATEGORIES) + _BYTES_PER_REQUEST * requests


def _add_status_routes(app: FastAPI, views: Views, metrics: Metrics) -> None:
    @app.get(OPEN_PATH, response_model=schemas.Health, summary="The process lives")
    async def health() -> Response:
        return json_response({"status": "alive"})

    @app.get(
        "/ready",
        response_model=schemas.Readiness,
        responses={
            401: PROBLEMS[401],
            421: PROBLEMS[421],
            503: {"model": schemas.Readiness, "description": "No scores are served"},
        },
        summary="Scores are served",
    )
    async def ready() -> Response:
        served = views.served
        if served is None:
            nothing = {"ready": False, "version": None, "as_of": None, "age_seconds": None, "reason": views.problem}
            return json_response(nothing, status=503, headers=RETRY)
        return json_response({"ready": True, **about(served), "reason": views.problem}, served=served)

    @app.get(
        "/metrics",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"example": 'recsys_text_scores_info{version="2014-03-18"} 1.0'}}},
            401: PROBLEMS[401],
            421: PROBLEMS[421],
        },
        summary="Metrics for Prometheus",
    )
    async def prometheus() -> Response:
        return Response(metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})


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
