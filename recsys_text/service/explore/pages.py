"""How a page is written: templates, style and headers. Knows no store and no route."""

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastapi import Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from recsys_text.service.answers import version_headers
from recsys_text.service.explore.texts import age, number, short, signed, size, when
from recsys_text.service.views import Served

_HERE = Path(__file__).parent
_STYLE = (_HERE / "style.css").read_text("utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

#: A page runs no script and loads nothing; with `no-referrer` a browser would not name the origin of its forms.
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


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


def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, signed=signed, age=age, when=when, size=size, short=short)
    # Escaped it would no longer be what the policy's checksum names.
    environment.globals["style"] = Markup(_STYLE)  # noqa: S704 - a file of our own
    return environment


_TEMPLATES = _templates()
