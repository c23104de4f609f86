"""What pages have in common: their templates, and the policy that lets them load nothing. Knows no page."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_SHARED = Path(__file__).parent / "templates"


def security_headers(style: str, *, framed_by: str) -> dict[str, str]:
    """A page runs no script and loads nothing but `style`; with `no-referrer` a browser would not name the origin of
    its forms. framed_by: whom the policy lets frame it, such as 'none'.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; form-action 'self'; "
            f"base-uri 'none'; frame-ancestors '{framed_by}'"
        ),
        "Cache-Control": "no-store",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    }


def environment(folder: Path, style: str, filters: Mapping[str, Callable[..., Any]]) -> Environment:
    """The templates of a folder, and the frame around every page; all that is put into them is escaped."""
    made = Environment(
        loader=FileSystemLoader([folder, _SHARED]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(filters)
    # Escaped it would no longer be what the policy's checksum names.
    made.globals["style"] = Markup(style)  # noqa: S704 - a file of our own
    return made
