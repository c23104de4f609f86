"""The log of what was ranked for whom: Parquet files in the lake's form of impressions. Knows no request and no store.

The service does not know clicks, so that the files have no column `clicked`; extraction fills it from the events that
followed (`clicks_within` of `[sources.impressions]`).
"""

import logging
import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

SCHEMA = pa.schema(
    {
        "impression_id": pa.string(),
        "user_id": pa.string(),
        "shown_at": pa.timestamp("us", "UTC"),
        "candidates": pa.list_(pa.string()),
        "version": pa.string(),
        "experiment": pa.string(),
        "arm": pa.string(),
    }
)

_QUEUED = 10_000
_FILE_ROWS = 20_000
_FILE_SECONDS = 60.0

_log = logging.getLogger(__name__)


class ImpressionLog:
    """Rows wait in memory for a thread of their own, which writes them to one new file after the other.

    A file holds what came within a minute, or `file_rows` rows, and appears in the folder whole, under a name of its
    own. A killed process loses the rows that were in no file yet. Where the disk does not keep up or fails, rows wait
    as long as there is room for them, and then are dropped; `count_dropped` is told how many.
    """

    def __init__(
        self,
        folder: Path,
        count_dropped: Callable[[int], object],
        *,
        queued: int = _QUEUED,
        file_rows: int = _FILE_ROWS,
        file_seconds: float = _FILE_SECONDS,
    ) -> None:
        self._folder = folder
        self._count_dropped = count_dropped
        self._file_rows = file_rows
        self._file_seconds = file_seconds
        self._queue: queue.Queue[tuple[Any, ...] | None] = queue.Queue(queued)
        self._closed = threading.Event()

    def record(
        self, user_id: str, candidates: Sequence[str], *, version: str, experiment: str | None, arm: str | None
    ) -> str:
        """Takes one ranking, in the order in which it is shown; returns its new impression_id. Never waits."""
        impression_id = secrets.token_hex(16)
        try:
            self._queue.put_nowait((impression_id, user_id, datetime.now(UTC), candidates, version, experiment, arm))
        except queue.Full:
            self._count_dropped(1)
        return impression_id

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Writes in the background until it is left, and then what is still waiting."""
        thread = threading.Thread(target=self._write, name="impressions")
        thread.start()
        try:
            yield
        finally:
            self._closed.set()
            self._wake()
            thread.join()

    def _wake(self) -> None:
        # A full queue wakes the thread by itself.
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            return

    def _write(self) -> None:
        rows: list[tuple[Any, ...]] = []
        due = time.monotonic() + self._file_seconds
        while not self._closed.is_set():
            # A failed file keeps its rows, and no more are taken: they wait in the queue while it has room.
            if len(rows) < self._file_rows:
                self._take(rows, max(0.0, due - time.monotonic()))
            else:
                self._closed.wait(max(0.0, due - time.monotonic()))
            if len(rows) >= self._file_rows or time.monotonic() >= due or self._closed.is_set():
                rows = self._save(rows)
                due = time.monotonic() + self._file_seconds
        while not self._queue.empty():
            self._take(rows, 0.0)
        if rows := self._save(rows):
            self._count_dropped(len(rows))

    def _take(self, rows: list[tuple[Any, ...]], seconds: float) -> None:
        try:
            row = self._queue.get(timeout=seconds) if seconds > 0 else self._queue.get_nowait()
        except queue.Empty:
            return
        if row is not None:
            rows.append(row)

    def _save(self, rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """Writes one file; gives back the rows that are in none because it failed."""
        if not rows:
            return rows
        name = f"{rows[0][2]:%Y%m%dT%H%M%S}-{secrets.token_hex(8)}.parquet"
        unfinished = self._folder / f".{name}.unfinished"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(unfinished, "wb") as file:
                columns = [
                    pa.array(values, kind) for values, kind in zip(zip(*rows, strict=True), SCHEMA.types, strict=True)
                ]
                pa.parquet.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            os.rename(unfinished, self._folder / name)
        except OSError as error:
            _log.warning("%d impressions wait: cannot write %s: %s", len(rows), self._folder / name, error)
            unfinished.unlink(missing_ok=True)
            return rows
        return []
