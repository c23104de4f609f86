"""The staging area of a version: parts written side by side by any number of processes. Commits nothing."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from feature_store.errors import CorruptVersion, InvalidInput, UnknownVersion
from feature_store.local.disk import DurableFile, locked, reaching, sync_folder, temporary
from feature_store.local.layout import ViewFolder
from feature_store.local.manifest import Part, RowRange
from feature_store.rules import check_name
from feature_store.schema import dictionary_of, is_coded, portable_array, portable_schema

#: Batches are gathered to this size: a lookup of many keys touches few of them.
_BATCH_BYTES = 64 << 20
_MANIFEST_SUFFIX = ".part.json"


def staged_parts(folder: Path) -> dict[str, Part]:
    """What the part manifests of a staging folder say, by part name, sorted. Raises CorruptVersion."""
    with reaching(folder, "list"):
        names = sorted(path.name for path in folder.glob(f"*{_MANIFEST_SUFFIX}"))
    parts = [Part.load(folder / name) for name in names]
    return {part.part: part for part in parts}


def part_manifest(folder: Path, part: str) -> Path:
    return folder / f"{part}{_MANIFEST_SUFFIX}"


def untouched(folder: Path) -> timedelta | None:
    """For how long nobody has written to a staging folder, or to a file in it; None where it's gone."""
    times = []
    with reaching(folder, "list"), suppress(FileNotFoundError):
        times.append(folder.stat().st_mtime)
        for path in folder.iterdir():
            with suppress(FileNotFoundError):  # a writer has given it its final name meanwhile
                times.append(path.stat().st_mtime)
        return timedelta(seconds=max(0.0, time.time() - max(times)))
    return None


class LocalStage:
    """The parts of a version that isn't committed yet."""

    def __init__(self, folder: ViewFolder, version: str, lock_seconds: float) -> None:
        self._folder = folder
        self._version = version
        self._lock_seconds = lock_seconds

    def writer(self, part: str) -> "LocalPartWriter":
        check_name("part", part)
        return LocalPartWriter(self._folder, self._version, part, self._lock_seconds)

    def parts(self) -> list[str]:
        return list(staged_parts(self._folder.staged(self._version)))


class LocalPartWriter:
    """Streams record batches into one Arrow IPC file; use it in a `with` block.

    A part with coded strings is held until the block ends: a file names all that its codes stand for before its
    first row.
    """

    def __init__(self, folder: ViewFolder, version: str, part: str, lock_seconds: float) -> None:
        self._folder = folder
        self._version = version
        self._part = part
        self._lock_seconds = lock_seconds
        self._staged = folder.staged(version)
        self._waiting: list[Any] = []
        self._bytes = 0
        self._rows = 0
        self._ranges: list[RowRange] = []
        self._schema: Any = None
        self._coded: list[int] = []
        self._arrow: Any = None
        self._file: DurableFile

    def __enter__(self) -> Self:
        final = self._staged / f"{self._part}.arrow"
        with reaching(final, "write"):
            try:
                self._file = DurableFile(temporary(final))
            except FileNotFoundError:
                raise self._gone() from None
        return self

    def write(self, batch: Any) -> None:
        batch = self._fit(batch)
        keys = batch.column(0)
        if keys.null_count:
            row = pc.index(keys.is_null(), True).as_py()
            raise InvalidInput(f"the key in row {row} of a batch for part '{self._part}' is null; a key is needed")
        self._waiting.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= _BATCH_BYTES and not self._coded:
            self._flush(self._waiting)
            self._waiting, self._bytes = [], 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._finish(self._file)
        finally:
            # Once finished the file has its final name, and there's nothing left to discard.
            self._file.discard()

    def _fit(self, batch: Any) -> Any:
        schema = portable_schema(batch.schema)
        if self._schema is None:
            self._schema = schema
            self._coded = [place for place, field in enumerate(schema) if is_coded(field.type)]
        elif schema != self._schema:
            raise InvalidInput(
                f"part '{self._part}' began with the columns {_describe(self._schema)}; got {_describe(schema)}"
            )
        try:
            return pa.RecordBatch.from_arrays(
                [portable_array(column, field.type) for column, field in zip(batch.columns, schema, strict=True)],
                schema=schema,
            )
        except pa.ArrowInvalid as error:
            raise InvalidInput(
                f"a batch for part '{self._part}' doesn't fit ({error}); write it in smaller batches"
            ) from error

    def _flush(self, batches: list[Any]) -> None:
        with reaching(self._file.path, "write"):
            if self._arrow is None:
                self._arrow = pa.ipc.new_file(self._file, self._schema)
            batch = pa.concat_batches(batches) if len(batches) > 1 else batches[0]
            self._arrow.write_batch(batch)
        self._end_range(batch.num_rows)

    def _end_range(self, rows: int) -> None:
        offset, size, checksum = self._file.cut()
        self._ranges.append(RowRange(first=self._rows, rows=rows, offset=offset, bytes=size, checksum=checksum))
        self._rows += rows

    def _finish(self, file: DurableFile) -> None:
        if self._schema is None:
            raise InvalidInput(f"nothing was written to part '{self._part}'; write an empty batch if it has no rows")
        for batches in self._groups():
            self._flush(batches)
        with reaching(file.path, "write"):
            self._arrow.close()
            self._end_range(0)
            file.finish()
        self._publish(file)

    def _groups(self) -> Iterator[list[Any]]:
        """What waits, its codes meaning the same in all, in groups of about the size of a batch."""
        waiting = self._waiting
        for place in self._coded:
            first = dictionary_of(waiting[0].column(place))
            if not all(first.equals(dictionary_of(batch.column(place))) for batch in waiting):
                waiting = pa.Table.from_batches(waiting).unify_dictionaries().to_batches()
                break
        group: list[Any] = []
        size = 0
        for batch in waiting:
            group.append(batch)
            size += batch.nbytes
            if size >= _BATCH_BYTES:
                yield group
                group, size = [], 0
        if group:
            yield group

    def _publish(self, file: DurableFile) -> None:
        """Puts the part in place under the lock, so that a writer given up for dead can't disturb a commit."""
        with locked(self._folder.lock, self._lock_seconds):
            if not self._staged.is_dir():
                raise self._gone()
            described = part_manifest(self._staged, self._part)
            former = _former(described)
            # The token of the temporary name stays in the final one: the former part is whole until replaced.
            final = file.path.with_name(f"{self._part}.{file.path.name.split('.')[-2]}.arrow")
            with reaching(final, "write"):
                os.rename(file.path, final)
                sync_folder(self._staged)
            Part(
                part=self._part,
                file=final.name,
                rows=self._rows,
                bytes=file.bytes,
                checksum=file.checksum,
                ranges=tuple(self._ranges),
            ).save(described)
            if former is not None:
                with reaching(self._staged / former.file, "remove"):
                    (self._staged / former.file).unlink(missing_ok=True)

    def _gone(self) -> UnknownVersion:
        return UnknownVersion(
            f"version '{self._version}' of view '{self._folder.view}' isn't staged in {self._staged}; "
            "it was committed or deleted meanwhile, or never begun"
        )


def _former(described: Path) -> Part | None:
    """The part that's being replaced; a damaged description is replaced like any other."""
    try:
        return Part.load(described)
    except CorruptVersion:
        return None


def _describe(schema: Any) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
