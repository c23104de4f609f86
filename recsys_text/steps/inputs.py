"""What every step opens: the lake's log as arrays, the tracker, the store, a bundle by name. Computes nothing."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from feature_store import (
    CorruptVersion,
    ForeignStore,
    IncompleteVersion,
    InvalidInput,
    OlderVersion,
    RefusedVersion,
    Store,
    StoreError,
    UnknownVersion,
    VersionExists,
    VersionServed,
    open_store,
)
from recsys_text.config import Settings
from recsys_text.errors import ConfigError, ContractError, LakeChanged, UnavailableError
from recsys_text.lake.folders import content
from recsys_text.lake.result import shortened
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import Window, known_until, parse_window, window_key, window_of
from recsys_text.publications import ITEMS, SCORES, USERS
from recsys_text.ranking.log import EVENT_COLUMNS, Log, build_log
from recsys_text.ranking.logged import with_logged
from recsys_text.text.normalise import item_text

if TYPE_CHECKING:
    from recsys_text.tracking import Tracker

logger = getLogger("recsys_text")

VIEW, ITEM_VECTORS, USER_VECTORS = SCORES, ITEMS, USERS
#: The part of a version that holds all items.
ITEM_PART = "items"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The lake's windows as a log; `texts` has the text of each item of `log.item_ids`, `items` its row."""

    log: Log
    texts: list[str]
    items: pl.DataFrame
    windows: list[Window]
    digests: dict[str, str]

    @property
    def spans(self) -> list[tuple[datetime, datetime]]:
        """The start and the end of each window."""
        return [(window.start, window.end) for window in self.windows]


def the_lake(settings: Settings) -> Lake:
    """The project's lake. Raises ConfigError where another project has written it."""
    return Lake(settings.lake, project=settings.project.name)


def windows_of(settings: Settings) -> list[Window]:
    """The windows of events in the lake, oldest first. Raises ContractError when there is none."""
    keys = the_lake(settings).keys("events")
    if not keys:
        raise ContractError(f"no window of events is in {settings.lake}; run `recsys-text extract` first")
    try:
        return [parse_window(key, settings.windows.span) for key in keys]
    except ConfigError as error:
        raise ConfigError(
            f"the windows of the lake at {settings.lake} are not of the windows.length that is configured: {error}; "
            "set it back, or give another project.root"
        ) from None


def with_events(settings: Settings) -> list[Window]:
    """The windows of the lake up to the newest one with events, oldest first; those behind it are named in the log.

    Where no window has events, all of them. Raises ContractError when there is none.
    """
    windows, lake = windows_of(settings), the_lake(settings)
    filled = next((n for n in range(len(windows), 0, -1) if lake.manifest("events", windows[n - 1].key)["rows"]), 0)
    if 0 < filled < len(windows):
        skipped = shortened([window.key for window in windows[filled:]])
        logger.warning("no events are in the newest windows %s; those before them are taken", skipped)
    return windows[:filled] or windows


@dataclass(frozen=True, kw_only=True)
class LakeState:
    """What a step reads: the windows that have ended, oldest first, and for each table its keys and their digest.

    All before `as_of` is known: the end of the last window, or a time within the next where what is known of that is
    read too.
    """

    windows: list[Window]
    as_of: datetime
    keys: dict[str, list[str]]
    digests: dict[str, str]


def inputs(
    settings: Settings,
    *,
    before: datetime | None = None,
    with_open: bool = False,
    only: Mapping[str, Iterable[str]] | None = None,
) -> Inputs:
    """Reads what `lake_state` names, or `only` these keys of each table. Raises ContractError where no window is."""
    lake = the_lake(settings)
    if only is None:
        state = lake_state(settings, before=before, with_open=with_open)
    else:
        keys = {table: sorted(only.get(table, ())) for table in ("items", "events", "impressions")}
        windows = [parse_window(key, settings.windows.span) for key in keys["events"]]
        state = _state(lake, windows, windows[-1].end, keys)
    items = lake.items(state.keys["items"], grace=settings.sources.items.grace)
    log = build_log(
        items,
        lake.read("events", state.keys["events"], columns=EVENT_COLUMNS),
        positive=settings.sources.events.positive,
    )
    log = with_logged(log, lake.read("impressions", state.keys["impressions"]), settle=settle(settings))
    return Inputs(log=log, texts=item_text(items).to_list(), items=items, windows=state.windows, digests=state.digests)


def settle(settings: Settings) -> timedelta:
    """How long after it was shown an impression may be clicked; none where the clicks came with it."""
    source = settings.sources.impressions
    return (source and source.clicks_within) or timedelta()


