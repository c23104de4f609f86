"""The log of what was shown to whom: Parquet files in the lake's form of impressions. Knows no request and no store.

The service does not know clicks, so that the files have no column `clicked`; extraction fills it from the events that
followed (`clicks_within` of `[sources.impressions]`).
"""

import logging
import os
import queue
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
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
# Few enough that turning them into Arrow holds up no request.
_BATCH_ROWS = 200
# A removal takes files from under an extraction that has just listed them, so that it is rare.
_SWEEP_EVERY = timedelta(hours=1)
_NAME_TIME = "%Y%m%dT%H%M%S"
_NAME = re.compile(r"(?:(\d{8}T\d{6})-[0-9a-f]{16}\.parquet|\.(\d{8}T\d{6})-[0-9a-f]{16}\.parquet\.unfinished)")

_log = logging.getLogger(__name__)

_Row = tuple[str, str, datetime, Sequence[str], str, str | None, str | None]


class ImpressionLog:
    """Rows wait in memory for a thread of their own, which writes them to one new file after the other.

    A file holds what came within a minute, or `file_rows` rows, and appears in the folder whole, under a name of its
    own. A killed process loses the rows that were in no file yet. Where the disk does not keep up or fails, rows wait
    as long as there is room for them, and then are dropped; `count_dropped` is told how many.

    With `keep`, whatever process wrote them, files are removed whose names tell a time that is so long before that of
    a file just written. A clock that goes back removes nothing until it is where it was; one that is ahead finds files
    older than they are.
    """

    def __init__(
        self,
        folder: Path,
        count_dropped: Callable[[int], object],
        *,
        keep: timedelta | None = None,
        queued: int = _QUEUED,
        file_rows: int = _FILE_ROWS,
        file_seconds: float = _FILE_SECONDS,
    ) -> None:
        self._folder = folder
        self._count_dropped = count_dropped
        self._keep = keep
        self._swept: datetime | None = None
        self._file_rows = file_rows
        self._file_seconds = file_seconds
        self._queue: queue.Queue[_Row | None] = queue.Queue(queued)
        self._closed = threading.Event()
        self._rows: list[_Row] = []
        self._batches: list[Any] = []
        self._waiting = 0

    def record(
        self, user_id: str, candidates: Sequence[str], *, version: str, experiment: str | None, arm: str | None
    ) -> str | None:
        """Takes one list, in the order in which it is shown; returns its new impression_id. Never waits.

        An empty one shows nothing: it is not taken, and has none.
        """
        if not candidates:
            return None
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
            # Wakes a thread that waits for rows; one with a full queue before it does not.
            with suppress(queue.Full):
                self._queue.put_nowait(None)
            thread.join()

    def _write(self) -> None:
        due = time.monotonic() + self._file_seconds
        while not self._closed.is_set():
            seconds = max(0.0, due - time.monotonic())
            if self._waiting < self._file_rows:
                self._take(seconds)
            else:
                # The last file failed: what comes meanwhile waits in the queue, while it has room.
                self._closed.wait(seconds)
            if time.monotonic() >= due or self._waiting == self._file_rows:
                self._save()
                due = time.monotonic() + self._file_seconds
        while not self._queue.empty():
            self._take(0.0)
        self._save()
        if self._waiting:
            self._count_dropped(self._waiting)

    def _take(self, seconds: float) -> None:
        try:
            row = self._queue.get(block=seconds > 0, timeout=seconds)
        except queue.Empty:
            return
        if row is not None:
            self._rows.append(row)
            self._waiting += 1
        if len(self._rows) == _BATCH_ROWS:
            self._pack()

    def _pack(self) -> None:
        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(values, kind) for values, kind in zip(columns, SCHEMA.types, strict=True)]
        self._batches.append(pa.RecordBatch.from_arrays(arrays, schema=SCHEMA))
        self._rows = []

    def _save(self) -> None:
        """Moves what waits into one file; it goes on waiting where that fails."""
        if self._rows:
            self._pack()
        if not self._batches:
            return
        first = self._batches[0].column("shown_at")[0].as_py()
        name = f"{first:{_NAME_TIME}}-{secrets.token_hex(8)}.parquet"
        unfinished = self._folder / f".{name}.unfinished"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with open(unfinished, "wb") as file:
                pa.parquet.write_table(pa.Table.from_batches(self._batches), file, compression="zstd")
                file.flush()
                os.fsync(file.fileno())
            os.rename(unfinished, self._folder / name)
        except OSError as error:
            _log.warning("%d impressions wait: cannot write %s: %s", self._waiting, self._folder / name, error)
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)
            return
        self._batches = []
        self._waiting = 0
        if self._keep is not None and (self._swept is None or first - self._swept >= _SWEEP_EVERY):
            self._swept = first
            self._remove_before(first - self._keep)

    def _remove_before(self, time: datetime) -> None:
        """What a killed process left unfinished goes too; one that is still at work on so old rows writes them anew."""
        oldest = f"{time:{_NAME_TIME}}"
        try:
            for path in list(self._folder.iterdir()):
                found = _NAME.fullmatch(path.name)
                if found is not None and (found[1] or found[2]) < oldest:
                    # Another worker may have been faster.
                    path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("cannot remove impressions from before %s in %s: %s", time, self._folder, error)
