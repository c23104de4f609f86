"""The feature store and what else could hold the same rows, each behind the same three questions.

Legend: N users, K items of each.
"""

import mmap
import os
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import polars as pl
import pyarrow as pa

from feature_store import LocalStore, Store, open_store

VIEW = "user_scores"
FEAST = """
project: benchmark
provider: local
registry: registry.db
offline_store: {type: file}
online_store: {type: sqlite, path: online.db}
entity_key_serialization_version: 3
"""
PARTS = 4


@dataclass(frozen=True, kw_only=True)
class Data:
    """The rows of N users: `batches` of a part each for Arrow, `packed[n]` the bytes of user n for the others."""

    keys: list[str]
    batches: list[Any]
    packed: list[bytes]
    pairs: int


def data(users: int, items: int, *, packed: bool = True) -> Data:
    """Draws the lists of users, with a catalogue of 50,000 items; `packed = False` leaves out what peers need."""
    draw = np.random.default_rng(7)
    ids = pa.array([f"item-{number:06d}" for number in range(50_000)])
    keys = [f"user-{number:07d}" for number in range(users)]
    batches, rows = [], []
    for part in range(PARTS):
        mine = keys[part * users // PARTS : (part + 1) * users // PARTS]
        codes = draw.integers(0, len(ids), (len(mine), items), dtype=np.int32)
        scores, interests = draw.random((2, len(mine), items), dtype=np.float32)
        offsets = pa.array(np.arange(len(mine) + 1, dtype=np.int32) * items)
        coded = pa.DictionaryArray.from_arrays(pa.array(codes.ravel()), ids)
        lists = [pa.ListArray.from_arrays(offsets, values) for values in (coded, scores.ravel(), interests.ravel())]
        batches.append(pa.record_batch([pa.array(mine), *lists], names=["user_id", "item_id", "score", "interest"]))
        if packed:
            whole = np.hstack([codes.view(np.uint8), scores.view(np.uint8), interests.view(np.uint8)])
            rows += [row.tobytes() for row in whole]
    return Data(keys=keys, batches=batches, packed=rows, pairs=users * items)


class System(Protocol):
    """Something that holds rows by key."""

    name: str

    def publish(self, version: str, rows: Data) -> None:
        """Writes everything, to last, and serves it."""

    def get(self, key: str) -> Any: ...

    def get_many(self, keys: Sequence[str]) -> Any: ...


class Ours:
    """The local backend; two threads write the parts."""

    name = "feature_store, local"

    def __init__(self, folder: Path) -> None:
        self.store: Store = LocalStore(folder / "store")
        self.reader: Any = None

    def publish(self, version: str, rows: Data) -> None:
        stage = self.store.begin(VIEW, version)

        def write(part: int) -> None:
            with stage.writer(f"p{part}") as writer:
                writer.write(rows.batches[part])

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(write, range(PARTS)))
        self.store.commit(VIEW, version, expect_parts=[f"p{part}" for part in range(PARTS)], metadata={})
        if self.reader is None:
            self.reader = self.store.reader(VIEW)

    def get(self, key: str) -> Any:
        return self.reader.get(key)

    def get_many(self, keys: Sequence[str]) -> Any:
        return self.reader.get_many(keys)


class OursInRedis(Ours):
    """The backend in Redis."""

    name = "feature_store, Redis"

    def __init__(self, url: str) -> None:
        self.store = open_store(f"{url}?prefix=benchmark-{secrets.token_hex(4)}:")
        self.reader = None


class RawRedis:
    """SET and GET of the same number of bytes, a thousand to a pipeline."""

    name = "Redis, raw"

    def __init__(self, url: str) -> None:
        import redis  # noqa: PLC0415 - only where it is installed

        self._redis = redis.Redis.from_url(url)

    def publish(self, version: str, rows: Data) -> None:
        for start in range(0, len(rows.keys), 1000):
            with self._redis.pipeline(transaction=False) as pipeline:
                for key, value in zip(rows.keys[start : start + 1000], rows.packed[start : start + 1000], strict=True):
                    pipeline.set(key, value)
                pipeline.execute()

    def get(self, key: str) -> Any:
        return self._redis.get(key)

    def get_many(self, keys: Sequence[str]) -> Any:
        return self._redis.mget(keys)


class Segment:
    """The bytes in one file behind a dict of offsets: no checksums, no second look at a key, no swap."""

    name = "raw mmap segment"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "segment"

    def publish(self, version: str, rows: Data) -> None:
        with open(self._path, "wb", buffering=1 << 20) as file:
            file.writelines(rows.packed)
            file.flush()
            os.fsync(file.fileno())
        self._map = mmap.mmap(os.open(self._path, os.O_RDONLY), 0, prot=mmap.PROT_READ)
        self._size = len(rows.packed[0])
        self._place = {key: number * self._size for number, key in enumerate(rows.keys)}

    def get(self, key: str) -> Any:
        start = self._place[key]
        return self._map[start : start + self._size]

    def get_many(self, keys: Sequence[str]) -> Any:
        return [self.get(key) for key in keys]


