"""The explorer's paths: what each asks and which page answers. Knows no array and no ranking."""

import functools
from collections.abc import Callable
from typing import ParamSpec

from fastapi import APIRouter, Response

from feature_store import StoreError
from recsys_text.sections import Service
from recsys_text.service.explore import data
from recsys_text.service.explore.changes import add_sign_in, add_versions
from recsys_text.service.explore.sign_in import EXPLORE, SignIn
from recsys_text.service.explore.site import Site
from recsys_text.service.explore.versions import Versions
from recsys_text.service.views import Views

P = ParamSpec("P")

_NO_ITEMS = "No view 'item_vectors' is served, so that nothing is known of items."


def explore_routes(views: Views, settings: Service, sign_in: SignIn, store_url: str) -> APIRouter:
    """The routes over what is pinned; the guard has let in only who may see it."""
    router = APIRouter(include_in_schema=False)
    site = Site(views, sign_in)
    _add_lookups(router, site, settings)
    add_versions(router, site, Versions(store_url, views), sign_in)
    add_sign_in(router, site, sign_in)

    @router.get(EXPLORE + "/{path:path}")
    def nowhere(path: str) -> Response:
        return site.not_found(f"There is no page '{EXPLORE}/{path:.100}'.")

    return router


def _add_lookups(router: APIRouter, site: Site, settings: Service) -> None:
    def readable(page: Callable[P, Response]) -> Callable[P, Response]:
        """The page, or the one that says what the store could not give for it."""

        @functools.wraps(page)
        def told(*args: P.args, **kwargs: P.kwargs) -> Response:
            try:
                return page(*args, **kwargs)
            except StoreError as error:
                return site.not_found(f"The store cannot be read: {error}")

        return told

    @router.get(EXPLORE)
    @router.get(EXPLORE + "/")
    @readable
    def home() -> Response:
        pinned = site.pinned()
        return site.page("home.html", pinned, home=None if pinned is None else data.home(pinned))

    @router.get(EXPLORE + "/user")
    @readable
    def user(id: str = "") -> Response:  # noqa: A002 - the name of the field in the address
        user_id = site.asked("user id", id)
        if isinstance(user_id, Response):
            return user_id
        if (pinned := site.pinned()) is None:
            return site.not_found("No scores are served, so that no user is known.")
        shown = data.user(pinned, user_id, max_candidates=settings.max_candidates)
        return site.page("user.html", pinned, status=200 if shown.known else 404, user=shown)

    @router.get(EXPLORE + "/item")
    @readable
    def item(id: str = "") -> Response:  # noqa: A002 - likewise
        item_id = site.asked("item id", id)
        if isinstance(item_id, Response):
            return item_id
        pinned = site.pinned()
        if pinned is None or pinned.items is None:
            return site.not_found(_NO_ITEMS)
        shown = data.item(pinned.items, item_id)
        if shown is None:
            return site.not_found(f"No item '{item_id}' in version '{pinned.items.snapshot.info.version}' of items.")
        return site.page("item.html", pinned, item=shown)

    @router.get(EXPLORE + "/items")
    @readable
    def items(q: str = "") -> Response:
        text = site.asked("item id or title", q.strip())
        if isinstance(text, Response):
            return text
        pinned = site.pinned()
        if pinned is None or pinned.items is None:
            return site.not_found(_NO_ITEMS)
        lines, count = data.find(pinned.items, text)
        return site.page("items.html", pinned, text=text, lines=lines, count=count)
