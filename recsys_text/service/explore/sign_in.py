"""Who sees the explorer: a browser that was given the token once. Knows no store."""

import hashlib
import hmac

from fastapi import Request, Response
from starlette.types import Scope

from recsys_text.service.explore.pages import render

EXPLORE = "/explore"
SIGN_IN_PATH = f"{EXPLORE}/sign-in"
COOKIE = "recsys_text_explorer"

_SIGNED = b"recsys-text explorer, signed in"


class SignIn:
    """The service's token as browsers prove it: once, for a cookie that is valid as long as the token is.

    The cookie is an HMAC of a fixed text, from which nobody learns the token; only the explorer's paths take it.
    """

    def __init__(self, token: str | None) -> None:
        self._token = None if token is None else token.encode()
        self._cookie = "" if self._token is None else hmac.new(self._token, _SIGNED, hashlib.sha256).hexdigest()

    @property
    def needed(self) -> bool:
        return self._token is not None

    def covers(self, path: str) -> bool:
        return path == EXPLORE or path.startswith(EXPLORE + "/")

    def admits(self, scope: Scope) -> bool:
        """Whether a request for a page comes from a browser that is signed in."""
        if not self.needed or not self.covers(scope["path"]):
            return False
        given = Request(scope).cookies.get(COOKIE, "")
        return hmac.compare_digest(given.encode(), self._cookie.encode())

    def is_token(self, given: str) -> bool:
        """False where the service has none, too."""
        return self._token is not None and hmac.compare_digest(given.strip().encode(), self._token)

    def page(self, to: str = EXPLORE, *, wrong: bool = False) -> Response:
        """The form that asks for the token, and nothing else; it leads to the page `to`."""
        return render("sign_in.html", status=401, headers={"WWW-Authenticate": "Bearer"}, to=to, wrong=wrong)

    def refusal(self, scope: Scope) -> Response:
        """What a browser gets for a page that it may not see yet."""
        if scope["method"] != "GET":
            return self.page()
        query = scope["query_string"].decode("latin-1")
        raw = scope.get("raw_path", b"").decode("latin-1") or EXPLORE
        return self.page(f"{raw}?{query}" if query else raw)

    def set_cookie(self, response: Response, *, secure: bool) -> None:
        response.set_cookie(COOKIE, self._cookie, path=EXPLORE, httponly=True, samesite="strict", secure=secure)

    def drop_cookie(self, response: Response) -> None:
        response.delete_cookie(COOKIE, path=EXPLORE, httponly=True, samesite="strict")


def local(to: str) -> str:
    """The page that a form asked to be led to, where it is one of the explorer's; else the first."""
    return to if to == EXPLORE or to.startswith((EXPLORE + "/", EXPLORE + "?")) else EXPLORE
