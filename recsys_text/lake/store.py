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
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from importlib.metadata import version
from itertools import count
from logging import getLogger
from pathlib import Path
from typing import Any

import polars as pl

from recsys_text.errors import ContractError, UnavailableError
from recsys_text.lake import folders
from recsys_text.lake.disk import locked, sync
from recsys_text.lake.enforce import TIME_COLUMN, Enforced, describe_offender, enforce
from recsys_text.lake.newest import newest_items
from recsys_text.lake.result import WriteResult, check_result
from recsys_text.lake.spill import in_order, write_bytes
from recsys_text.lake.windows import Window, is_open_key, open_key, window_key
from recsys_text.tables import RULE, SCHEMA_VERSION, TABLES

logger = getLogger("recsys_text")

_LOCK = ".lock"
_REJECTED = "rejected"
_ROW_GROUP = 131_072


class Lake:
    """Tables of windows under one folder. Any Parquet reader can read the parts."""

    def __init__(self, root: Path) -> None:
        self.root = root

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
        rejected: dict[str, int] = {}
        offenders: dict[str, str] = {}
        duplicates = 0
        manifest: dict[str, Any] = {"parts": [], "rejected_parts": []}
        with self.scratch() as scratch:
            numbers = count()
            for piece in self._pieces(table, window, frames, scratch, numbers):
                checked = enforce(table, piece)
                duplicates += checked.duplicates
                for rule, rows in checked.rejected.group_by(RULE).len().iter_rows():
                    rejected[rule] = rejected.get(rule, 0) + rows
                    offenders.setdefault(rule, describe_offender(checked.rejected, rule))
                self._stage(scratch, checked, manifest)
            rows = sum(part["rows"] for part in manifest["parts"])
            result = WriteResult(rows=rows, rejected=dict(sorted(rejected.items())), duplicates=duplicates)
            check_result(f"{table} {window}", result, offenders, max_rejected, min_rows)
            key = window.key if until is None else open_key(window, until)
            manifest |= {} if until is None else {"until": until.isoformat()}
            manifest |= {
                "table": table,
                "window": window.key,
                "rows": rows,
                "rejected": result.rejected,
                "duplicates": duplicates,
                "source": source,
                "schema_version": SCHEMA_VERSION,
                "code_version": version("recsys-text"),
            }
            result = replace(result, changed=self._commit(table, key, scratch, manifest))
        if rows == 0 and until is None:
            logger.warning("%s %s: the window is empty", table, window)
        return result

    def keys(self, table: str) -> list[str]:
        """The windows of a table that have ended and exist, oldest first."""
        return folders.closed_keys(self.root / table)

    def open_keys(self, table: str) -> list[str]:
        """What is known of windows that have not ended, the newest state last: keys as any other to read by."""
        return folders.open_keys(self.root / table)

    def forget(self, table: str, open_key: str) -> None:
        """Removes a state of a window that has not ended."""
        with self._locked():
            folders.remove_open(self.root / table, open_key)

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
        paths = [path for key in (self.keys(table) if keys is None else keys) for path in self._parts(table, key)]
        if not paths:
            return pl.LazyFrame(schema={**types, "window": pl.String})
        if "window" in types:
            return pl.scan_parquet(paths, glob=False, hive_partitioning=False)
        frame = pl.scan_parquet(paths, glob=False, hive_partitioning=False, include_file_paths="window")
        return frame.with_columns(pl.col("window").str.extract(folders.WINDOW_OF_PATH))

    def read(self, table: str, keys: Sequence[str] | None = None, *, where: pl.Expr | None = None) -> pl.DataFrame:
        """The rows of `scan`, or those `where` something holds, all of one moment: no writer replaces any meanwhile.

        Raises as `scan` does, and ContractError for a part that is not what was written.
        """
        holds = pl.lit(True) if where is None else where
        return self._unchanging(table, keys, lambda chosen: self.scan(table, chosen).filter(holds).collect())

    def items(self, keys: Sequence[str]) -> pl.DataFrame:
        """The newest version of each item in these windows (of equally new ones that of the last window),
        sorted by item_id, and `known_at`: when it was published or, if nobody says, the start of the first
        of these windows that brought it. Raises as `read` does.
        """
        return self._unchanging("items", keys, lambda some: newest_items(partial(self.scan, "items"), self._news(some)))

    def _news(self, keys: Sequence[str]) -> list[str]:
        """The windows of items without those that are what the one before them was, as of a snapshot most are."""
        parts = [[part["sha256"] for part in self.manifest("items", key)["parts"]] for key in keys]
        return [key for place, key in enumerate(keys) if place == 0 or parts[place] != parts[place - 1]]

    def digest(self, table: str, keys: Sequence[str]) -> str:
        """A SHA-256 over the checksums of the windows' parts: what a model was trained on. When an open window was read
        is no part of it.
        """
        manifests = {window_key(key): self.manifest(table, key) for key in sorted(keys)}
        checksums = {key: [part["sha256"] for part in manifest["parts"]] for key, manifest in manifests.items()}
        return hashlib.sha256(json.dumps(checksums).encode()).hexdigest()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder on the lake's disk, removed afterwards; clears those of writers that were killed.

        Raises UnavailableError for an OSError in it: the lake's disk is full, read-only or gone.
        """
        try:
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
        except OSError as error:
            reason = error.strerror or str(error)
            raise UnavailableError(f"the lake at {self.root} cannot be written: {reason}") from error

    def _folder(self, table: str, key: str) -> Path:
        return folders.folder_of(self.root / table, key)

    def _parts(self, table: str, key: str) -> Iterator[Path]:
        for part in self.manifest(table, key)["parts"]:
            path = self._folder(table, key) / part["name"]
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
        for part, path in zip(self.manifest(table, key)["parts"], self._parts(table, key), strict=True):
            try:
                intact = hashlib.sha256(path.read_bytes()).hexdigest() == part["sha256"]
            except OSError:
                intact = False
            if not intact:
                raise ContractError(f"{path} is damaged; {folders.again(table, key)}") from None

    def _pieces(
        self, table: str, window: Window, frames: Iterable[pl.DataFrame], scratch: Path, numbers: Iterator[int]
    ) -> Iterator[pl.DataFrame]:
        if table not in TIME_COLUMN:
            whole = [frame for frame in frames if frame.height]
            yield from [pl.concat(whole)] if whole else []
            return
        time = TIME_COLUMN[table]
        timeless: list[pl.DataFrame] = []

        def placed() -> Iterator[pl.DataFrame]:
            for frame in frames:
                timeless.append(frame.filter(pl.col(time).is_null()))
                known = frame.filter(pl.col(time).is_not_null())
                assert known[time].is_between(window.start, window.end, closed="left").all()
                yield known

        yield from in_order(placed(), time, window.start, window.end, lambda: scratch / f"slices-{next(numbers)}")
        if any(frame.height for frame in timeless):
            yield pl.concat(timeless)

    def _stage(self, scratch: Path, checked: Enforced, manifest: dict[str, Any]) -> None:
        for stem, frame, parts in (
            ("part", checked.rows, manifest["parts"]),
            ("rows", checked.rejected, manifest["rejected_parts"]),
        ):
            if frame.height == 0:
                continue
            buffer = io.BytesIO()
            frame.write_parquet(buffer, compression="zstd", row_group_size=_ROW_GROUP)
            data = buffer.getbuffer()
            checksum = hashlib.sha256(data).hexdigest()
            name = f"{stem}-{len(parts)}-{checksum[:12]}.parquet"
            write_bytes(scratch / name, data)
            parts.append({"name": name, "rows": frame.height, "bytes": len(data), "sha256": checksum})

    def _commit(self, table: str, key: str, scratch: Path, manifest: dict[str, Any]) -> bool:
        """Puts the window in its place; whether its parts are others than before."""
        folder = self._folder(table, key)
        rejected = folder / _REJECTED
        write_bytes(
            scratch / folders.MANIFEST, json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False).encode()
        )
        with self._locked():
            if is_open_key(key) and window_key(key) in self.keys(table):
                return False  # it has ended while it was read
            changed: bool = folders.former_parts(folder.parent, key) != manifest["parts"]
            rejected.mkdir(parents=True, exist_ok=True)
            places = ((folder, manifest["parts"]), (rejected, manifest["rejected_parts"]))
            for place, parts in places:
                for part in parts:
                    os.replace(scratch / part["name"], place / part["name"])
                sync(place)
            os.replace(scratch / folders.MANIFEST, folder / folders.MANIFEST)
            for above in (folder, folder.parent, self.root):
                sync(above)
            # Only now does nothing name the former parts, nor those of a writer killed before its manifest.
            for place, parts in places:
                for path in set(place.glob("*.parquet")) - {place / part["name"] for part in parts}:
                    path.unlink()
            if not manifest["rejected_parts"]:
                rejected.rmdir()
            folders.remove_superseded(folder.parent, key)
        return changed

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / _LOCK).touch()
        with locked(self.root / _LOCK, fcntl.LOCK_EX):
            yield
