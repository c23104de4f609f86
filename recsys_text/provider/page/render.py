"""How the page is written: templates, style and headers. Knows no project."""

import base64
import hashlib
from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from recsys_text.provider.page.charts import HEIGHT, WIDTH, plot, whisker
from recsys_text.service.explore.texts import age, number, when

_HERE = Path(__file__).parent
_STYLE = (_HERE / "style.css").read_text("utf-8")
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

#: The page runs no script, loads nothing, and is framed by Airflow alone.
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; img-src data:; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'self'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def render(name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """The template `name` as an answer."""
    return HTMLResponse(_TEMPLATES.get_template(name).render(**values), status_code=status, headers=HEADERS)


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−")


def _templates() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, signed=_signed, age=age, when=when, plot=plot)
    environment.globals.update(whisker=whisker, plot_width=WIDTH, plot_height=HEIGHT)
    # Escaped it would no longer be what the policy's checksum names.
    environment.globals["style"] = Markup(_STYLE)  # noqa: S704 - a file of our own
    return environment


_TEMPLATES = _templates()
