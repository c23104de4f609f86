"""The lake: windows of tables as Parquet, replaced atomically. With `folders` alone knows its paths; knows no sources.

A window is a folder `<table>/window=<key>/`. Its `_manifest.json` alone says which parts belong to it
and is replaced last, in one step, so that a reader sees the former window or the new one and nothing
between. Parts are named by their content, so the parts of two versions never share a name. What is known of a window
before it has ended lies beside it, under a key of its own, and whoever asks for `keys` never sees it.
"""

import fcntl
import hashlib
import io
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import polars as pl

from recsys_text.errors import ContractError, UnavailableError
from recsys_text.lake import folders
from recsys_text.lake.disk import locked, sync
from recsys_text.lake.enforce import TIME_COLUMN, describe_offender, judge, settle
from recsys_text.lake.newest import Seen, Versions, newest_items
from recsys_text.lake.result import RefusedEmpty, WriteResult, check_result
from recsys_text.lake.spill import in_order, microseconds, write_bytes
from recsys_text.lake.windows import Window, is_open_key, open_key, start_of, window_key
from recsys_text.tables import OFFENDER, RULE, SCHEMA_VERSION, TABLES
from recsys_text.threads import processors

_LOCK = ".lock"
_SNAPSHOT = "snapshot"
_ROW_GROUP = 131_072


@dataclass(frozen=True, kw_only=True)
class About:
    """What holds for all windows of one writing.

    source: where the rows come from, in words. until: when the window, which has not ended, was looked at.
    allow_empty: whether a window that had rows may become one without any.
    """

    source: str
    max_rejected: float
    min_rows: int
    until: datetime | None = None
    allow_empty: bool = False

    def key_of(self, window: Window) -> str:
        return window.key if self.until is None else open_key(window, self.until)


@dataclass(frozen=True, kw_only=True)
class _Staged:
    """A window whose parts lie in the scratch folder."""

    window: Window
    key: str
    manifest: dict[str, Any]
    result: WriteResult


