"""A client of the ranking service. Knows its HTTP interface; needs only the base install."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx

from recsys_text.errors import ConfigError, UnavailableError

# Shorter than the 5 seconds after which the server closes an idle connection, so that a request
# never leaves on a connection that the server is just closing.
_IDLE_SECONDS = 3.0

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class ScoredItem:
    """One stored item: its calibrated click probability and what the text model alone says."""

    item_id: str
    score: float
    interest: float


@dataclass(frozen=True, kw_only=True)
class RankedItem:
    """One candidate; `score` and `interest` are None where the store holds none for this user."""

    item_id: str
    score: float | None
    interest: float | None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What every answer tells: the version of the scores that it is made from, and their age in seconds."""

    user_id: str
    version: str
    as_of: datetime
    age_seconds: float
    known: bool


@dataclass(frozen=True, kw_only=True)
class UserItems(Answer):
    """A user's best items, best first. `known` is False where the scores do not hold the user at all."""

    items: tuple[ScoredItem, ...]


@dataclass(frozen=True, kw_only=True)
class Ranking(Answer):
    """As many items as candidates were asked for: those with a score first, best first."""

    items: tuple[RankedItem, ...]


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """Whether the service serves scores: of which version, or else for what reason not."""

    ready: bool
    version: str | None
    reason: str | None


class RankingClient:
    """Asks one ranking service; safe to share between threads.

    url: where the service listens, such as http://127.0.0.1:8000. token: its bearer token, if it has
    one. timeout: seconds for each phase of a request.

    Every method raises UnavailableError where the service is out of reach, serves no scores yet, or
    does not answer as one; and ConfigError where it refuses the request or the token.
    """

    def __init__(self, url: str, token: str | None = None, timeout: float = 2.0) -> None:
        self._url = url
        try:
            self._http = httpx.Client(
                base_url=url,
                timeout=timeout,
                headers={"Authorization": f"Bearer {token}"} if token else {},
                limits=httpx.Limits(keepalive_expiry=_IDLE_SECONDS),
            )
        except httpx.InvalidURL as error:
            raise ConfigError(f"'{url}' is no address of a ranking service: {error}") from None

    def get_items(self, user_id: str, k: int = 10) -> UserItems:
        """The k best items of a user. An unknown user is no error: `known` is False and there are no items."""
        return self._ask(_user_items, "GET", f"users/{_segment(user_id)}/items", also=404, params={"k": k})

    def rank(self, user_id: str, candidates: Sequence[str]) -> Ranking:
        """The candidates, those with a stored score first, best first; the others after them as they came."""
        return self._ask(_ranking, "POST", "rank", json={"user_id": user_id, "candidates": list(candidates)})

    def ready(self) -> Readiness:
        """Whether scores are served; raises UnavailableError only where the service itself is out of reach."""
        return self._ask(_readiness, "GET", "ready", also=503)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(
        self, parse: Callable[[dict[str, Any]], T], method: str, path: str, also: int | None = None, **content: Any
    ) -> T:
        """The parsed answer of one request; `also` is a status beside 200 that carries such an answer too."""
        try:
            response = self._http.request(method, path, **content)
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError) as error:
            raise ConfigError(f"'{self._url}' is no address of a ranking service: {error}") from None
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise UnavailableError(f"the ranking service at {self._url} is out of reach: {why}") from None
        status = response.status_code
        try:
            body = response.json()
            if status in (200, also):
                return parse(body)
            reason = body["detail"]
        except (KeyError, TypeError, ValueError):
            raise UnavailableError(
                f"{self._url} does not answer as a ranking service: status {status} for {method} /{path}"
            ) from None
        failure = ConfigError if status < 500 else UnavailableError
        raise failure(f"the ranking service at {self._url} answered {status}: {reason}")


def _segment(user_id: str) -> str:
    # An HTTP client drops a path part of dots alone as a step up the path, unless the dots are escaped.
    return quote(user_id, safe="").replace(".", "%2E")


def _user_items(body: dict[str, Any]) -> UserItems:
    return UserItems(**_answer(body), items=tuple(ScoredItem(**item) for item in body["items"]))


def _ranking(body: dict[str, Any]) -> Ranking:
    return Ranking(**_answer(body), items=tuple(RankedItem(**item) for item in body["items"]))


def _readiness(body: dict[str, Any]) -> Readiness:
    return Readiness(ready=body["ready"], version=body["version"], reason=body["reason"])


def _answer(body: dict[str, Any]) -> dict[str, Any]:
    fields = {name: body[name] for name in ("user_id", "version", "age_seconds", "known")}
    return fields | {"as_of": datetime.fromisoformat(body["as_of"])}
