"""What all pages share: the version that one is made from, its frame, and its refusals. Knows no path."""

from typing import Any

from fastapi import Response
from pydantic import TypeAdapter, ValidationError

from recsys_text.errors import UnavailableError
from recsys_text.service import schemas
from recsys_text.service.answers import explain
from recsys_text.service.explore.pages import render
from recsys_text.service.explore.sign_in import SignIn
from recsys_text.service.views import Pinned, Views

_ID: TypeAdapter[str] = TypeAdapter(schemas.Id)


class Site:
    """Pages over the views, for who may see them."""

    def __init__(self, views: Views, sign_in: SignIn) -> None:
        self._views = views
        self._sign_in = sign_in

    def pinned(self) -> Pinned | None:
        """None while no scores are served."""
        try:
            return self._views.pinned()
        except UnavailableError:
            return None

    def page(self, name: str, pinned: Pinned | None, *, status: int = 200, **values: Any) -> Response:
        """The template `name`, which says of which version it is."""
        served = None if pinned is None else pinned.served
        problem, has_token = self._views.problem, self._sign_in.needed
        return render(name, served=served, status=status, problem=problem, has_token=has_token, **values)

    def not_found(self, text: str) -> Response:
        return self._message("Not found", text, 404)

    def foreign(self) -> Response:
        """To a form that another site's page sent."""
        return self._message("Refused", "The form came from a page of another site: nothing was changed.", 403)

    def asked(self, name: str, given: str) -> str | Response:
        """The id or words that a search gives, or the page that says what is wrong with them."""
        try:
            return _ID.validate_python(given)
        except ValidationError as error:
            return self._message("Not found", explain({**error.errors()[0], "loc": (name,)}), 422)

    def _message(self, heading: str, text: str, status: int) -> Response:
        return self.page("message.html", self.pinned(), status=status, heading=heading, text=text)
