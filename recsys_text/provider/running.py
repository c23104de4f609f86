"""How the tasks of all DAGs fail, are tried again, are told of and keep secrets. Knows Airflow; imports no step."""

import copy
import functools
import logging
import random
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from urllib.parse import unquote

from airflow.sdk import RetryPolicy, get_current_context
from airflow.sdk.definitions.retry_policy import RetryDecision
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, AirflowTaskTimeout
from airflow.sdk.log import mask_secret
from airflow.sdk.module_loading import import_string

from recsys_text.config import Settings
from recsys_text.errors import ConfigError, ContractError, LakeChanged

P = ParamSpec("P")
R = TypeVar("R")
Notify = Callable[[Any], None]

logger = logging.getLogger("recsys_text")

#: What templates find as `exception` where Airflow itself ended a task, and has none.
KILLED = "it was killed, lost its worker or never got one; see its log"

#: The key of the XCom in which a task that skipped keeps its reason; Airflow itself keeps it in the log alone.
SKIP_REASON = "skip_reason"

FIRST_DELAY = timedelta(seconds=30)
LONGEST_DELAY = timedelta(minutes=30)


def step(function: Callable[P, R]) -> Callable[P, R]:
    """Fails a task at once, without another try, where it meets a user's mistake: no retry would mend it.

    Where the task skips, its reason is kept as the XCom `SKIP_REASON`.
    """

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except LakeChanged:
            raise
        except (ConfigError, ContractError) as error:
            raise AirflowFailException(str(error)) from error
        except AirflowSkipException as skip:
            _keep_reason(str(skip))
            raise

    return guarded


def _keep_reason(reason: str) -> None:
    try:
        context = get_current_context()
    except RuntimeError:  # a step that is called outside a task has nowhere to keep it
        return
    context["ti"].xcom_push(SKIP_REASON, reason)


def skip_if_overtaken(function: Callable[P, dict[str, Any]]) -> Callable[P, dict[str, Any]]:
    """Skips a task that goes on with a plan of a lake that is no longer there, as no retry would mend that, either.

    The run that the new window starts publishes what is there now. It stands below `step`, which keeps the reason.
    """

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> dict[str, Any]:
        try:
            return function(*args, **kwargs)
        except LakeChanged as error:
            raise AirflowSkipException(str(error)) from error

    return guarded


def skip_if_another_waits(context: Mapping[str, Any]) -> None:
    """Skips where a later run of this DAG is queued already, which does for all that is there by then.

    The last run of all finds none that waits.
    """
    if context["ti"].get_dr_count(dag_id=context["dag"].dag_id, states=["queued"]):
        raise AirflowSkipException("another run of this DAG waits, and sees what this one would")


class Backoff(RetryPolicy):
    """Waits about twice as long after each failure, half of it by chance; a task that ran out of time has failed.

    Airflow's own jitter is the same for all mapped tasks of a run, which would come back to a store in one moment. It
    still counts where a task was killed and could not decide.
    """

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,
        max_tries: int,
        context: Any = None,
    ) -> RetryDecision:
        if isinstance(exception, AirflowTaskTimeout):
            return RetryDecision.fail("its time limit is many times what it takes, so it would run out again")
        longest = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (try_number - 1))
        return RetryDecision.retry(delay=longest * random.uniform(0.5, 1.0))  # noqa: S311 - no secret


def notifiers(settings: Settings, path: Path) -> list[Notify]:
    """A callback for each notifier that the config names, which may be called with one context after the other.

    Airflow's notifiers themselves may not: the first call renders their templates for good, and leaves their fields in
    the context. Where Airflow gives no `exception`, templates find `KILLED`. Raises ConfigError that names the file,
    the key and the class.
    """
    made = []
    for number, named in enumerate(settings.schedule.notify):
        place = f"{path}: schedule.notify[{number}]: class '{named.path}'"
        try:
            made.append(import_string(named.path)(**named.arguments))
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{place} cannot be imported: {error}") from error
        except Exception as error:
            raise ConfigError(f"{place} does not take these arguments: {error}") from error
        if not callable(made[-1]):
            raise ConfigError(f"{place} is no notifier: what it makes cannot be called with a context")
    return [_fresh_each_time(notifier) for notifier in made]


def _fresh_each_time(notifier: Notify) -> Notify:
    def tell(context: Mapping[str, Any]) -> None:
        copy.copy(notifier)({"exception": KILLED, **context})

    tell.__name__ = type(notifier).__name__  # Airflow's logs name a callback by it
    return tell


def notify(told: Sequence[Notify], context: Mapping[str, Any], message: str) -> bool:
    """Tells every notifier what is no failure of a task, such as an alert; templates find it as `exception`.

    One that fails is logged, and keeps nothing from the others. False where there are some and all failed.
    """
    heard = not told
    for one in told:
        try:
            one({**context, "exception": message})
        except Exception:
            logger.exception("A notifier failed, and does not tell: %s", message)
        else:
            heard = True
    return heard


def hide_secrets(settings: Settings) -> Callable[[Any], None]:
    """A callback before each task, that has Airflow hide the passwords of all addresses in whatever is logged."""

    def hide(context: Any) -> None:
        for secret in secrets(settings):
            mask_secret(secret)

    return hide


def secrets(settings: Settings) -> set[str]:
    """The passwords in the addresses of store, tracking and sources, as written there and as meant."""
    addresses = [settings.store.url, settings.tracking_uri]
    addresses += [text for _, source in settings.sources if source for text in (source.uri, source.path) if text]
    found = {
        secret
        for address in addresses
        for match in re.finditer(r"//[^/:@]*:(.*)@|[?&]\w*password=([^&]*)", address)
        if (secret := match[1] or match[2])
    }
    return found | {unquote(secret) for secret in found}