def lake_state(settings: Settings, *, before: datetime | None = None, with_open: bool = False) -> LakeState:
    """Every window that ends at or before `before`, or all; `with_open` also what is known of the one that follows.

    A state of that in which nothing is new is left out of the keys, as it says nothing. Raises ContractError when
    there is no window.
    """
    lake = the_lake(settings)
    windows = [window for window in windows_of(settings) if before is None or window.end <= before]
    if not windows:
        raise ContractError(f"no window of events before {before:%Y-%m-%dT%H:%MZ} is there; extract older windows")
    events, as_of = [window.key for window in windows], windows[-1].end
    keys = {
        "items": [key for key in lake.keys("items") if key <= events[-1]],
        "events": events,
        "impressions": sorted(set(lake.keys("impressions")) & set(events)),
    }
    if with_open and (state := _open_state(settings, lake, as_of, before)) is not None:
        as_of = known_until(state)
        for table, known in keys.items():
            keys[table] = [*known, state] if _is_news(lake, table, known, state) else known
    return _state(lake, windows, as_of, keys)


def _state(lake: Lake, windows: list[Window], as_of: datetime, keys: dict[str, list[str]]) -> LakeState:
    digests = {table: lake.digest(table, known) for table, known in keys.items() if known or table != "impressions"}
    return LakeState(windows=windows, as_of=as_of, keys=keys, digests=digests)


def _open_state(settings: Settings, lake: Lake, start: datetime, before: datetime | None) -> str | None:
    """The newest state, whole in all tables, of the window that follows the last that has ended."""
    tables = [table for table, source in settings.sources if source is not None]
    whole = set.intersection(*(set(lake.open_keys(table)) for table in tables))
    follows = window_of(start, settings.windows.span).key
    states = [key for key in whole if window_key(key) == follows and (before is None or known_until(key) <= before)]
    return max(states, default=None)


def _is_news(lake: Lake, table: str, known: list[str], state: str) -> bool:
    """Whether a state has rows that are not those of the window before it, as a snapshot of the items mostly has."""
    if state not in lake.open_keys(table):
        return False
    rows = content(lake.manifest(table, state))
    return bool(rows) and (not known or rows != content(lake.manifest(table, known[-1])))


def check_unchanged(settings: Settings, plan: Mapping[str, Any]) -> None:
    """Raises LakeChanged where the lake is no longer what a publication's plan was made of."""
    as_of = datetime.fromisoformat(plan["as_of"])
    if lake_state(settings, before=as_of, with_open=True).digests != plan["digests"]:
        raise LakeChanged("the lake changed while it was scored; publish again")


def tracker(settings: Settings) -> "Tracker":
    from recsys_text.tracking import Tracker  # noqa: PLC0415 - MLflow takes seconds to import; only steps that track wait

    return Tracker(settings.tracking_uri, settings.project.name, settings.project.root)


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A registered bundle. `version` is for people: only the run that made it tells it from those of all registries."""

    version: str
    run_id: str
    folder: Path


def registered(settings: Settings, name: str) -> Registered:
    """The bundle that is champion, challenger or has a version's number. Raises ConfigError where there is none."""
    version, folder = bundle_path(settings, name)
    return Registered(version=version, run_id=tracker(settings).run_id(version), folder=folder)


def registered_by(settings: Settings, run_id: str) -> Registered:
    """The bundle that a run made. Raises ConfigError where the registry has none."""
    registry = tracker(settings)
    version = registry.version_of(run_id)
    return Registered(version=version, run_id=run_id, folder=registry.bundle(version))


def bundle_path(settings: Settings, name: str) -> tuple[str, Path]:
    """The version and folder of a bundle: champion, challenger, a version's number, or a folder.

    Raises ConfigError where there is no such bundle.
    """
    if (Path(name) / "bundle.json").exists():
        return name, Path(name)
    registry = tracker(settings)
    if name.isdecimal():
        return name, registry.bundle(name)
    version = registry.version(name) if name in ("champion", "challenger") else None
    if version is None:
        raise ConfigError(
            f"there is no model '{name}' of project '{settings.project.name}'; `recsys-text train` makes one"
        )
    return version, registry.bundle(version)


def write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """Raises as `write_whole` does."""
    write_whole(path, frame.write_parquet)


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Writes beside the name and renames. Raises UnavailableError where the folder is read-only or the disk full."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        partial.replace(path)
    except OSError as error:
        raise UnavailableError(f"cannot write {path}: {error}; give another place or make room") from error
    finally:
        with suppress(OSError):
            partial.unlink()


def part_name(bucket: int) -> str:
    """The part of a version that holds the users of a bucket."""
    return f"bucket-{bucket:05d}"


@contextmanager
def the_store(settings: Settings) -> Iterator[Store]:
    """The project's feature store. Its errors become ours: another project's store, a wrong name or version, data that
    breaks a promise, out of reach.
    """
    try:
        yield open_store(settings.store_url, owner=settings.project.name)
    except (ForeignStore, InvalidInput, UnknownVersion, VersionExists, VersionServed) as error:
        raise ConfigError(str(error)) from error
    except (CorruptVersion, IncompleteVersion, OlderVersion, RefusedVersion) as error:
        raise ContractError(str(error)) from error
    except StoreError as error:
        raise UnavailableError(str(error)) from error
