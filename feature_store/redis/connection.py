"""How a Redis server is reached: its URL, its refusals as our errors, and whether it keeps what it holds."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from feature_store.errors import CorruptVersion, EvictingServer, InvalidInput, StoreUnavailable

DEFAULT_PREFIX = "fs:"
# A command is sent once more on a new connection, as the server may have been started anew since the last one.
_RETRIES, _RETRY_SECONDS = 1, 0.05
_TIMEOUTS: dict[str, Any] = {"socket_timeout": 5.0, "socket_connect_timeout": 2.0}
_ASYNC_SECONDS = 5.0
#: Answers of a server in cluster mode, among which redis-py counts that of a replica without its primary.
_CLUSTER = (
    redis.exceptions.AskError,
    redis.exceptions.ClusterCrossSlotError,
    redis.exceptions.ClusterDownError,
)
_RIGHTS = "CONFIG GET (`+config|get`) or INFO (`+info`)"


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server, its pool of connections and what is before each of our keys in it. `place` is free of secrets."""

    place: str
    prefix: str
    client: Any = field(repr=False)
    url: str = field(repr=False)

    def async_client(self) -> Any:
        """A client of its own for asyncio; whoever asks for it closes it."""
        retry = AsyncRetry(ConstantBackoff(_RETRY_SECONDS), _RETRIES)
        # `awaiting` keeps the time: redis-py's own timeout waits by asyncio.wait_for, which loses cancellations in
        # Python 3.11.
        return redis.asyncio.Redis.from_url(self.url, retry=retry, **_TIMEOUTS | {"socket_timeout": None})

    @contextmanager
    def reaching(self, action: str) -> Iterator[None]:
        """Turns what redis-py raises into StoreUnavailable with the place and the way out.

        A value of another type is CorruptVersion, a server in cluster mode InvalidInput; WatchError, which only says
        that another one was faster, passes.
        """
        try:
            yield
        except redis.WatchError:
            raise
        except redis.RedisError as error:
            if str(error).startswith("WRONGTYPE"):
                raise CorruptVersion(
                    f"a value in {self.place} is not of the type that was written; roll back to another version, "
                    "then delete this one and publish it again"
                ) from error
            if isinstance(error, _CLUSTER) and not isinstance(error, redis.exceptions.MasterDownError):
                raise InvalidInput(
                    f"cannot {action} {self.place}: {error}; it's a node of a Redis Cluster, and a version is swapped "
                    "in one transaction over keys that a cluster spreads; give the address of a server without "
                    "cluster mode, with replicas if need be"
                ) from error
            raise StoreUnavailable(f"cannot {action} {self.place}: {error}; {_way_out(error)}") from error

    @asynccontextmanager
    async def awaiting(self, action: str) -> AsyncIterator[None]:
        """As `reaching`, for asyncio, and StoreUnavailable where there's no answer in time."""
        with self.reaching(action):
            try:
                async with asyncio.timeout(_ASYNC_SECONDS):
                    yield
            except TimeoutError as error:
                raise redis.TimeoutError(f"no answer within {_ASYNC_SECONDS} s") from error

    def transaction(self) -> Any:
        return self.client.pipeline(transaction=True)

    def now(self) -> float:
        """Seconds since 1970 by the server's clock, which all publishers share."""
        with self.reaching("read the clock of"):
            seconds, microseconds = self.client.time()
        return float(seconds) + float(microseconds) / 1e6

    def refuse_eviction(self) -> None:
        """Raises EvictingServer where the server may drop rows by itself or doesn't say."""
        with self.reaching("ask for the maxmemory-policy of"):
            check_policy(self.place, _allowed(self._configured) or _allowed(self._informed))

    def _configured(self) -> Any:
        return self.client.config_get("maxmemory-policy").get("maxmemory-policy")

    def _informed(self) -> Any:
        return self.client.info("memory").get("maxmemory_policy")


def check_policy(place: str, policy: Any) -> None:
    """Raises EvictingServer for any policy but noeviction, and for None: the server doesn't say."""
    if policy is None:
        raise EvictingServer(
            f"{place} doesn't tell its maxmemory-policy, and an evicting server would lose users in silence; "
            f"allow this user {_RIGHTS}"
        )
    name = policy.decode() if isinstance(policy, bytes) else policy
    if name != "noeviction":
        raise EvictingServer(
            f"{place} has the maxmemory-policy '{name}' and would drop rows in silence when it's full; "
            "set `maxmemory-policy noeviction`, or take a server of its own for the store"
        )


def _allowed(ask: Any) -> Any:
    """The answer, or None where the user lacks the right or the server doesn't know the command."""
    try:
        return ask()
    except (redis.AuthenticationError, redis.OutOfMemoryError):
        raise
    except redis.ResponseError:
        return None


def connect(url: str, prefix: str | None = None) -> Server:
    """Reads a URL as redis-py takes it, with one more thing in its query: `prefix`. Reaches nothing yet.

    Raises InvalidInput, which never shows the URL's user, password or query.
    """
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        prefix = query.pop("prefix", DEFAULT_PREFIX) if prefix is None else prefix
        url = parts._replace(query=urlencode(query)).geturl()
        client = redis.Redis.from_url(url, retry=Retry(ConstantBackoff(_RETRY_SECONDS), _RETRIES), **_TIMEOUTS)
        options = client.connection_pool.connection_kwargs
        place = (
            f"{parts.scheme}://{options.get('host', 'localhost')}:{options.get('port', 6379)}/{options.get('db', 0)}"
        )
        client.connection_pool.connection_class(**options)  # connects to nothing, and knows its options
    except (ValueError, TypeError, redis.RedisError):
        # The cause may hold the password, so that it is not told.
        raise InvalidInput(
            "the URL of the Redis store isn't read; write it as 'redis://user:password@host:6379/0' or 'rediss://...', "
            "with a password's special letters as %XX and only options of redis-py after '?'"
        ) from None
    if options.get("decode_responses"):
        raise InvalidInput(f"{place}: rows are bytes, so the URL can't have decode_responses; take it out")
    return Server(place=place, prefix=prefix, client=client, url=url)


def _way_out(error: redis.RedisError) -> str:
    if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
        return "check the user and the password in the store's URL"
    if isinstance(error, redis.exceptions.NoPermissionError):
        return "let the server's administrator grant this user the command and the keys"
    if isinstance(error, redis.OutOfMemoryError):
        return "raise its maxmemory or prune old versions, and run again"
    if isinstance(error, redis.ReadOnlyError):
        return "it's a replica now; give the address of the primary, and run again"
    if isinstance(error, redis.exceptions.MasterDownError):
        return "it's a replica without its primary; bring that back or promote this one"
    return "start the server or check its address, and run again"