class ArrowMap:
    """An Arrow file by mmap and a dict of rows: no checksums, no second look at a key, no swap."""

    name = "Arrow mmap without checks"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "rows.arrow"

    def publish(self, version: str, rows: Data) -> None:
        with pa.OSFile(str(self._path), "wb") as file, pa.ipc.new_file(file, rows.batches[0].schema) as writer:
            for batch in rows.batches:
                writer.write_batch(batch)
        descriptor = os.open(self._path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        file = pa.ipc.open_file(pa.memory_map(str(self._path)))
        self._batches = [file.get_batch(number) for number in range(file.num_record_batches)]
        size = len(rows.keys) // PARTS
        self._place = {key: divmod(number, size) for number, key in enumerate(rows.keys)}

    def get(self, key: str) -> Any:
        batch, row = self._place[key]
        return self._batches[batch].slice(row, 1)

    def get_many(self, keys: Sequence[str]) -> Any:
        return pa.concat_batches([self.get(key) for key in keys])


class Lmdb:
    """One transaction, synced."""

    name = "LMDB"

    def __init__(self, folder: Path) -> None:
        import lmdb  # noqa: PLC0415 - only where it is installed

        self._environment = lmdb.open(str(folder / "lmdb"), map_size=1 << 33)
        self._reading: Any = None

    def publish(self, version: str, rows: Data) -> None:
        with self._environment.begin(write=True) as transaction, transaction.cursor() as cursor:
            cursor.putmulti(zip((key.encode() for key in rows.keys), rows.packed, strict=True))
        self._environment.sync(True)
        self._reading = self._environment.begin(buffers=True)

    def get(self, key: str) -> Any:
        return self._reading.get(key.encode())

    def get_many(self, keys: Sequence[str]) -> Any:
        with self._reading.cursor() as cursor:
            return cursor.getmulti([key.encode() for key in keys])


class RocksDb:
    """Batches of a thousand rows, then a flush."""

    name = "RocksDB"

    def __init__(self, folder: Path) -> None:
        import rocksdict  # noqa: PLC0415 - only where it is installed

        self._rocks = rocksdict
        options = rocksdict.Options(raw_mode=True)
        options.create_if_missing(True)
        self._database = rocksdict.Rdict(str(folder / "rocks"), options)

    def publish(self, version: str, rows: Data) -> None:
        for start in range(0, len(rows.keys), 1000):
            batch = self._rocks.WriteBatch(raw_mode=True)
            for key, value in zip(rows.keys[start : start + 1000], rows.packed[start : start + 1000], strict=True):
                batch.put(key.encode(), value)
            self._database.write(batch)
        self._database.flush()

    def get(self, key: str) -> Any:
        return self._database[key.encode()]

    def get_many(self, keys: Sequence[str]) -> Any:
        return self._database[[key.encode() for key in keys]]


class FeastSdk:
    """Feast's online store in SQLite, by its SDK."""

    name = "Feast SDK, SQLite"

    def __init__(self, folder: Path) -> None:
        from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType  # noqa: PLC0415
        from feast.types import Array, Float32, String  # noqa: PLC0415

        folder.mkdir()
        (folder / "feature_store.yaml").write_text(FEAST)
        source = FileSource(path=str(folder / "rows.parquet"), timestamp_field="at")
        none = {"user_id": [""], "item_id": [[""]], "score": [[0.0]], "interest": [[0.0]], "at": [datetime.now(UTC)]}
        pl.DataFrame(none).write_parquet(source.path)
        user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
        fields = [Field(name="item_id", dtype=Array(String))]
        fields += [Field(name=name, dtype=Array(Float32)) for name in ("score", "interest")]
        self._store = FeatureStore(repo_path=str(folder))
        self._store.apply([user, FeatureView(name=VIEW, entities=[user], schema=fields, source=source)])
        self._features = [f"{VIEW}:{field.name}" for field in fields]

    def publish(self, version: str, rows: Data) -> None:
        for batch in rows.batches:
            frame = batch.to_pandas()
            frame["at"] = datetime.now(UTC)
            self._store.write_to_online_store(VIEW, df=frame)

    def get(self, key: str) -> Any:
        return self.get_many([key])

    def get_many(self, keys: Sequence[str]) -> Any:
        rows = [{"user_id": key} for key in keys]
        return self._store.get_online_features(features=self._features, entity_rows=rows).to_dict()
