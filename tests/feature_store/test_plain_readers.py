"""The parts of a published version are plain Arrow files: other programs read them without this package."""

from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pytest
from pyarrow import dataset

from feature_store import LocalStore
from feature_store.schema import CODED
from tests.contracts.store_data import ROWS, batch, publish

PART_OF = {"p": ROWS[:1], "q": ROWS[1:], "r": []}


@pytest.fixture
def folder(store: LocalStore, root: Path) -> Path:
    """The folder of a version whose parts name different items; its rows are those of ROWS."""
    publish(store, "v1", {part: batch(rows) for part, rows in PART_OF.items()})
    return root / "user_scores" / "v1"


def by_key(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return sorted(rows, key=lambda row: str(row["user_id"]))


def test_pyarrow_reads_each_file_and_all_of_them(folder: Path) -> None:
    for path in folder.glob("*.arrow"):
        table = pa.ipc.open_file(path).read_all()
        assert table.schema.field("item_id").type == pa.list_(CODED)
        assert table.to_pylist() == PART_OF[path.name[0]]
    whole = dataset.dataset([str(path) for path in folder.glob("*.arrow")], format="ipc")
    assert by_key(whole.to_table().to_pylist()) == by_key(ROWS)


def test_polars_reads_all_files_at_once(folder: Path) -> None:
    for frame in (pl.read_ipc(folder / "*.arrow"), pl.scan_ipc(folder / "*.arrow").collect()):
        assert by_key(frame.to_dicts()) == by_key(ROWS)
    best = pl.scan_ipc(folder / "*.arrow").select("user_id", pl.col("item_id").list.first().cast(pl.String)).collect()
    assert dict(best.iter_rows()) == {"ann": "x", "bob": None, "新闻": "z"}


def test_duckdb_queries_them_through_arrow(folder: Path) -> None:
    scores = dataset.dataset([str(path) for path in folder.glob("*.arrow")], format="ipc")
    with duckdb.connect() as database:
        database.register("scores", scores)
        rows = database.sql("select * from scores order by user_id").to_arrow_table().to_pylist()
        assert rows == by_key(ROWS)
        pairs = database.sql("select user_id, unnest(item_id) as item, unnest(score) as score from scores").fetchall()
        assert sorted(pairs, key=str) == [("ann", "x", 0.5), ("ann", "y", 0.25), ("新闻", "z", None)]
        assert database.sql("select count(*) from scores where list_contains(item_id, 'z')").fetchall() == [(1,)]
