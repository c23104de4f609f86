"""Every row of a version, staged or committed, piece by piece. Changes nothing."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from feature_store.errors import CorruptVersion
from feature_store.redis.connection import Server
from feature_store.redis.layout import VersionKeys
from feature_store.redis.manifest import Part
from feature_store.redis.table import Table, pack_keys
from feature_store.redis.verify import key_pieces

_WAY_OUT = "roll back to another version, then delete this one and publish it again"


class Rows:
    """The record batches of a version, read anew whenever they are gone through; one is in memory at a time.

    Raises CorruptVersion where a row isn't as it was written, or isn't there.
    """

    def __init__(self, server: Server, keys: VersionKeys, table: Table, parts: Mapping[str, Part]) -> None:
        self._server = server
        self._keys = keys
        self._table = table
        self._parts = parts

    def __iter__(self) -> Iterator[Any]:
        for name, part in self._parts.items():
            rows = 0
            for asked in key_pieces(self._server, self._keys, name, part):
                rows += len(asked)
                if len(asked):
                    yield self._read(name, asked)
            if rows != part.rows:
                raise CorruptVersion(
                    f"part '{name}' has the keys of {rows} rows in {self._server.place} where {part.rows} were "
                    f"written; {_WAY_OUT}"
                )

    def _read(self, name: str, asked: Any) -> Any:
        redis_keys = pack_keys(asked, self._keys.rows)
        with self._server.reaching("read"):
            values = self._server.client.mget(redis_keys)
        if None in values:
            raise CorruptVersion(
                f"part '{name}' has lost rows in {self._server.place}, such as that of key "
                f"{asked[values.index(None)].as_py()!r}; {_WAY_OUT}"
            )
        rows = self._table.batch(asked, redis_keys, values)
        return pa.RecordBatch.from_arrays(rows.columns, schema=self._table.schema)
