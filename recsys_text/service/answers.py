"""How answers are written: JSON, and the version of the scores in body and headers. Knows no route."""

from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError

from recsys_text.service import schemas
from recsys_text.service.views import Served

RETRY = {"Retry-After": "1"}
VERSION_HEADER = b"x-scores-version"

RawHeaders = list[tuple[bytes, bytes]]

PROBLEMS: dict[int | str, dict[str, Any]] = {
    401: {"model": schemas.Problem, "description": "No valid token; asked for only where the service has one"},
    421: {"model": schemas.Problem, "description": "A foreign host; only asked where the service has no token"},
    422: {"model": schemas.Problem, "description": "The request breaks a rule or a bound, named in one line"},
    503: {"model": schemas.Problem, "description": "No scores are served; the reason in one line"},
}
BODY_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": schemas.Problem, "description": "The body cannot be read"},
    413: {"model": schemas.Problem, "description": "The body has too many bytes"},
}


def about(served: Served) -> dict[str, Any]:
    """The fields of `schemas.Answer` that say of which scores an answer is made."""
    return {"version": served.version, "as_of": served.as_of_text, "age_seconds": served.age_seconds}


def version_headers(served: Served) -> RawHeaders:
    return [(VERSION_HEADER, served.version.encode("latin-1")), (b"x-scores-age", b"%d" % served.age_seconds)]


def json_response(
    body: Mapping[str, Any],
    *,
    served: Served | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The body as JSON; a number that is not finite is null in it. With `served`, the headers name its version."""
    # Written here, since FastAPI would validate once more what was just built.
    response = Response(orjson.dumps(body), status_code=status, headers=headers, media_type="application/json")
    if served is not None:
        response.raw_headers += version_headers(served)
    return response


def unavailable(error: Exception) -> Response:
    return json_response({"detail": str(error)}, status=503, headers=RETRY)


async def handle_unavailable(request: Request, error: Exception) -> Response:
    return unavailable(error)


async def handle_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if isinstance(error.body, bytes):
        return refusal("send the body as JSON, with 'Content-Type: application/json'")
    return refusal(explain(error.errors()[0], skip=1))


def refusal(detail: str) -> Response:
    return json_response({"detail": detail}, status=422)


def explain(fault: Mapping[str, Any], *, skip: int = 0) -> str:
    """One line for a fault: where it is, without the first `skip` steps to it, what is wrong, and the value."""
    if fault["type"] == "json_invalid":
        return f"the body is no JSON: {fault['ctx']['error']} at character {fault['loc'][-1]}"
    where = ".".join(str(part) for part in fault["loc"][skip:]) or "the body"
    value = fault["input"]
    got = f", got {value!r:.80}" if isinstance(value, str | int | float) else ""
    return f"{where}: {fault['msg'].removeprefix('Value error, ')}{got}"
