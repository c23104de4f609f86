"""The staging area of a version: parts written side by side by any number of processes. Commits nothing."""

import secrets
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc

from feature_store.errors import InvalidInput, UnknownVersion
from feature_store.redis.cleanup import remove_written
from feature_store.redis.columns import Column, column_of
from feature_store.redis.connection import Server
from feature_store.redis.layout import VersionKeys, staged, view_key
from feature_store.redis.manifest import Part, pack_array, pack_schema
from feature_store.redis.strings import WriterStrings
from feature_store.redis.table import pack_keys, pack_rows
from feature_store.redis.transaction import Fence, transact
from feature_store.rules import check_name
from feature_store.schema import portable_schema

#: Rows are gathered to this size, or this number, and sent as one transaction: memory stays bounded, and no other
#: client of the server waits for long.
_PIECE_BYTES = 1 << 20
_PIECE_ROWS = 4096

_WRITE_AGAIN = "write the part again"


class RedisStage:
    """The parts of a version that isn't committed yet."""

    def __init__(self, server: Server, view: str, version: str, uid: str) -> None:
        self._server = server
        self._view = view
        self._version = version
        self._keys = VersionKeys(prefix=server.prefix, uid=uid)

    def writer(self, part: str) -> "RedisPartWriter":
        check_name("part", part)
        return RedisPartWriter(self._server, self._view, self._version, self._keys, part)

    def parts(self) -> list[str]:
        with self._server.reaching("list the parts in"):
            return sorted(name for name, part in read_parts(self._server.client, self._keys).items() if part.done)


def read_parts(client: Any, keys: VersionKeys) -> dict[str, Part]:
    """Every part of a staged version that was begun. Raises CorruptVersion."""
    content = client.hgetall(keys.staged_parts)
    return {name.decode(): Part.unseal(text, name.decode(), _WRITE_AGAIN) for name, text in content.items()}


class RedisPartWriter:
    """Streams record batches into packed rows; use it in a `with` block.

    Writing a part again removes the former one when the block begins, as both have the same keys.
    """

    def __init__(self, server: Server, view: str, version: str, keys: VersionKeys, part: str) -> None:
        self._server = server
        self._view = view
        self._version = version
        self._keys = keys
        self._part = part
        self._token = secrets.token_urlsafe(6)
        self._fence = Fence(server, keys.staged_parts, part, self._token, self._gone)
        self._strings = WriterStrings(self._fence, keys.strings)
        self._schema: Any = None
        self._columns: tuple[Column, ...] = ()
        self._waiting: list[tuple[Any, list[bytes], list[bytes]]] = []
        self._waiting_bytes = 0
        self._waiting_rows = 0
        self._pieces = 0
        self._rows = 0
        self._bytes = 0

    def __enter__(self) -> Self:
        self._remove_former()
        self._describe(Part(tokens=(self._token,)))
        return self

    def discard(self) -> None:
        """Removes what former attempts wrote, and the part with it."""
        self._remove_former()
        self._fence.write("remove a part from", lambda pipe: pipe.hdel(self._keys.staged_parts, self._part))

    def write(self, batch: Any) -> None:
        batch = self._fit(batch)
        keys = batch.column(0)
        if keys.null_count:
            row = pc.index(keys.is_null(), True).as_py()
            raise InvalidInput(f"the key in row {row} of a batch for part '{self._part}' is null; a key is needed")
        for piece in _pieces_of(batch):
            redis_keys = pack_keys(piece.column(0), self._keys.rows)
            rows = pack_rows(piece, self._columns, redis_keys, self._strings.codes)
            self._waiting.append((piece.column(0), redis_keys, rows))
            self._waiting_rows += len(rows)
            self._waiting_bytes += sum(map(len, redis_keys)) + sum(map(len, rows))
            if self._waiting_bytes >= _PIECE_BYTES or self._waiting_rows >= _PIECE_ROWS:
                self._flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            return
        if self._schema is None:
            raise InvalidInput(f"nothing was written to part '{self._part}'; write an empty batch if it has no rows")
        self._flush()
        self._describe(
            Part(
                tokens=(self._token,),
                done=True,
                rows=self._rows,
                size=self._bytes,
                schema=pack_schema(self._schema),
            )
        )

    def _remove_former(self) -> None:
        for token in self._take_over().tokens[:-1]:
            remove_written(self._server, self._keys, token, self._fence)

    def _take_over(self) -> Part:
        """Puts our token last among those of the part, from when on no former attempt can write."""
        view = view_key(self._server.prefix, self._view)

        def attempt(pipe: Any) -> Part:
            if pipe.hget(view, staged(self._version)) != self._keys.uid.encode():
                raise self._gone()
            content = pipe.hget(self._keys.staged_parts, self._part)
            former = Part(tokens=()) if content is None else Part.unseal(content, self._part, "delete the version")
            tokens = (*(token for token in former.tokens if token != self._token), self._token)
            part = replace(former, tokens=tokens, done=False)
            pipe.multi()
            pipe.hset(self._keys.staged_parts, self._part, part.seal())
            pipe.execute()
            return part

        return transact(self._server, "begin a part in", [view, self._keys.staged_parts], attempt)

    def _describe(self, part: Part) -> None:
        self._fence.write(
            "describe a part in", lambda pipe: pipe.hset(self._keys.staged_parts, self._part, part.seal())
        )

    def _fit(self, batch: Any) -> Any:
        schema = portable_schema(batch.schema)
        if self._schema is None:
            self._schema = schema
            self._columns = tuple(column_of(field) for field in list(schema)[1:])
        elif schema != self._schema:
            raise InvalidInput(
                f"part '{self._part}' began with the columns {_describe(self._schema)}; got {_describe(schema)}"
            )
        types = [schema.field(0).type, *(column.plain for column in self._columns)]
        try:
            return pa.RecordBatch.from_arrays(
                [column.cast(kind) for column, kind in zip(batch.columns, types, strict=True)], names=schema.names
            )
        except pa.ArrowInvalid as error:
            raise InvalidInput(
                f"a batch for part '{self._part}' doesn't fit ({error}); write it in smaller batches"
            ) from error

    def _flush(self) -> None:
        """Sends the waiting rows, and in the same transaction what will remove them."""
        if not self._waiting:
            return
        keys = pack_array(pa.concat_arrays([keys for keys, _, _ in self._waiting]))
        rows = {key: row for _, redis_keys, rows in self._waiting for key, row in zip(redis_keys, rows, strict=True)}

        def queue(pipe: Any) -> None:
            # Numbered, so that a piece whose answer was lost is written over and not twice.
            pipe.hset(self._keys.written(self._token), str(self._pieces), keys)
            if rows:
                pipe.mset(rows)

        self._fence.write("write rows to", queue)
        self._pieces += 1
        self._rows += self._waiting_rows
        self._bytes += self._waiting_bytes
        self._waiting, self._waiting_rows, self._waiting_bytes = [], 0, 0

    def _gone(self) -> UnknownVersion:
        return UnknownVersion(
            f"part '{self._part}' of version '{self._version}' of view '{self._view}' isn't written here any more in "
            f"{self._server.place}: the version was committed or deleted meanwhile, never begun or lost with its "
            "server, or another writer began the part; begin again"
        )


def _pieces_of(batch: Any) -> Iterator[Any]:
    """The batch in slices that take about a piece each when packed."""
    rows = max(1, min(_PIECE_ROWS, batch.num_rows * _PIECE_BYTES // max(1, batch.nbytes)))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)


def _describe(schema: Any) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
