"""State: what a page shows of a project. Reads lake, store and registry, changes nothing, and waits for nobody.

What cannot be read is no error of the page: each part is there, or a line that says why not.
"""

import logging
import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Event, Lock, Thread
from typing import Generic, TypeVar

import polars as pl

from feature_store import StoreError, VersionInfo, shown_url
from recsys_text.config import Settings
from recsys_text.errors import RecsysTextError, UnavailableError
from recsys_text.lake.windows import DAY
from recsys_text.sqlite import sqlite_file
from recsys_text.steps.freshness import closed_before, last_deadline
from recsys_text.steps.inputs import VIEW, the_lake, the_store, tracker

T = TypeVar("T")

#: Windows of quality that are shown.
SHOWN = 90
#: A dead server of MLflow takes a minute to give up on.
PATIENCE_S = 5.0
#: MLflow takes seconds to import, and again to look through the tables of a SQLite file: it answers, but not at once.
START_S = 30.0
_SOURCES = ("events", "items", "impressions")
_ALONE = Lock()
_IMPORTED = Event()
_LOG = logging.getLogger("recsys_text")


@dataclass(frozen=True, kw_only=True)
class Part(Generic[T]):
    """What was read, or the `problem` in a line."""

    value: T | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The last window of a table of the lake; `windows` counts all of them, `rejected` has rows by broken rule."""

    name: str
    windows: int
    window: str
    rows: int
    rejected: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A registered version. `gain` in nDCG@10 has an interval, low to high, where the gate compared it."""

    version: str
    cutoff: str | None
    verdict: str | None
    gain: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Models:
    champion: Model | None = None
    challenger: Model | None = None


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What is served, none before the first publication, and the names of what a roll-back can serve, newest first."""

    served: VersionInfo | None
    others: Sequence[str]
    refused: Sequence[VersionInfo]
    before: str | None

    @property
    def as_of(self) -> datetime | None:
        return None if self.served is None else self.served.as_of


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """When the scores must speak of the time `wanted`: `at` has passed where they are `late`, else it is to come."""

    late: bool
    at: datetime
    wanted: datetime


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A metric of what was published, over one window, with its interval where it has one."""

    window: str
    version: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class State:
    """`quality`: of each metric over all users, its figures, the oldest window first."""

    name: str
    tables: Part[list[Table]]
    models: Part[Models]
    scores: Part[Scores]
    quality: Part[dict[str, list[Figure]]]


def state(settings: Settings) -> State:
    """The state of a project, in some hundredths of a second and the time that MLflow takes. Raises nothing.

    A server of MLflow is waited for PATIENCE_S; a SQLite file, and before this process has imported MLflow, START_S.
    """
    return State(
        name=settings.project.name,
        tables=tables(settings),
        models=models(settings),
        scores=scores(settings),
        quality=_part(lambda: _quality(settings)),
    )


def warm_up(several: Sequence[Settings]) -> Thread:
    """Imports MLflow and asks it of each project, in the background, so that the first who looks finds it ready."""

    def ask() -> None:
        import recsys_text.tracking  # noqa: F401, PLC0415 - MLflow, which takes seconds

        _IMPORTED.set()
        for settings in several:
            models(settings)

    thread = Thread(target=ask, name="recsys-text-warm-up", daemon=True)
    thread.start()
    return thread


def models(settings: Settings) -> Part[Models]:
    """The models that MLflow has. Raises nothing."""
    server = not settings.tracking_uri.startswith("sqlite:")
    patience = PATIENCE_S if server and _IMPORTED.is_set() else START_S
    return _part(lambda: _within(patience, settings, lambda: _models(settings)))


def tables(settings: Settings) -> Part[list[Table]]:
    """The tables of the lake that have a window. Raises nothing."""
    return _part(lambda: _tables(settings))


def scores(settings: Settings) -> Part[Scores]:
    """What is published. Raises nothing."""
    return _part(lambda: _scores(settings))