class Lake:
    """Tables of windows under one folder. Any Parquet reader can read the parts.

    A lake belongs to the `project` that first wrote it. Raises ConfigError for that of another project.
    """

    def __init__(self, root: Path, project: str | None = None) -> None:
        self.root = root
        self._project = project
        if project is not None:
            folders.check_owner(root, project)

    def write(
        self,
        table: str,
        window: Window,
        frames: Iterable[pl.DataFrame],
        *,
        source: str,
        max_rejected: float,
        min_rows: int,
        until: datetime | None = None,
    ) -> WriteResult:
        """Replaces a window by the rows of `frames`, in any order; the same rows give the same bytes.

        `until` is given for a window that has not ended: what is known of it until then, beside what was known before,
        and nothing where the window is there as a whole.
        Raises ContractError, and keeps the former window, when more than the share `max_rejected` of the
        rows break the contract or fewer than `min_rows` are left; UnavailableError when the lake's disk
        is full, read-only or gone.
        """
        about = About(source=source, max_rejected=max_rejected, min_rows=min_rows, until=until, allow_empty=True)
        judged = (judge(table, frame) for frame in frames)
        return self.write_windows(table, [(window, judged)], about)[window.key]

    def write_windows(
        self,
        table: str,
        windows: Iterable[tuple[Window, Iterable[pl.DataFrame]]],
        about: About,
        *,
        timeless: pl.DataFrame | None = None,
    ) -> dict[str, WriteResult]:
        """Replaces several windows by rows that `enforce.judge` has told of, each as a whole; by window key.

        They are read and written side by side: their rows, or a piece of each, must fit into memory together.
        timeless: rejected rows of the source that belong to no window; they are kept once for all of these windows.
        Raises as `write` does, and RefusedEmpty for the windows that would lose all their rows, where `about` does not
        allow that; the other windows are written.
        """
        staged: list[_Staged] = []
        refused: dict[str, int] = {}
        with self.scratch() as scratch:
            shared: dict[str, Any] = {}
            if timeless is not None and timeless.height:
                parts = [self._stage_part(scratch, f"{folders.SHARED_PART}{folders.REJECTED}/rows", timeless)]
                shared = {"timeless": _counts(timeless), "timeless_parts": parts}
            try:
                with ThreadPoolExecutor(processors()) as pool:
                    ready = pool.map(lambda given: self._stage(table, given[0], given[1], about, scratch), windows)
                    for one in ready:
                        if lost := self._lost(table, one.window, one, about):
                            refused[one.window.key] = lost
                        else:
                            one.manifest.update(shared)
                            staged.append(one)
            except ContractError:
                self._commit(table, scratch, staged)  # those before one that is refused are whole, and stand
                raise
            changed = self._commit(table, scratch, staged)
        if refused:
            raise RefusedEmpty(table, refused, about.source)
        return {one.window.key: replace(one.result, changed=changed[one.key]) for one in staged}

    def write_snapshot(
        self, windows: Sequence[Window], frames: Iterable[pl.DataFrame], about: About
    ) -> dict[str, WriteResult]:
        """Replaces these windows of items by one snapshot, which they share; by window key.

        frames: all items there are, in the contract's columns; `updated_at` may be null. A window shows those that were
        published before its end, or at no known time. Raises as `write_windows` does, for all windows or none.
        """
        judged = [judge("items", frame, snapshot=True) for frame in frames]
        checked = settle("items", pl.concat(judged) if judged else _no_items())
        # What a window shows is a beginning of these rows, so that a number says which.
        rows = checked.rows.sort("published_at", "item_id", nulls_last=False)
        rejected = _counts(checked.rejected)
        result = WriteResult(
            rows=rows.height, rejected=rejected, duplicates=checked.duplicates, conflicts=checked.conflicts
        )
        ordered = sorted(windows)
        check_result(
            "items",
            result,
            _offenders(checked.rejected),
            max_rejected=about.max_rejected,
            min_rows=about.min_rows,
            replaces=any(folders.former(self.root / "items", about.key_of(window)) for window in ordered),
        )
        refused: dict[str, int] = {}
        staged: list[_Staged] = []
        with self.scratch() as scratch:
            parts = [self._stage_part(scratch, f"{folders.SHARED_PART}part", rows)] if rows.height else []
            broken = (
                [self._stage_part(scratch, f"{folders.SHARED_PART}{folders.REJECTED}/rows", checked.rejected)]
                if checked.rejected.height
                else []
            )
            published = rows["published_at"].dt.epoch("us").drop_nulls().to_numpy()
            hasher, hashed = hashlib.sha256(), 0
            for window in ordered:
                end = about.until or window.end
                shown = rows["published_at"].null_count() + int(published.searchsorted(microseconds(end)))
                for piece in rows.slice(hashed, shown - hashed).iter_slices(_ROW_GROUP):
                    hasher.update(piece.write_ndjson().encode())
                hashed = shown
                one = replace(result, rows=shown)
                manifest = self._manifest("items", window, one, about)
                manifest |= {"parts": parts, "rejected_parts": broken, "feed": _SNAPSHOT}
                manifest |= {"content": [hasher.hexdigest()] if shown else []}
                staged.append(_Staged(window=window, key=about.key_of(window), manifest=manifest, result=one))
                if lost := self._lost("items", window, staged[-1], about):
                    refused[window.key] = lost
            if refused:
                raise RefusedEmpty("items", refused, about.source)
            changed = self._commit("items", scratch, staged)
        return {one.window.key: replace(one.result, changed=changed[one.key]) for one in staged}

    def keys(self, table: str) -> list[str]:
        """The windows of a table that have ended and exist, oldest first."""
        return folders.closed_keys(self.root / table)

    def open_keys(self, table: str) -> list[str]:
        """What is known of windows that have not ended, the newest state last: keys as any other to read by."""
        return folders.open_keys(self.root / table)

    def forget(self, table: str, open_key: str) -> None:
        """Removes a state of a window that has not ended."""
        with self._locked():
            folders.remove(self.root / table, open_key)

    def manifest(self, table: str, key: str) -> dict[str, Any]:
        """What a window holds. Raises ConfigError for a window that is not there, ContractError for one that is damaged
        or was written in another schema version.
        """
        return folders.read_manifest(self.root / table, key)

    def scan(self, table: str, keys: Sequence[str] | None = None) -> pl.LazyFrame:
        """The contract's columns of some windows (None: all) and, as text, the `window` of each row.

        A writer takes away the parts that it replaces, so collect at once, or `read` where one may run.
        Raises as `manifest` does, and ContractError for a part that is gone or not as long as it was.
        """
        types = pl.Schema(TABLES[table])
        frames, paths = [], []
        for key in self.keys(table) if keys is None else keys:
            manifest = self.manifest(table, key)
            found = list(self._parts(table, key, manifest))
            if manifest.get("feed") == _SNAPSHOT:
                frames += [_shown(path, key, manifest["rows"]) for path in found]
            else:
                paths += found
        if "window" in types and paths:
            return pl.scan_parquet(paths, glob=False, hive_partitioning=False)
        if paths:
            own = pl.scan_parquet(paths, glob=False, hive_partitioning=False, include_file_paths="window")
            frames.insert(0, own.with_columns(pl.col("window").str.extract(folders.WINDOW_OF_PATH)))
        if not frames:
            return pl.LazyFrame(schema={**types, "window": pl.String})
        return pl.concat(frames) if len(frames) > 1 else frames[0]

    def read(
        self,
        table: str,
        keys: Sequence[str] | None = None,
        *,
        where: pl.Expr | None = None,
        columns: Sequence[str] | None = None,
    ) -> pl.DataFrame:
        """The rows of `scan`, or those `where` something holds, all of one moment: no writer replaces any meanwhile.

        columns: those that are read, None for all; the texts of comments take more memory than all else.
        Raises as `scan` does, and ContractError for a part that is not what was written.
        """
        holds, wanted = pl.lit(True) if where is None else where, pl.all() if columns is None else list(columns)
        return self._unchanging(
            table, keys, lambda chosen: self.scan(table, chosen).filter(holds).select(wanted).collect()
        )

    def items(self, keys: Sequence[str], *, grace: int = 0) -> pl.DataFrame:
        """The newest version of each item in these windows, sorted by item_id, and what they say of its time.

        The newest is that of the last snapshot that has the item, or a later change by `updated_at`. `known_at` is when
        it was published or, if nobody says, the start of the first of these windows that brought it. `absent` holds the
        spans in which snapshots lacked it, each from the start of the first window after `grace` that did; the last has
        no end where the item has not come back. Raises as `read` does.
        """
        return self._unchanging("items", keys, lambda some: newest_items(self._versions(some), grace))

    def snapshot_ids(self, key: str) -> pl.Series | None:
        """The items of a window that shows a snapshot; None where it brings changes, or has none."""
        manifest = self.manifest("items", key)
        if manifest.get("feed") != _SNAPSHOT or not manifest["rows"]:
            return None
        ids = self._unchanging("items", [key], lambda some: self.scan("items", some).select("item_id").collect())
        return ids["item_id"]

    def item_ids(self, keys: Sequence[str]) -> set[str]:
        """All items of some windows."""
        frame = self._unchanging(
            "items", keys, lambda some: self.scan("items", some).select("item_id").unique().collect()
        )
        return set(frame["item_id"])

    def _versions(self, keys: Sequence[str]) -> list[Versions]:
        """The windows of items that brought something, those that show one snapshot together."""
        found: list[Versions] = []
        shared: dict[str, int] = {}
        before: list[str] | None = None
        for place, key in enumerate(keys):
            manifest = self.manifest("items", key)
            snapshot = manifest.get("feed") == _SNAPSHOT
            if snapshot and manifest["parts"]:
                name = manifest["parts"][0]["name"]
                seen = Seen(place=place, start=start_of(key), rows=manifest["rows"])
                if name in shared:
                    found[shared[name]].seen.append(seen)
                else:
                    shared[name] = len(found)
                    (path,) = self._parts("items", key, manifest)
                    frame = pl.scan_parquet(path, glob=False, hive_partitioning=False)
                    found.append(Versions(frame=frame, seen=[seen], snapshot=True))
            # Windows of changes that are what the one before them was say nothing new.
            elif not snapshot and folders.content(manifest) != before:
                seen = Seen(place=place, start=start_of(key), rows=manifest["rows"])
                found.append(Versions(frame=self.scan("items", [key]), seen=[seen], snapshot=False))
            before = None if snapshot else folders.content(manifest)
        return found

    def digest(self, table: str, keys: Sequence[str]) -> str:
        """A SHA-256 over the checksums of the windows' parts: what a model was trained on. When an open window was read
        is no part of it.
        """
        manifests = {window_key(key): self.manifest(table, key) for key in sorted(keys)}
        checksums = {key: folders.content(manifest) for key, manifest in manifests.items()}
        return hashlib.sha256(json.dumps(checksums).encode()).hexdigest()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder on the lake's disk, removed afterwards; clears those of writers that were killed.

        Raises UnavailableError for an OSError in it: the lake's disk is full, read-only or gone.
        """
        with self._writable():
            with self._locked():
                everyone = self.root / ".scratch"
                everyone.mkdir(exist_ok=True)
                for left in everyone.iterdir():
                    # Its owner may be removing it at this moment.
                    with suppress(FileNotFoundError), locked(left, fcntl.LOCK_EX | fcntl.LOCK_NB) as abandoned:
                        if abandoned:
                            shutil.rmtree(left)
                own = everyone / secrets.token_hex(8)
                own.mkdir()
                # The kernel drops a killed owner's lock, so a folder that can be locked has no owner.
                holding = os.open(own, os.O_RDONLY)
                fcntl.flock(holding, fcntl.LOCK_EX)
            try:
                yield own
            finally:
                shutil.rmtree(own, ignore_errors=True)
                os.close(holding)

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            raise UnavailableError(f"the lake at {self.root} cannot be written: {reason}") from error

    def _folder(self, table: str, key: str) -> Path:
        return folders.folder_of(self.root / table, key)

    def _parts(self, table: str, key: str, manifest: dict[str, Any]) -> Iterator[Path]:
        for part in manifest["parts"]:
            path = folders.part_path(self._folder(table, key), part["name"])
            if not path.is_file() or path.stat().st_size != part["bytes"]:
                raise ContractError(f"{path} is missing or damaged; {folders.again(table, key)}")
            yield path

    def _unchanging(
        self, table: str, keys: Sequence[str] | None, read: Callable[[Sequence[str]], pl.DataFrame]
    ) -> pl.DataFrame:
        lock = self.root / _LOCK
        # A lake without a lock was never written here, and may be one that cannot be.
        with locked(lock, fcntl.LOCK_SH) if lock.exists() else nullcontext():
            chosen = self.keys(table) if keys is None else keys
            try:
                return read(chosen)
            except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException):
                for key in chosen:
                    self._check_parts(table, key)
                raise

    def _check_parts(self, table: str, key: str) -> None:
        manifest = self.manifest(table, key)
        for part, path in zip(manifest["parts"], self._parts(table, key, manifest), strict=True):
            try:
                intact = hashlib.sha256(path.read_bytes()).hexdigest() == part["sha256"]
            except OSError:
                intact = False
            if not intact:
                raise ContractError(f"{path} is damaged; {folders.again(table, key)}") from None

    def _pieces(
        self, table: str, window: Window, frames: Iterable[pl.DataFrame], scratch: Path
    ) -> Iterator[pl.DataFrame]:
        if table not in TIME_COLUMN:
            whole = [frame for frame in frames if frame.height]
            yield from [pl.concat(whole)] if whole else []
            return
        time, numbers = TIME_COLUMN[table], count()
        start, end = microseconds(window.start), microseconds(window.end)
        timeless: list[pl.DataFrame] = []

        def placed() -> Iterator[pl.DataFrame]:
            for frame in frames:
                known = frame
                if frame[time].null_count():
                    timeless.append(frame.filter(pl.col(time).is_null()))
                    known = frame.filter(pl.col(time).is_not_null())
                times = known[time].to_physical().to_numpy()
                assert ((times >= start) & (times < end)).all()
                yield known

        yield from in_order(placed(), time, window.start, window.end, lambda: scratch / f"{window.key}-{next(numbers)}")
        if timeless:
            yield pl.concat(timeless)

    def _stage(
        self,
        table: str,
        window: Window,
        frames: Iterable[pl.DataFrame],
        about: About,
        scratch: Path,
    ) -> _Staged:
        """Writes the parts of a window into a scratch folder of its own. Raises ContractError where it will not do."""
        rejected: dict[str, int] = {}
        offenders: dict[str, str] = {}
        rows = duplicates = conflicts = 0
        lists: dict[str, list[Any]] = {"parts": [], "rejected_parts": []}
        for piece in self._pieces(table, window, frames, scratch):
            checked = settle(table, piece)
            rows, duplicates = rows + checked.rows.height, duplicates + checked.duplicates
            conflicts += checked.conflicts
            for rule, of_rule in _counts(checked.rejected).items():
                rejected[rule] = rejected.get(rule, 0) + of_rule
            offenders = _offenders(checked.rejected) | offenders
            for name, stem, frame in (("parts", "part", checked.rows), ("rejected_parts", "rows", checked.rejected)):
                if frame.height:
                    lists[name].append(self._stage_part(scratch, f"{stem}-{len(lists[name])}", frame, window.key))
        result = WriteResult(
            rows=rows, rejected=dict(sorted(rejected.items())), duplicates=duplicates, conflicts=conflicts
        )
        min_rows = about.min_rows if about.until is None else 0
        check_result(
            f"{table} {window}",
            result,
            offenders,
            max_rejected=about.max_rejected,
            min_rows=min_rows,
            replaces=folders.former(self.root / table, about.key_of(window)) is not None,
        )
        manifest = self._manifest(table, window, result, about) | lists
        return _Staged(window=window, key=about.key_of(window), manifest=manifest, result=result)

    def _stage_part(self, scratch: Path, stem: str, frame: pl.DataFrame, owner: str = "") -> dict[str, Any]:
        """Writes a part of a window, or of several, into the scratch folder; what a manifest says of it."""
        buffer = io.BytesIO()
        frame.write_parquet(buffer, compression="zstd", row_group_size=_ROW_GROUP)
        data = buffer.getbuffer()
        checksum = hashlib.sha256(data).hexdigest()
        name = f"{stem}-{checksum[:12]}.parquet"
        write_bytes(scratch / f"{owner}{Path(name).name}", data)
        return {"name": name, "rows": frame.height, "bytes": len(data), "sha256": checksum}

    def _manifest(self, table: str, window: Window, result: WriteResult, about: About) -> dict[str, Any]:
        return {
            "table": table,
            "window": window.key,
            "rows": result.rows,
            "rejected": result.rejected,
            "duplicates": result.duplicates,
            "conflicts": result.conflicts,
            "source": about.source,
            "schema_version": SCHEMA_VERSION,
            "code_version": _code_version(),
        } | ({} if about.until is None else {"until": about.until.isoformat()})

    def _lost(self, table: str, window: Window, staged: _Staged, about: About) -> int:
        """How many rows a window would lose that nobody allowed to be emptied."""
        if staged.result.rows or about.allow_empty or about.until is not None:
            return 0
        former = folders.former(self.root / table, window.key)
        return 0 if former is None else int(former["rows"])

    def _commit(self, table: str, scratch: Path, staged: Sequence[_Staged]) -> dict[str, bool]:
        """Puts windows in their places, each in one step; by key, whether its rows are others than before."""
        changed = {one.key: False for one in staged}
        if not staged:
            return changed
        home = self.root / table
        for one in staged:
            text = json.dumps(one.manifest, indent=1, sort_keys=True, ensure_ascii=False)
            write_bytes(scratch / f"{one.window.key}{folders.MANIFEST}", text.encode())
        sync(path for path in scratch.iterdir() if path.is_file())
        with self._locked():
            there = set(self.keys(table))
            # One that has ended while it was read is there as a whole.
            chosen = [one for one in staged if not (is_open_key(one.key) and window_key(one.key) in there)]
            made = {self._folder(table, one.key) for one in chosen}
            for one in chosen:
                former = folders.former(home, one.key)
                changed[one.key] = former is None or folders.content(former) != folders.content(one.manifest)
                made |= {path.parent for path, _ in _places(self._folder(table, one.key), one.manifest)}
            for folder in made:
                folder.mkdir(parents=True, exist_ok=True)
            for one in chosen:
                for path, shared in _places(self._folder(table, one.key), one.manifest):
                    part = scratch / (path.name if shared else f"{one.window.key}{path.name}")
                    if part.exists():  # the first of the windows that share it has put it in its place
                        os.replace(part, path)
            sync(made)
            for one in chosen:
                os.replace(
                    scratch / f"{one.window.key}{folders.MANIFEST}", self._folder(table, one.key) / folders.MANIFEST
                )
            sync([*(self._folder(table, one.key) for one in chosen), home, self.root])
            # Only now does nothing name the former parts, nor those of a writer killed before its manifest.
            for one in chosen:
                _remove_others(self._folder(table, one.key), one.manifest)
            folders.remove_superseded(home, [one.key for one in chosen])
        return changed

    def drop(self, table: str, keys: Iterable[str]) -> list[str]:
        """Removes windows and the shared parts that none names any more; the keys of those that were there.

        Raises UnavailableError where the lake cannot be written.
        """
        with self._writable(), self._locked():
            there = [key for key in self.keys(table) if key in set(keys)]
            for key in there:
                folders.remove(self.root / table, key)
            folders.remove_unnamed(self.root / table)
        return there

    def remove_unnamed(self, table: str) -> None:
        """Removes the shared parts that no window names any more. Raises UnavailableError as `drop` does."""
        if (self.root / table / folders.SHARED).is_dir():
            self.drop(table, [])

    def size(self, table: str) -> int:
        """How many bytes the files of a table take, shared parts once."""
        return sum(path.stat().st_size for path in (self.root / table).rglob("*") if path.is_file())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / _LOCK).touch()
        with locked(self.root / _LOCK, fcntl.LOCK_EX):
            if self._project is not None and folders.check_owner(self.root, self._project) is None:
                (partial := self.root / f".{folders.OWNER}").write_bytes(folders.owned_by(self._project))
                sync([partial])
                os.replace(partial, self.root / folders.OWNER)
                sync([self.root])
            yield


@cache
def _code_version() -> str:
    return version("recsys-text")


def _no_items() -> pl.DataFrame:
    return pl.DataFrame(schema={**pl.Schema(TABLES["items"]), RULE: pl.String, OFFENDER: pl.String})


def _counts(rejected: pl.DataFrame) -> dict[str, int]:
    return dict(rejected.group_by(RULE).len().sort(RULE).iter_rows()) if rejected.height else {}


def _offenders(rejected: pl.DataFrame) -> dict[str, str]:
    """An example of each rule that was broken."""
    return {rule: describe_offender(rejected, rule) for rule in _counts(rejected)}


def _shown(path: Path, key: str, rows: int) -> pl.LazyFrame:
    """What a window shows of a snapshot, sorted by item_id."""
    frame = pl.scan_parquet(path, glob=False, hive_partitioning=False).head(rows)
    start = pl.lit(start_of(key)).dt.cast_time_unit("us")
    return frame.with_columns(
        pl.coalesce("updated_at", "published_at", start).alias("updated_at"), pl.lit(key).alias("window")
    ).sort("item_id")


def _places(folder: Path, manifest: dict[str, Any]) -> Iterator[tuple[Path, bool]]:
    """Where the parts lie that a manifest names, and whether other windows may name them, too."""
    for name in folders.PARTS:
        for part in manifest.get(name, ()):
            shared = folders.is_shared(part["name"])
            own = folder / folders.REJECTED if name != "parts" and not shared else folder
            yield folders.part_path(own, part["name"]), shared


def _remove_others(folder: Path, manifest: dict[str, Any]) -> None:
    """Removes the parts in a window's folder that its manifest does not name."""
    named = {path for path, _ in _places(folder, manifest)}
    rejected = folder / folders.REJECTED
    for path in {*folder.glob("*.parquet"), *rejected.glob("*.parquet")} - named:
        path.unlink()
    if rejected.is_dir() and not any(path.parent == rejected for path in named):
        rejected.rmdir()
