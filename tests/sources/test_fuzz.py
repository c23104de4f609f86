"""Mutated files: each gives right rows, rejected rows or one line, whatever is wrong with it."""

import gzip
import io
import json
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_text.errors import RecsysTextError
from recsys_text.sections import Source
from recsys_text.sources import read_rows
from recsys_text.sources.times import Span
from recsys_text.tables import TABLES

#: How many mutations each reader meets; a longer run is made by hand.
COUNT = int(os.environ.get("RECSYS_TEXT_FUZZ", "2000"))
SPAN = Span(start=datetime(2026, 10, 1, tzinfo=UTC), end=datetime(2026, 10, 3, tzinfo=UTC), zone=None)
ROWS = [
    {"item_id": f"i{n}", "title": f'Títle "{n}" 書', "tags": ["a", "b;c"], "category": None if n % 2 else "k"}
    | {"published_at": f"2026-10-0{n % 9 + 1}T10:00:00Z", "description": "x" * n}
    for n in range(12)
]


def csv_bytes() -> bytes:
    frame = pl.DataFrame(ROWS).with_columns(pl.col("tags").list.join("|"))
    return frame.write_csv().encode()


def json_bytes() -> bytes:
    return "".join(json.dumps(row) + "\n" for row in ROWS).encode()


def parquet_bytes() -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), buffer, row_group_size=5)
    return buffer.getvalue()


def sqlite_bytes(rows: list[dict[str, object]] = ROWS) -> bytes:
    def kept(value: object) -> object:
        """The value as SQLite keeps it, which has neither lists nor large numbers."""
        if isinstance(value, list):
            return "|".join(map(str, value))
        if isinstance(value, str):
            return value.encode(errors="surrogatepass") if "\ud800" in value else value
        return str(value) if isinstance(value, dict) or value == 2**70 else value

    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("pragma page_size = 512")  # so that little of the file is unused
        database.execute(f"create table items ({', '.join(ROWS[0])})")
        for row in rows:
            values = [kept(row.get(name)) for name in ROWS[0]]
            database.execute(f"insert into items values ({', '.join('?' * len(values))})", values)
        database.commit()
        return database.serialize()


FILES: dict[str, Callable[[], bytes]] = {
    "a.csv": csv_bytes,
    "a.csv.gz": lambda: gzip.compress(csv_bytes(), mtime=0),
    "a.jsonl": json_bytes,
    "a.jsonl.gz": lambda: gzip.compress(json_bytes(), mtime=0),
    "a.parquet": parquet_bytes,
    "a.sqlite": sqlite_bytes,
}


def source_of(path: Path) -> Source:
    if path.suffix == ".sqlite":
        return Source(kind="sql", uri=f"sqlite:///{path}", query="select * from items")
    return Source(kind="file", path=str(path))


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.randint(1, 5)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def splice(data: bytes, chance: random.Random) -> bytes:
    odd = [
        b"\x00",
        b'"',
        b"\\",
        b"\r",
        b"\xff\xfe",
        b"{}",
        b"[",
        b"NaN",
        b"1e999",
        b"\xed\xa0\xbd",
        b"2026-02-30",
        b"9" * 40,
    ]
    place = chance.randrange(len(data))
    return data[:place] + chance.choice(odd) + data[place + chance.randint(0, 3) :]


def encode(data: bytes, chance: random.Random) -> bytes:
    text = data.decode(errors="replace")
    return text.encode(chance.choice(["utf-16", "utf-16-le", "latin-1", "utf-8-sig", "utf-32"]), errors="replace")