def deadline(due: timedelta | None, span: timedelta, as_of: datetime | None, now: datetime) -> Deadline | None:
    """How scores as of a time stand to the deadline of every day, `due` after midnight (UTC); None where there is none.

    By then the newest window, `span` long, that closed before it is to be served.
    """
    if due is None:
        return None
    last = last_deadline(now, due)
    for at in (last, last + DAY):
        wanted = closed_before(at, span)
        if as_of is None or as_of < wanted:
            return Deadline(late=at == last, at=at, wanted=wanted)
    return Deadline(late=False, at=at, wanted=wanted)


def _part(read: Callable[[], T]) -> Part[T]:
    try:
        return Part(value=read())
    except (RecsysTextError, StoreError, OSError) as error:
        return Part(problem=str(error))
    except Exception as error:
        # The rest of the page is worth more than an error in its place.
        _LOG.exception("A part of a project's state cannot be read")
        return Part(problem=f"This cannot be read ({type(error).__name__}); the log of this server says more.")


def _tables(settings: Settings) -> list[Table]:
    lake, found = the_lake(settings), []
    for name in _SOURCES:
        if keys := lake.keys(name):
            told = lake.manifest(name, keys[-1])
            found.append(
                Table(name=name, windows=len(keys), window=keys[-1], rows=told["rows"], rejected=dict(told["rejected"]))
            )
    return found


def _scores(settings: Settings) -> Scores:
    with the_store(settings) as store:
        versions, current = store.versions(VIEW), store.current(VIEW)
    served = next((info for info in versions if info.version == current), None)
    whole = [info for info in reversed(versions) if not info.problem and info.version != current]
    before = (info.version for info in whole if served is None or info.sequence < served.sequence)
    return Scores(
        served=served,
        others=[info.version for info in whole],
        refused=[info for info in reversed(versions) if info.refused],
        before=next(before, None),
    )


def _models(settings: Settings) -> Models:
    uri = settings.tracking_uri
    if (database := sqlite_file(uri)) is not None and not database.exists():
        return Models()  # MLflow would make the file
    registry = tracker(settings)
    from recsys_text.tracking import CHALLENGER, CHAMPION  # noqa: PLC0415 - as `tracker`

    _IMPORTED.set()

    def named(alias: str) -> Model | None:
        version = registry.version(alias)
        if version is None:
            return None
        tags = registry.tags(version)
        return Model(
            version=version,
            cutoff=tags.get("cutoff"),
            verdict=tags.get("gate.reason"),
            gain=_number(tags.get("gate.gain")),
            low=_number(tags.get("gate.low")),
            high=_number(tags.get("gate.high")),
        )

    return Models(champion=named(CHAMPION), challenger=named(CHALLENGER))


def _quality(settings: Settings) -> dict[str, list[Figure]]:
    lake = the_lake(settings)
    frame = lake.read("quality", lake.keys("quality")[-SHOWN:]).filter(pl.col("slice") == "all").sort("window")
    found: dict[str, list[Figure]] = {}
    for row in frame.select("metric", "window", "version", "value", "low", "high").iter_rows(named=True):
        found.setdefault(row.pop("metric"), []).append(Figure(**row))
    return found


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _within(seconds: float, settings: Settings, ask: Callable[[], T]) -> T:
    """What MLflow answers in time. Raises UnavailableError where it does not; the question then ends by itself.

    One question at a time: the address of MLflow is one for the whole process.
    """
    if not _ALONE.acquire(timeout=seconds):
        raise UnavailableError("MLflow has not answered a former question yet; look again in a moment")
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:
            answer.set_exception(error)
        finally:
            _ALONE.release()

    Thread(target=work, name="recsys-text-state", daemon=True).start()
    try:
        return answer.result(seconds)
    except TimeoutError:
        place = shown_url(settings.tracking_uri)
        raise UnavailableError(f"MLflow at {place} has not answered within {seconds:g} s; look again") from None
