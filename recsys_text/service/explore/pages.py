"""How a page is written: templates, style, numbers and headers. Knows no store and no route."""

import base64
import hashlib
import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from fastapi import Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from recsys_text.service.answers import version_headers
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

_TITLE_LENGTH = 120
_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))
_SIZES = ("B", "kB", "MB", "GB", "TB")


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


def number(value: float | None, digits: int = 4) -> str:
    """A number with so many digits after the point; a dash where there is none, or none that is finite."""
    return f"{value:.{digits}f}".replace("-", "−") if value is not None and math.isfinite(value) else "–"


def signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def age(seconds: float) -> str:
    """The two largest units of a time span, such as '3 d 4 h'."""
    left = int(seconds)
    said: list[str] = []
    for size, unit in _UNITS:
        count, left = divmod(left, size)
        if count or said:
            said.append(f"{count} {unit}")
    return " ".join(said[:2]) or f"{left} s"


def when(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


def size(count: int) -> str:
    power = 0
    while power < len(_SIZES) - 1 and count >= 1000 ** (power + 1):
        power += 1
    return f"{count / 1000**power:.{min(1, power)}f} {_SIZES[power]}"


def short(text: str, length: int = _TITLE_LENGTH) -> str:
    """A title or an id as lists show it: no list grows large by its texts."""
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


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
