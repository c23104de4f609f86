"""Rows of a source by its table's contract: what one file or one row lacks, and types that only some libraries know."""

import json
import sqlite3
import uuid
from contextlib import closing
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_text.errors import ConfigError, ContractError
from recsys_text.sections import Source
from recsys_text.sources import read_rows
from tests.sources.test_fuzz import SPAN


def items(path: Path | str, **settings: object) -> pl.DataFrame:
    source = Source.model_validate({"kind": "file", "path": str(path), **settings})
    return pl.concat(read_rows("items", source, SPAN))


@pytest.mark.parametrize("first", ["a", "b"])
def test_of_json_lines_any_file_may_have_a_column_and_one_must(tmp_path: Path, first: str) -> None:
    records = [{"item_id": "1", "title": "A"}, {"item_id": "2", "title": "B", "kind": "k", "at": {"place": "p"}}]
    for name, record in zip((first, "ab".replace(first, "")), records, strict=True):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(record) + "\n")
    rows = items(tmp_path / "*.jsonl", columns={"category": "kind", "description": "at.place"}).sort("item_id")
    assert rows["category"].to_list() == [None, "k"]
    assert rows["description"].to_list() == [None, "p"]
    with pytest.raises(ContractError, match=r"\*\.jsonl: the source of items has no column 'kin' .* perhaps 'kind'"):
        items(tmp_path / "*.jsonl", columns={"category": "kin"})
    with pytest.raises(ContractError, match=r"no row has a field 'plac' in its 'at'; correct or leave out 'at\.plac'"):
        items(tmp_path / "*.jsonl", columns={"description": "at.plac"})
    with pytest.raises(ContractError, match=r"[ab]\.jsonl: the source of items has no column 'name'"):
        items(tmp_path / "*.jsonl", columns={"title": "name"})


def test_a_field_that_no_row_has_is_told_and_one_that_some_have_is_read(tmp_path: Path) -> None:
    rows = [{"item_id": "1", "title": "A", "labels": []}, {"item_id": "2", "title": "B", "labels": [{"name": "x"}]}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert items(tmp_path / "a.jsonl", columns={"tags": "labels.name"})["tags"].to_list() == [[], ["x"]]
    with pytest.raises(ContractError, match="no row has a field 'nam' in its 'labels'"):
        items(tmp_path / "a.jsonl", columns={"tags": "labels.nam"})


def test_json_in_parquet_is_what_it_says(tmp_path: Path) -> None:
    titles = ['"Title"', '{"en": "x"}', "7.0", "not JSON", None]
    table = {
        "item_id": pa.array(list("abcde")),
        "title": pa.ExtensionArray.from_storage(pa.json_(), pa.array(titles)),
        "tags": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['["p", "q"]', "null", "[]", "[[1]]", '"r"'])),
    }
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    rows = items(tmp_path / "a.parquet")
    assert rows["title"].to_list() == ["Title", None, "7", "not JSON", None]
    assert rows["tags"].to_list() == [["p", "q"], [], [], [], ["r"]]
    assert rows["rule"].to_list() == [None, "title|dtype", None, "tags|dtype", None]


def test_uuids_are_texts_wherever_they_are(tmp_path: Path) -> None:
    ids = [uuid.UUID(int=n) for n in (1, 2)]
    made = pa.array([each.bytes for each in ids], pa.uuid())
    table = {"item_id": made, "title": pa.array(["A", "B"]), "tags": pa.ListArray.from_arrays([0, 2, 2], made)}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    rows = items(tmp_path / "a.parquet")
    assert rows["item_id"].to_list() == [str(each) for each in ids]
    assert rows["tags"].to_list() == [[str(each) for each in ids], []]


def not_unicode(count: int) -> pa.Array:
    """Texts of which the second is written in Latin-1, as C++ programs write them into Parquet."""
    raw = pa.array([b"Caf\xc3\xa9", b"Caf\xe9 and a text that is longer than twelve bytes", *[b"x"] * (count - 2)])
    return pa.Array.from_buffers(pa.string(), count, raw.buffers())


