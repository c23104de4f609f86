"""The explorer's forms that change something: roll-back, sign-in, sign-out. Knows no view's columns."""

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse

from feature_store import StoreError
from recsys_text.service.explore.forms import posted
from recsys_text.service.explore.pages import HEADERS
from recsys_text.service.explore.sign_in import EXPLORE, SIGN_IN_PATH, SignIn, local
from recsys_text.service.explore.site import Site
from recsys_text.service.explore.versions import Busy, Versions


def add_versions(router: APIRouter, site: Site, versions: Versions, sign_in: SignIn) -> None:
    def page(status: int = 200, **outcome: Any) -> Response:
        listed = versions.listed()
        choices, before = listed[0].choices()
        shown = {"listed": listed, "choices": choices, "before": before, "moves": None, "failure": None, **outcome}
        return site.page("versions.html", site.pinned(), status=status, **shown)

    @router.get(EXPLORE + "/versions")
    def show() -> Response:
        return page()

    @router.post(EXPLORE + "/versions")
    async def roll_back(request: Request) -> Response:
        form = await posted(request)
        if form is None:
            return site.foreign()
        return await run_in_threadpool(rolled_back, form.get("version", ""), form.get("token", ""))

    def rolled_back(version: str, token: str) -> Response:
        # Who is signed in, or on this machine, may look; only who has the token at hand may change anything.
        if not sign_in.needed:
            return page(403, failure="The service has no token: nothing was changed.")
        if not sign_in.is_token(token):
            return page(401, failure="That is not the token: nothing was changed.")
        try:
            return page(moves=versions.roll_back(version))
        except Busy:
            return page(409, failure="Another roll-back is under way: look again when it is done.")
        except StoreError as error:
            return page(409, failure=f"{error}. Below is what is served now.")


def add_sign_in(router: APIRouter, site: Site, sign_in: SignIn) -> None:
    @router.get(SIGN_IN_PATH)
    def ask(request: Request) -> Response:
        return sign_in.page() if sign_in.needed and not sign_in.admits(request.scope) else _lead(EXPLORE)

    @router.post(SIGN_IN_PATH)
    async def enter(request: Request) -> Response:
        form = await posted(request)
        if form is None:
            return sign_in.page()
        to = local(form.get("to", EXPLORE))
        if not sign_in.needed:
            return _lead(to)
        if not sign_in.is_token(form.get("token", "")):
            return sign_in.page(to, wrong=True)
        response = _lead(to)
        sign_in.set_cookie(response, secure=request.url.scheme == "https")
        return response

    @router.post(EXPLORE + "/sign-out")
    async def leave(request: Request) -> Response:
        if await posted(request) is None:
            return site.foreign()
        response = _lead(EXPLORE)
        sign_in.drop_cookie(response)
        return response


def _lead(to: str) -> Response:
    return RedirectResponse(to, status_code=303, headers=HEADERS)
