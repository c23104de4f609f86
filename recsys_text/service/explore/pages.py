"""How a page is written: templates, style and headers. Knows no store and no route."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import Response
from fastapi.responses import HTMLResponse

from recsys_text.service.answers import version_headers
from recsys_text.service.explore.texts import age, number, short, signed, size, when
from recsys_text.service.explore.writing import environment, security_headers
from recsys_text.service.views import Served

_HERE = Path(__file__).parent
_STYLE = (_HERE / "style.css").read_text("utf-8")

HEADERS = security_headers(_STYLE, framed_by="none") | {"Cross-Origin-Opener-Policy": "same-origin"}


def render(
    name: str,
    *,
    served: Served | None = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **values: Any,
) -> Response:
    """The template `name` as an answer; with `served`, its headers name that version."""
    text = _TEMPLATES.get_template(name).render(served=served, **values)
    response = HTMLResponse(text, status_code=status, headers={**HEADERS, **(headers or {})})
    if served is not None:
        response.raw_headers += version_headers(served)
    return response


_TEMPLATES = environment(
    _HERE / "templates",
    _STYLE,
    {"number": number, "signed": signed, "age": age, "when": when, "size": size, "short": short},
)
