"""GET /users/{user_id}/items: a user's best items, on a path as short as can be. Knows no ranking."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl

from fastapi import FastAPI, Path, Query, Response
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from feature_store import StoreError
from recsys_text.errors import UnavailableError
from recsys_text.sections import Service
from recsys_text.service import schemas
from recsys_text.service.answers import PROBLEMS, about, explain, json_response, refusal, unavailable
from recsys_text.service.impressions import ImpressionLog
from recsys_text.service.ranker import side_by_side
from recsys_text.service.views import Views

_START, _END = "/users/", "/items"
_DEFAULT_K = 10
_UNKNOWN_USER: dict[int | str, dict[str, Any]] = {
    404: {"model": schemas.UnknownUser, "description": "The served scores do not hold this user"}
}
_USER_ID: TypeAdapter[str] = TypeAdapter(schemas.Id)


def add_items_route(app: FastAPI, views: Views, settings: Service, log: ImpressionLog | None) -> None:
    """The route, which FastAPI documents, and the shortcut that answers it. Lists go into the log, if there is one."""

    class ItemsQuery(BaseModel):
        k: int = Field(
            default=min(_DEFAULT_K, settings.max_k), ge=1, le=settings.max_k, description="how many", examples=[10]
        )
        fallback: Literal["popular"] | None = Field(
            default=None,
            description="'popular' gives an unknown user the most popular items of the version, and not 404",
            examples=["popular"],
        )

    async def items(
        user_id: Annotated[schemas.Id, Path(examples=["1185"])], query: Annotated[ItemsQuery, Query()]
    ) -> Response:
        pinned = views.pinned()
        row = await views.scores_of(pinned, user_id)
        if row is not None:
            lists = side_by_side(*(row.first(name, query.k) for name in ("item_id", "score", "interest")))
            best = [{"item_id": item, "score": score, "interest": interest} for item, score, interest in lists]
        elif query.fallback is None or pinned.items is None:
            detail = f"no user {user_id!r} in version '{pinned.served.version}' of the scores"
            unknown = {"user_id": user_id, **about(pinned.served), "known": False, "items": [], "detail": detail}
            return json_response(unknown, served=pinned.served, status=404)
        else:
            best = [
                {"item_id": item, "score": score, "interest": None}
                for item, score in pinned.items.most_popular(query.k)
            ]
        shown = None
        if log is not None:
            ids = [item["item_id"] for item in best]
            shown = log.record(user_id, ids, version=pinned.served.version, experiment=None, arm=None)
        body = {
            "user_id": user_id,
            **about(pinned.served),
            "known": row is not None,
            "impression_id": shown,
            "items": best,
        }
        return json_response(body, served=pinned.served)

    app.get(
        _START + "{user_id:path}" + _END,
        response_model=schemas.UserItems,
        responses=PROBLEMS | _UNKNOWN_USER,
        summary="A user's best items",
    )(items)

    usual = ItemsQuery()

    async def answer(user_id: str, query_string: bytes) -> Response:
        try:
            query = usual
            if query_string:
                query = ItemsQuery.model_validate(dict(parse_qsl(query_string.decode("latin-1"), True)))
            return await items(_USER_ID.validate_python(user_id), query)
        except ValidationError as error:
            fault = error.errors()[0]
            return refusal(explain(fault if fault["loc"] else {**fault, "loc": ("user_id",)}))
        except (UnavailableError, StoreError) as error:
            return unavailable(error)

    app.add_middleware(_Shortcut, route=app.router.routes[-1], answer=answer)


class _Shortcut:
    """ASGI middleware that answers one route by itself: solving its dependencies takes longer than the lookup."""

    def __init__(self, app: ASGIApp, *, route: Any, answer: Callable[[str, bytes], Awaitable[Response]]) -> None:
        self._app = app
        self._route = route
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        user_id = _user_id(scope)
        if user_id is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = self._route
        response = await self._answer(user_id, scope["query_string"])
        await response(scope, receive, send)


def _user_id(scope: Scope) -> str | None:
    if scope["type"] != "http" or scope["method"] != "GET":
        return None
    path: str = scope["path"]
    if path.startswith(_START) and path.endswith(_END) and len(path) >= len(_START) + len(_END):
        return path[len(_START) : -len(_END)]
    return None
