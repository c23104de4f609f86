"""Rows and publishers for the tests of feature stores."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from feature_store import Checks, PartWriter, Store

SCHEMA = pa.schema(
    {"user_id": pa.string(), "item_id": pa.list_(pa.string()), "score": pa.list_(pa.float32()), "age": pa.int32()}
)
ROWS: list[dict[str, Any]] = [
    {"user_id": "ann", "item_id": ["x", "y"], "score": [0.5, 0.25], "age": 1},
    {"user_id": "bob", "item_id": [], "score": [], "age": None},
    {"user_id": "新闻", "item_id": ["z"], "score": None, "age": 3},
]


def batch(rows: Iterable[Mapping[str, Any]], schema: Any = SCHEMA) -> Any:
    return pa.RecordBatch.from_pylist([dict(row) for row in rows], schema=schema)


def publish(
    store: Store,
    version: str,
    parts: Mapping[str, Any] | None = None,
    *,
    view: str = "user_scores",
    as_of: str | None = None,
    checks: Checks | None = None,
) -> None:
    """Stages one record batch per part (ROWS by default) and commits."""
    parts = {"all": batch(ROWS)} if parts is None else parts
    stage = store.begin(view, version)
    for name, rows in parts.items():
        with stage.writer(name) as writer:
            writer.write(rows)
    metadata = {} if as_of is None else {"as_of": as_of}
    store.commit(view, version, expect_parts=list(parts), metadata=metadata, checks=checks)


def write_all(writer: PartWriter, *batches: Any) -> None:
    for rows in batches:
        writer.write(rows)


def numbered(value: int, keys: Sequence[str]) -> Any:
    """A batch whose every row says `value`, so that a mixed answer shows."""
    schema = pa.schema({"key": pa.string(), "value": pa.int64()})
    return pa.record_batch([pa.array(keys), pa.array([value] * len(keys))], schema=schema)