SHAPES = {
    "string": lambda texts: texts,
    "large string": lambda texts: pa.Array.from_buffers(
        pa.large_string(), len(texts), texts.cast(pa.binary()).cast(pa.large_binary()).buffers()
    ),
    "dictionary": lambda texts: pa.DictionaryArray.from_arrays(pa.array(range(len(texts)), pa.int32()), texts),
    "field": lambda texts: pa.StructArray.from_arrays([texts], ["en"]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_text_of_parquet_that_is_no_unicode_rejects_its_row(tmp_path: Path, shape: str) -> None:
    texts = not_unicode(40)
    table = {"item_id": [f"i{n}" for n in range(40)], "title": SHAPES[shape](texts)}
    pq.write_table(pa.table(table), tmp_path / "a.parquet", use_dictionary=False)
    rows = items(tmp_path / "a.parquet", columns={"title": "title.en" if shape == "field" else "title"})
    assert rows["rule"].to_list() == [None, "title|dtype", *[None] * 38]
    assert rows["title"].to_list() == ["Café", None, *["x"] * 38]


def test_a_list_of_parquet_with_a_text_that_is_no_unicode_rejects_its_row(tmp_path: Path) -> None:
    tags = pa.ListArray.from_arrays([0, 1, 3, 4], not_unicode(4))
    pq.write_table(pa.table({"item_id": list("abc"), "title": list("ABC"), "tags": tags}), tmp_path / "a.parquet")
    rows = items(tmp_path / "a.parquet")
    assert rows["rule"].to_list() == [None, "tags|dtype", None]
    assert rows["tags"].to_list() == [["Café"], [], ["x"]]


@pytest.mark.parametrize("column", ["description", "tags", "category", "published_at", "expires_at", "updated_at"])
@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "db"])
def test_a_column_that_the_config_leaves_out_is_not_read_whatever_it_holds(
    tmp_path: Path, column: str, suffix: str
) -> None:
    path, unfit = tmp_path / f"items.{suffix}", {"id": 7} if suffix in ("jsonl", "parquet") else "no value of that kind"
    frame = pl.DataFrame({"item_id": ["1", "2"], "title": ["A", "B"], column: [unfit, unfit]})
    source = {"kind": "file", "path": str(path), "columns": {column: ""}}
    if suffix == "csv":
        frame.write_csv(path)
    elif suffix == "jsonl":
        frame.write_ndjson(path)
    elif suffix == "parquet":
        frame.write_parquet(path)
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(f"create table items (item_id, title, {column})")
            connection.executemany("insert into items values (?, ?, ?)", frame.rows())
            connection.commit()
        del source["path"]
        source |= {"kind": "sql", "uri": f"sqlite:///{path}", "query": "select * from items"}
    rows = pl.concat(read_rows("items", Source.model_validate(source), SPAN))
    assert rows[column].to_list() == ([[], []] if column == "tags" else [None, None])
    assert rows["rule"].to_list() == [None, None]


def test_a_column_that_every_row_needs_cannot_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("item_id,title\n1,A\n")
    for column in ("item_id", "title"):
        with pytest.raises(ConfigError, match=rf'sources\.items\.columns: {column} = "" leaves out a column'):
            items(tmp_path / "a.csv", columns={column: ""})
    source = Source.model_validate({"kind": "file", "path": str(tmp_path / "a.csv"), "columns": {"clicked": ""}})
    with pytest.raises(ConfigError, match="clicked"):
        pl.concat(read_rows("impressions", source, SPAN))


def test_labels_that_the_config_leaves_out_are_found_among_the_events(tmp_path: Path) -> None:
    path = tmp_path / "shown.jsonl"
    row = {"impression_id": "1", "user_id": "u", "shown_at": "2026-10-01T08:00:00Z", "candidates": ["1"], "clicked": 7}
    path.write_text(json.dumps(row) + "\n")
    source = {"kind": "file", "path": str(path), "clicks_within": "1h", "values": {"origin": "logged"}}
    rows = pl.concat(read_rows("impressions", Source.model_validate(source | {"columns": {"clicked": ""}}), SPAN))
    assert rows["clicked"].to_list() == [None]
