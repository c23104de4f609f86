"""Keeps streams of frames by name, on disk where they are long, and gives them back in order of time in bounded pieces.

Knows no tables.
"""

import io
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

#: Rows that a piece in memory may hold; a part of the lake is at most this long.
MAX_ROWS = 1_000_000
_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
#: What a spill may hold in memory.
_FLUSH_BYTES = 128 << 20
_SLICES = 16
_SHORTEST = 1_000_000  # microseconds; a slice is cut no finer, however many rows it holds


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Writes one new file, which is not durable yet (see `disk.sync`). Raises OSError where the disk is full."""
    with open(path, "xb") as file:
        file.write(data)


class Spill:
    """Named streams of frames: rows wait in memory, and go to files under one folder where they grow too many."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir()
        self._waiting: dict[str, list[pl.DataFrame]] = {}
        self._waiting_bytes = 0
        self._files: dict[str, list[Path]] = {}
        self._count = 0
        self.rows: dict[str, int] = {}

    def add(self, name: str, frame: pl.DataFrame) -> None:
        self._waiting.setdefault(name, []).append(frame)
        self._waiting_bytes += int(frame.estimated_size())
        self.rows[name] = self.rows.get(name, 0) + frame.height
        if self._waiting_bytes >= _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        for name, frames in self._waiting.items():
            self._count += 1
            path = self._folder / f"{self._count}.arrow"
            buffer = io.BytesIO()
            pl.concat(frames).write_ipc(buffer, compression="lz4")
            path.write_bytes(buffer.getbuffer())
            self._files.setdefault(name, []).append(path)
        self._waiting.clear()
        self._waiting_bytes = 0

    def frames(self, name: str) -> Iterator[pl.DataFrame]:
        """The frames of a stream, in the order in which they came, as often as asked for."""
        for path in self._files.get(name, []):
            yield pl.read_ipc(path.read_bytes())  # polars takes brackets in a path for a pattern
        yield from self._waiting.get(name, [])

    def discard(self, name: str) -> None:
        """Forgets a stream."""
        self.rows.pop(name, None)
        for path in self._files.pop(name, []):
            path.unlink()
        self._waiting_bytes -= sum(int(frame.estimated_size()) for frame in self._waiting.pop(name, []))


def split_by_time(frame: pl.DataFrame, time: str, starts_us: list[int]) -> dict[int, pl.DataFrame]:
    """The rows of each span by its number; -1 holds those before the first. A null time is in no span."""
    known = frame.filter(pl.col(time).is_not_null())
    span = np.searchsorted(starts_us, known[time].dt.epoch("us").to_numpy(), side="right") - 1
    if known.is_empty() or (span == span[0]).all():
        return {int(span[0]): known} if len(span) else {}
    parts = known.with_columns(pl.Series("__span", span)).partition_by("__span", as_dict=True, include_key=False)
    return {int(str(key[0])): part for key, part in parts.items()}


def in_order(
    frames: Iterable[pl.DataFrame], time: str, start: datetime, end: datetime, folder: Callable[[], Path]
) -> Iterator[pl.DataFrame]:
    """Pieces of at most MAX_ROWS rows, no time in a piece before one in the piece that precedes it.

    All rows have a time in [start, end). Where there are more rows than a piece may hold, they are
    cut into slices of time on disk, and each slice is cut again while it is too long: the work is
    linear in the rows, and the cuts depend on the rows alone, not on their order. `folder` gives the
    path of a new scratch folder.
    """
    bounds = (microseconds(start), microseconds(end))
    waiting: list[pl.DataFrame] = []
    rows = 0
    for piece in _cut(iter(frames), time, *bounds, folder):
        if waiting and rows + piece.height > MAX_ROWS:
            yield pl.concat(waiting)
            waiting, rows = [], 0
        waiting.append(piece)
        rows += piece.height
    if waiting:
        yield pl.concat(waiting)


def _cut(
    frames: Iterator[pl.DataFrame], time: str, start: int, end: int, folder: Callable[[], Path]
) -> Iterator[pl.DataFrame]:
    whole: list[pl.DataFrame] = []
    rows = 0
    for frame in frames:
        whole.append(frame)
        rows += frame.height
        if rows > MAX_ROWS and end - start > _SHORTEST:
            break
    else:
        if whole:
            yield pl.concat(whole)
        return
    starts = [start + (end - start) * number // _SLICES for number in range(_SLICES)]
    spill = Spill(folder())
    while whole:
        _slice(spill, whole.pop(), time, starts)
    for frame in frames:
        _slice(spill, frame, time, starts)
    for number, (low, high) in enumerate(zip(starts, [*starts[1:], end], strict=True)):
        yield from _cut(spill.frames(str(number)), time, low, high, folder)
        spill.discard(str(number))


def _slice(spill: Spill, frame: pl.DataFrame, time: str, starts: list[int]) -> None:
    for number, part in split_by_time(frame, time, starts).items():
        spill.add(str(number), part)


def microseconds(time: datetime) -> int:
    """Since 1970, exactly."""
    return (time - _EPOCH) // _MICROSECOND
