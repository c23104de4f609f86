"""What every request passes: time, host, token, size of the body, version header. Knows no route and no store."""

import functools
import hmac
import time
from collections.abc import Callable

from fastapi import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from recsys_text.service.explore.sign_in import SIGN_IN_PATH, SignIn

#: The one path that answers without the token: it tells no more than that the process lives.
OPEN_PATH = "/health"

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Guard:
    """ASGI middleware around every route.

    token: asked of every path but OPEN_PATH. None asks for none; then only those are answered who ask for this machine
    or `host` by name, and no page of another site whose name was made to lead here. sign_in: lets browsers, which
    cannot send a token, see the pages that it covers. max_body: bytes of a request's body, counted as they arrive,
    whatever Content-Length claims. stamp: adds headers to every answer to one who may see them. observe: told the
    scope, the status and the seconds of each answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        token: str | None,
        host: str,
        sign_in: SignIn,
        max_body: int,
        stamp: Callable[[list[tuple[bytes, bytes]]], None],
        observe: Callable[[Scope, int, float], None],
    ) -> None:
        self._app = app
        self._expected = None if token is None else token.encode()
        names = {f"[{name}]" if ":" in name else name.lower() for name in (*_LOOPBACK, host)}
        self._hosts = frozenset(name.encode() for name in names)
        self._sign_in = sign_in
        self._max_body = max_body
        self._stamp = stamp
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        authorized = self._authorized(scope)

        async def send_stamped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if authorized:
                    self._stamp(message["headers"])
            await send(message)

        try:
            refusal = self._refusal(scope, authorized or scope["path"] in (OPEN_PATH, SIGN_IN_PATH))
            if refusal is None:
                await self._app(scope, self._counted(receive), send_stamped)
            else:
                await refusal(scope, receive, send_stamped)
        finally:
            self._observe(scope, status, time.perf_counter() - started)

    def _refusal(self, scope: Scope, allowed: bool) -> Response | None:
        if not allowed and self._expected is None:
            detail = f"this service is not at {_host(_header(scope, b'host', b'')).decode('latin-1')!r:.80}: "
            return JSONResponse(
                {"detail": detail + "ask 127.0.0.1 or localhost, or give the service a token"}, status_code=421
            )
        if not allowed:
            if self._sign_in.covers(scope["path"]):
                return self._sign_in.refusal(scope)
            return JSONResponse(
                {"detail": "a valid bearer token is needed: send 'Authorization: Bearer TOKEN'"},
                status_code=401,
                headers={"WWW-Authenticate": "Bearer"},
            )
        # The server itself has refused a Content-Length that is no number.
        if int(_header(scope, b"content-length", b"0")) > self._max_body:
            return JSONResponse({"detail": self._too_large()}, status_code=413)
        return None

    def _authorized(self, scope: Scope) -> bool:
        if self._expected is None:
            return _host(_header(scope, b"host", b"")) in self._hosts
        scheme, _, given = _header(scope, b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), self._expected):
            return True
        return self._sign_in.admits(scope)

    def _counted(self, receive: Receive) -> Receive:
        """A body sent in chunks has no Content-Length; it is cut off where it passes the limit."""
        size = 0

        async def receive_counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_body:
                raise HTTPException(413, self._too_large())
            return message

        return receive_counted

    def _too_large(self) -> str:
        return f"the body of a request may have {self._max_body} bytes, and this one has more"


@functools.lru_cache(64)
def _host(given: bytes) -> bytes:
    """A host without its port, in small letters."""
    name, colon, _ = given.lower().rpartition(b":")
    return name if colon and not given.endswith(b"]") else given.lower()


def _header(scope: Scope, name: bytes, default: bytes) -> bytes:
    value: bytes
    for given, value in scope["headers"]:
        if given == name:
            return value
    return default
