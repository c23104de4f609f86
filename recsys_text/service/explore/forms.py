"""The forms that pages send, and whose they are. Knows no page."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from fastapi import Request

_FIELDS = 10


async def posted(request: Request) -> Mapping[str, str] | None:
    """The fields of a form of ours; none where it cannot be read. None where another site's page sent it."""
    if not _is_ours(request):
        return None
    body = await request.body()
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS))
    except ValueError:
        return {}


def _is_ours(request: Request) -> bool:
    # Browsers say the first over HTTPS and on this machine; the second always with a form.
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None:
        return site in ("same-origin", "none")
    try:
        return origin is None or urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:
        return False
