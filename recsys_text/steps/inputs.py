"""What every step opens: the lake's log as arrays, the tracker, the store, a bundle by name. Computes nothing."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from feature_store import (
    CorruptVersion,
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
from recsys_text.errors import ConfigError, ContractError, UnavailableError
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import Window, parse_window
from recsys_text.publications import ITEMS, SCORES, USERS
from recsys_text.ranking.log import Log, build_log
from recsys_text.ranking.logged import with_logged
from recsys_text.text.normalise import item_text

if TYPE_CHECKING:
    from recsys_text.tracking import Tracker

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


def windows_of(settings: Settings) -> list[Window]:
    """The windows of events in the lake, oldest first. Raises ContractError when there is none."""
    keys = Lake(settings.lake).keys("events")
    if not keys:
        raise ContractError(f"no window of events is in {settings.lake}; run `recsys-text extract` first")
    return [parse_window(key, settings.windows.span) for key in keys]


def inputs(
    settings: Settings, *, before: datetime | None = None, only: Mapping[str, Iterable[str]] | None = None
) -> Inputs:
    """Reads every window that ends at or before `before`, or all; or `only` these keys of each table.

    Raises ContractError when there is none.
    """
    lake = Lake(settings.lake)
    chosen = window_keys(settings, before=before) if only is None else {t: sorted(keys) for t, keys in only.items()}
    windows = [parse_window(key, settings.windows.span) for key in chosen["events"]]
    digests = {table: lake.digest(table, keys) for table, keys in chosen.items()}
    items = lake.items(chosen["items"])
    log = build_log(items, lake.read("events", chosen["events"]))
    shown = lake.read("impressions", chosen.get("impressions", []))
    source = settings.sources.impressions
    log = with_logged(log, shown, settle=(source and source.clicks_within) or timedelta())
    return Inputs(log=log, texts=item_text(items).to_list(), items=items, windows=windows, digests=digests)


def lake_state(settings: Settings, *, before: datetime | None = None) -> tuple[list[Window], dict[str, str]]:
    """The windows that `inputs` would read, and for each table a digest of what they hold."""
    lake, chosen = Lake(settings.lake), window_keys(settings, before=before)
    windows = [parse_window(key, settings.windows.span) for key in chosen["events"]]
    return windows, {table: lake.digest(table, keys) for table, keys in chosen.items()}


def window_keys(settings: Settings, *, before: datetime | None = None) -> dict[str, list[str]]:
    """The keys of the windows of each table that `inputs` would read. Raises as it does."""
    lake = Lake(settings.lake)
    windows = [window for window in windows_of(settings) if before is None or window.end <= before]
    if not windows:
        raise ContractError(f"no window of events before {before:%Y-%m-%dT%H:%MZ} is there; extract older windows")
    keys = [window.key for window in windows]
    shown = sorted(set(lake.keys("impressions")) & set(keys))
    items = [key for key in lake.keys("items") if key <= keys[-1]]
    return {"items": items, "events": keys} | ({"impressions": shown} if shown else {})


def check_unchanged(settings: Settings, plan: Mapping[str, Any]) -> None:
    """Raises ContractError where the lake is no longer what a publication's plan was made of."""
    if lake_state(settings, before=datetime.fromisoformat(plan["as_of"]))[1] != plan["digests"]:
        raise ContractError("the lake changed while it was scored; publish again")


def tracker(settings: Settings) -> "Tracker":
    from recsys_text.tracking import Tracker  # noqa: PLC0415 - MLflow takes seconds to import; only steps that track wait

    return Tracker(settings.tracking_uri, settings.project.name, settings.project.root)


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
    """The feature store; its errors become ours: a wrong name or version, data that breaks a promise, out of reach."""
    try:
        yield open_store(settings.store_url)
    except (InvalidInput, UnknownVersion, VersionExists, VersionServed) as error:
        raise ConfigError(str(error)) from error
    except (CorruptVersion, IncompleteVersion, OlderVersion, RefusedVersion) as error:
        raise ContractError(str(error)) from error
    except StoreError as error:
        raise UnavailableError(str(error)) from error
