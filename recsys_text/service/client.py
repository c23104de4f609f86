"""A client of the ranking service. Knows its HTTP interface; needs only the base install."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import quote

import httpx

from recsys_text.errors import ConfigError, UnavailableError

# Shorter than the 5 seconds after which the server closes an idle connection, so that a request
# never leaves on a connection that the server is just closing.
_IDLE_SECONDS = 3.0

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class RankRequest:
    """Which candidates to rank for whom, and how; each field means what the service's OpenAPI says of it."""

    user_id: str
    candidates: Sequence[str]
    k: int | None = None
    categories: Sequence[str] | None = None
    exclude: Sequence[str] = ()
    seen: bool = False
    diversity: float = 0.0
    explain: bool = False
    experiment: str | None = None


@dataclass(frozen=True, kw_only=True)
class ScoredItem:
    """One stored item: its calibrated click probability and what the text model alone says.

    `interest` is None for the popular items that an unknown user gets.
    """

    item_id: str
    score: float
    interest: float | None


@dataclass(frozen=True, kw_only=True)
class Like:
    """An item of the user's history and its cosine with a ranked one."""

    item_id: str
    title: str
    likeness: float


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Addends whose sum is the log odds of a score."""

    level: float
    interest: float
    popular: float


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The clicked items that are most like a ranked one, and the parts of its score where that is a match."""

    because: tuple[Like, ...]
    parts: Parts | None


@dataclass(frozen=True, kw_only=True)
class RankedItem:
    """One candidate; `source` is stored, match, popular or none, where `score` is None."""

    item_id: str
    score: float | None
    interest: float | None
    source: str
    explanation: Explanation | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What every answer tells: the version of the scores that it is made from, and their age in seconds.

    `impression_id` is that of its row in the service's log of impressions, None where it is in none.
    """

    user_id: str
    version: str
    as_of: datetime
    age_seconds: float
    known: bool
    impression_id: str | None


@dataclass(frozen=True, kw_only=True)
class UserItems(Answer):
    """A user's best items, best first. `known` is False where the scores do not hold the user at all."""

    items: tuple[ScoredItem, ...]


@dataclass(frozen=True, kw_only=True)
class Ranking(Answer):
    """The candidates that were kept: those with a score first, best first. `arm` is the user's in the experiment."""

    experiment: str | None
    arm: str | None
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

    def get_items(self, user_id: str, k: int = 10, *, fallback: Literal["popular"] | None = None) -> UserItems:
        """The k best items of a user.

        An unknown user is no error: `known` is False, and there are no items, or with `fallback` the popular ones.
        """
        params = {"k": k} if fallback is None else {"k": k, "fallback": fallback}
        return self._ask(_user_items, "GET", f"users/{_segment(user_id)}/items", also=404, params=params)

    def rank(
        self,
        user_id: str,
        candidates: Sequence[str],
        *,
        k: int | None = None,
        categories: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        seen: bool = False,
        diversity: float = 0.0,
        explain: bool = False,
        experiment: str | None = None,
    ) -> Ranking:
        """The candidates, those with a score first, best first; the others after them as they came."""
        request = RankRequest(
            user_id=user_id,
            candidates=candidates,
            k=k,
            categories=categories,
            exclude=exclude,
            seen=seen,
            diversity=diversity,
            explain=explain,
            experiment=experiment,
        )
        return self._ask(_ranking, "POST", "rank", json=asdict(request))

    def rank_batch(self, requests: Sequence[RankRequest]) -> tuple[Ranking, ...]:
        """One ranking for each request, in their order."""
        body = {"requests": [asdict(request) for request in requests]}
        return self._ask(_rankings, "POST", "rank/batch", json=body)

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
    trial = {name: body[name] for name in ("experiment", "arm")}
    return Ranking(**_answer(body), **trial, items=tuple(map(_ranked_item, body["items"])))


def _rankings(body: dict[str, Any]) -> tuple[Ranking, ...]:
    return tuple(map(_ranking, body["answers"]))


def _ranked_item(item: dict[str, Any]) -> RankedItem:
    explanation = item.pop("explanation", None)
    if explanation is not None:
        parts = explanation["parts"]
        explanation = Explanation(
            because=tuple(Like(**like) for like in explanation["because"]),
            parts=None if parts is None else Parts(**parts),
        )
    return RankedItem(**item, explanation=explanation)


def _readiness(body: dict[str, Any]) -> Readiness:
    return Readiness(ready=body["ready"], version=body["version"], reason=body["reason"])


def _answer(body: dict[str, Any]) -> dict[str, Any]:
    fields = {name: body[name] for name in ("user_id", "version", "age_seconds", "known")}
    fields["impression_id"] = body.get("impression_id")
    return fields | {"as_of": datetime.fromisoformat(body["as_of"])}