def swap_lines(data: bytes, chance: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    chance.shuffle(lines)
    return b"".join(lines[: chance.randint(1, len(lines))])


def other_values(chance: random.Random) -> list[dict[str, object]]:
    """The same table with values of other types in some places."""
    odd = [
        None, 3, 2.5, float("nan"), 1e300, 2**70, True, [1, None], {"a": {"b": 1}}, [[1]], "x\ud800", "", "  ", "NULL",
        "{}", "[", "('a',)", "infinity", "9999-12-31", 0, -1, "0000-00-00", "2026-10-01 10:00:00+99:99",
    ]  # fmt: skip
    rows = [dict(row) for row in ROWS]
    for _ in range(chance.randint(1, 8)):
        chance.choice(rows)[chance.choice([*ROWS[0], "user", "ITEM_ID"])] = chance.choice(odd)
    return rows


def typed_parquet(chance: random.Random) -> bytes:
    """A Parquet file whose columns have other types, or the name of another."""
    texts = [f"{n}" for n in range(4)]
    columns: list[pa.Array] = [
        pa.array(texts),
        pa.array(texts).cast(pa.string_view()),
        pa.array(texts).dictionary_encode(),
        pa.array([1, 2, None, 4]),
        pa.array([1.0, float("nan"), 2.5, 2.0**60]),
        pa.array([1, 2, 3, 4]).cast(pa.decimal128(38, 9)),
        pa.array([1, 2, 3, 4]).cast(pa.decimal256(60, 9)),
        pa.array([b"\xff", b"a", None, b""]),
        pa.array([[texts]] * 4),
        pa.array([{"name": "a"}] * 4),
        pa.array([[{"name": "a"}]] * 4),
        pa.array([[("k", "v")]] * 4, pa.map_(pa.string(), pa.string())),
        pa.array([0, 2**62, -(2**62), None], pa.timestamp("us", "+05:30")),
        pa.array([0, 2**62, -(2**62), None], pa.timestamp("ns")),
        pa.array([0, 1, 2, 3], pa.date32()),
        pa.array([0, 1, 2, 3], pa.time64("us")),
        pa.array([0, 1, 2, 3], pa.duration("s")),
        pa.array([True, False, None, True]),
        pa.nulls(4),
        pa.array([[1, 2]] * 4, pa.list_(pa.int64(), 2)),
        pa.array([1, 2, 3, 4], pa.float16()),
    ]  # fmt: skip
    names = [chance.choice([*ROWS[0], "other"]) if chance.random() < 0.1 else name for name in ROWS[0]]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([chance.choice(columns) for _ in names], names=names), buffer)
    return buffer.getvalue()


def mutated(name: str, data: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.3:
        if name == "a.parquet":
            return typed_parquet(chance)
        if name == "a.sqlite":
            return sqlite_bytes(other_values(chance))
        if name.startswith("a.jsonl"):
            changed = "".join(json.dumps(row) + "\n" for row in other_values(chance)).encode()
            return gzip.compress(changed) if name.endswith("gz") else changed
    mutate = chance.choice([cut, flip, splice, encode, swap_lines])
    if name.endswith("gz") and chance.random() < 0.7:
        return gzip.compress(mutate(gzip.decompress(data), chance))
    return mutate(data, chance)


def test_the_file_that_is_mutated_is_read_whole(tmp_path: Path) -> None:
    for name, make in FILES.items():
        (tmp_path / name).write_bytes(make())
        rows = pl.concat(read_rows("items", source_of(tmp_path / name), SPAN))
        assert rows["rule"].null_count() == len(ROWS)
        assert rows["title"].to_list() == [row["title"] for row in ROWS]


@pytest.mark.parametrize("name", FILES)
def test_mutated_files_give_rows_rejected_rows_or_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    source = source_of(path)
    data = FILES[name]()
    outcomes: Counter[str] = Counter()
    for number in range(COUNT):
        path.write_bytes(mutated(name, data, random.Random(f"{name} {number}")))
        try:
            frames = list(read_rows("items", source, SPAN))
        except RecsysTextError as error:
            outcomes[type(error).__name__] += 1
            line = str(error)
            assert "\n" not in line
            assert name in line, number
            continue
        for frame in frames:
            assert frame.columns == [*TABLES["items"].column_names(), "rule", "offender"]
        rejected = sum(frame["rule"].is_not_null().sum() for frame in frames)
        outcomes["rejected rows" if rejected else "rows"] += 1
    print(name, dict(outcomes))
    assert {"rows", "ContractError"} <= set(outcomes)
