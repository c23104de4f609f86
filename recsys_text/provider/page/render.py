"""How the page is written: templates, style and headers. Knows no project."""

from pathlib import Path
from typing import Any

from fastapi.responses import HTMLResponse

from recsys_text.provider.page.charts import HEIGHT, WIDTH, plot, whisker
from recsys_text.service.explore.texts import age, number, signed, when
from recsys_text.service.explore.writing import environment, security_headers

_HERE = Path(__file__).parent
_STYLE = (_HERE / "style.css").read_text("utf-8")

#: Airflow alone frames the page.
HEADERS = security_headers(_STYLE, framed_by="self")


def render(name: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """The template `name` as an answer."""
    return HTMLResponse(_TEMPLATES.get_template(name).render(**values), status_code=status, headers=HEADERS)


def _signed(value: float) -> str:
    return signed(value, 4)


_TEMPLATES = environment(
    _HERE / "templates", _STYLE, {"number": number, "signed": _signed, "age": age, "when": when, "plot": plot}
)
_TEMPLATES.globals.update(whisker=whisker, plot_width=WIDTH, plot_height=HEIGHT)
