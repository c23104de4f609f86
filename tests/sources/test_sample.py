"""The first rows of foreign tables: files of each format, folders, and what is no table."""

import gzip
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_text.errors import ConfigError, ContractError, RecsysTextError
from recsys_text.sources.guess import guess
from recsys_text.sources.sample import ROWS, Sample, sample

ROW = {"sku": "A-1", "name": "Dune"}


def csv_text(separator: str = ",", rows: int = 2) -> str:
    return "\n".join([separator.join(ROW), *[separator.join(ROW.values())] * rows]) + "\n"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_of_a_csv_file_is_found(tmp_path: Path, separator: str) -> None:
    (tmp_path / "items.csv").write_text(csv_text(separator))
    (found,) = sample(str(tmp_path / "items.csv")).tables
    assert found.columns == {"sku": ["A-1"] * 2, "name": ["Dune"] * 2}
    assert found.source.get("separator", ",") == separator


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "jsonl", "jsonl.gz", "parquet"])
def test_each_format_gives_the_same_columns_and_few_rows(tmp_path: Path, suffix: str) -> None:
    path, many = tmp_path / f"items.{suffix}", ROWS + 10
    text = csv_text(rows=many) if suffix.startswith("csv") else (json.dumps(ROW) + "\n") * many
    if suffix == "parquet":
        pl.DataFrame([ROW] * many).write_parquet(path)
    else:
        path.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    (found,) = sample(str(path)).tables
    assert {name: (values[0], len(values)) for name, values in found.columns.items()} == {
        "sku": ("A-1", ROWS),
        "name": ("Dune", ROWS),
    }


@pytest.mark.parametrize("name", ["exprots", "orders_2024", "shop-db"])
def test_a_mistyped_word_may_have_meant_a_file_as_well_as_a_connection(name: str) -> None:
    with pytest.raises(ConfigError, match=f"no file or folder {name}, and no Airflow connection '{name}'"):
        sample(name)


def test_a_folder_gives_a_table_for_each_set_of_columns(tmp_path: Path) -> None:
    for name in ("clicks_1.csv", "clicks_2.csv"):
        (tmp_path / name).write_text("user,item,time\nu,1,2020-01-01\n")
    (tmp_path / "items.csv").write_text(csv_text())
    for left_out in (".ipynb_checkpoints", "_temporary"):
        (tmp_path / left_out).mkdir()
        (tmp_path / left_out / "clicks_3.csv").write_text("half")
    found = {each.source["path"] for each in sample(str(tmp_path)).tables}
    assert found == {f"{tmp_path}/clicks_*.csv", f"{tmp_path}/items.csv"}


def test_partitions_are_one_table_and_their_keys_are_columns(tmp_path: Path) -> None:
    for day in ("2020-01-01", "2020-01-02"):
        folder = tmp_path / f"day={day}"
        folder.mkdir()
        (folder / "part.csv").write_text("user,item\nu,1\n")
    (found,) = sample(str(tmp_path)).tables
    assert found.source["path"] == f"{tmp_path}/day=*/part.csv"
    assert found.columns["day"] == ["2020-01-01"]


def test_a_folder_with_brackets_in_its_name_is_that_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a[b]*?"
    folder.mkdir()
    for name in ("x1.csv", "x2.csv"):
        (folder / name).write_text(csv_text())
    (found,) = sample(str(folder)).tables
    assert found.columns["sku"] == ["A-1"] * 2


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("items.parquet", b"no", ContractError),
        ("items.csv.gz", b"\x1f\x8bis no gzip", ContractError),
        ("items.jsonl", b"[1]\n", ContractError),
        ("items.jsonl", b"{no\n", ContractError),
        ("items.csv", b"", ContractError),
        ("items.xlsx", b"no", ConfigError),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, content: bytes, error: type[Exception]) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=name) as caught:
        sample(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_where_nothing_is_says_so(tmp_path: Path) -> None:
    for address in (str(tmp_path), str(tmp_path / "no.csv"), str(tmp_path / "no*.csv")):
        with pytest.raises(ConfigError, match="no "):
            sample(address)


@pytest.mark.parametrize(
    "text",
    [
        '"sku";"name";"price, EUR, net, gross"\nA-1;Dune;3\n',
        "sku;name;price, EUR, net, gross\nA-1;Dune;3\n",
        "sku\tname\tsizes a|b|c|d\nA-1\tDune\t1|2\n",
        '"sku"|"name"|"a;b;c;d;e"\nA-1|Dune|"1;2"\n',
        "\n\nsku,name,notes; more; and; more\nA-1,Dune,x\n",
    ],
)
def test_the_separator_is_the_one_that_the_rows_have_too(tmp_path: Path, text: str) -> None:
    (tmp_path / "items.csv").write_text(text)
    (found,) = sample(str(tmp_path / "items.csv")).tables
    assert found.columns["sku"] == ["A-1"]
    assert found.columns["name"] == ["Dune"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("items.csv", "\n\r\nsku,name\nA-1,Dune\n"),
        ("items.csv", f'sku,name,plot\nA-1,Dune,"{"word " * 40_000}"\n'),
        ("items.csv", 'sku,name,plot\nA-1,Dune,"a \\"quoted\\" word"\n'),
        ("items.csv", "sku,name\nA-1,Dune\nA-2\n"),
        ("items.jsonl", json.dumps({**ROW, "plot": "a\u2028b\x85c"}, ensure_ascii=False) + "\n"),
        ("items.jsonl", json.dumps(ROW) + '\n{"sku": "A-2", "na\n'),
        ("items.jsonl", "\n" + json.dumps(ROW) + "\n"),
    ],
)
def test_what_extraction_reads_is_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    (found,) = sample(str(tmp_path / name)).tables
    assert {column: found.columns[column] for column in ROW} == {column: [value] for column, value in ROW.items()}


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("items.csv", b'sku,name\nA-1,"Dune\n' + b"A-2,Emma\n" * 20_000, "quote"),
        ("items.csv", b'sku,name\nA-1,"Dune\n', "ends within the quotes"),
        ("items.csv.gz", gzip.compress(b"sku,name\nA-1,Dune\n", mtime=0)[:-9], "broke off"),
        ("items.csv", b"sku\nB\xfccher\nT\xfcren\n", r"items.csv: no row .* is not UTF-8; save the file as UTF-8"),
    ],
)
def test_what_extraction_refuses_is_refused_in_its_words(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(RecsysTextError, match=words):
        sample(str(tmp_path / name))


EVENTS: dict[str, list[Any]] = {"user_id": ["u", "v"], "item_id": ["1", "2"], "occurred_at": [1_714_550_000] * 2}
FAR = 400 * 365 * 86_400 * 10**6 * 50
ODD_COLUMNS: dict[str, pa.Array] = {
    "infinite": pa.array([float("inf"), 1.0]),
    "not_a_number": pa.array([float("nan"), float("-inf")]),
    "far": pa.array([FAR, 0], pa.timestamp("us", "UTC")),
    "far_seconds": pa.array([2**50, -(2**50)], pa.timestamp("s")),
    "before_christ": pa.array([-719_560, 2**31 - 1], pa.date32()),
    "far_date": pa.array([2**60 // 86_400_000 * 86_400_000, 0], pa.int64()).cast(pa.date64()),
    "nanoseconds": pa.array([1_714_550_000_123_456_789, None], pa.timestamp("ns")),
    "duration": pa.array([2**62, 0], pa.duration("ms")),
    "clock": pa.array([1, 2], pa.time64("ns")),
    "far_list": pa.array([[FAR], []], pa.list_(pa.timestamp("us"))),
    "far_struct": pa.array([{"at": FAR}] * 2, pa.struct([("at", pa.timestamp("us"))])),
    "pairs": pa.array([[("k", "v")]] * 2, pa.map_(pa.string(), pa.string())),
    "bytes": pa.array([b"\xff", b"a"]),
    "large": pa.array([10**60, 1], pa.decimal256(70, 0)),
    "nothing": pa.nulls(2),
}


@pytest.mark.parametrize("column", ODD_COLUMNS)
def test_no_value_of_a_column_stops_a_draft(tmp_path: Path, column: str, capfd: pytest.CaptureFixture[str]) -> None:
    table = pa.table({"item_id": ["1", "2"], "title": ["Dune", "Emma"], column: ODD_COLUMNS[column]})
    pq.write_table(table, tmp_path / "items.parquet", version="2.6")
    events = Sample(name="clicks", columns={**EVENTS, column: [10**400, float("inf")]}, source={"path": "clicks"})
    (items,) = sample(str(tmp_path / "items.parquet")).tables
    read = [values for name, values in items.columns.items() if items.fields.get(name, name) == column]
    assert [len(values) for values in read] == [2] or column in items.unread
    assert guess([items, events]).items.sample == items
    assert capfd.readouterr().err == ""


EVENTS: dict[str, list[Any]] = {
    "user_id": ["u", "v"],
    "item_id": ["1", "2"],
    "occurred_at": [1_714_550_000, 1_714_550_001],
}


def test_typed_times_that_python_has_stay(tmp_path: Path) -> None:
    time = datetime(2026, 10, 1, 10, 30, tzinfo=UTC)
    pl.DataFrame({"at": [time, None]}).write_parquet(tmp_path / "a.parquet")
    assert sample(str(tmp_path / "a.parquet")).tables[0].columns == {"at": [time, None]}


def test_times_of_nanoseconds_need_no_pandas(tmp_path: Path) -> None:
    times = pa.array([1_714_550_000_123_456_789], pa.timestamp("ns"))
    pq.write_table(pa.table({"at": times}), tmp_path / "a.parquet")
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'pandas': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from recsys_text.sources.sample import sample\n"
        "print(sample(sys.argv[1]).tables[0].columns['at'][0].year)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.parquet")], capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "2024", done.stderr


def sqlite_file(folder: Path) -> str:
    with closing(sqlite3.connect(folder / "shop.db")) as connection:
        connection.execute("create table items (sku, name)")
        connection.execute("insert into items values ('A-1', 'Dune')")
        connection.execute("create table gone (a)")
        connection.execute("create view broken as select a from gone")
        connection.execute("create view late as select abs(-9223372036854775807 - rowid) as a from items")
        connection.execute('create table "${HOME}" (sku, name)')
        connection.execute("drop table gone")
        connection.commit()
    return str(folder / "shop.db")


def duckdb_file(folder: Path) -> str:
    with duckdb.connect(str(folder / "shop.duckdb")) as connection:
        connection.execute(
            "create table items as select 'A-1' as sku, 'Dune' as name, timestamptz_ns, \"union\" "
            'from (select timestamp_tz_ns as timestamptz_ns, "union" from test_all_types() limit 1)'
        )
        connection.execute("create view late as select cast(sku as integer) as a, sku from items")
        connection.execute("create table gone (a integer)")
        connection.execute("create view broken as select a from gone")
        connection.execute("drop table gone")
    return str(folder / "shop.duckdb")


def folder_of_files(folder: Path) -> str:
    (folder / "items.csv").write_text(csv_text(rows=1))
    for name, data in {
        "broken.csv": b'sku,name\n"A',
        "empty.csv": b"",
        "array.jsonl": b"[1]\n",
        "broken.parquet": b"no",
        "cut.csv.gz": gzip.compress(csv_text().encode())[:-6],
        "wide.csv": "sku,name\n".encode("utf-16"),
        "Thumbs.db": b"no database",
        os.fsdecode(b"caf\xe9.csv"): csv_text().encode(),
    }.items():
        (folder / name).write_bytes(data)
    return str(folder)


def csv_columns(folder: Path) -> str:
    (folder / "items.csv").write_text('sku,name,twin,twin,"price in ${HOME}"\nA-1,Dune,1,2,3\n')
    return str(folder / "items.csv")


def json_columns(folder: Path) -> str:
    (folder / "items.jsonl").write_text(json.dumps(ROW | {"half \ud800": 1, "${HOME}": 1}) + "\n")
    return str(folder / "items.jsonl")


@pytest.mark.parametrize(
    ("write", "parts"),
    [
        (sqlite_file, ["broken is left out", "late is left out", '"${HOME}" is left out']),
        (duckdb_file, ["broken is left out", "late: column 'a' is left out"]),
        (csv_columns, ["'twin'", "${HOME}"]),
        (json_columns, ["ud800", "${HOME}"]),
        (
            folder_of_files,
            ["broken.csv", "empty.csv", "array.jsonl", "broken.parquet", "cut.csv.gz", "Thumbs.db", "caf"],
        ),
    ],
)
def test_a_broken_part_is_left_out_and_said_in_a_line(
    tmp_path: Path, write: Callable[[Path], str], parts: list[str]
) -> None:
    found = sample(write(tmp_path))
    (items,) = [table for table in found.tables if "name" in table.columns]
    assert {name: items.columns[name] for name in ROW} == {name: [value] for name, value in ROW.items()}
    for part in parts:
        assert len([line for line in found.left_out if part in line]) == 1, (part, found.left_out)
    assert all(line.isprintable() for line in found.left_out)


@pytest.mark.parametrize("count", [1, 9])
def test_where_all_parts_are_broken_one_line_says_so(tmp_path: Path, count: int) -> None:
    for number in range(count):
        (tmp_path / f"{number}.csv").write_bytes(b'sku,name\n"A')
    with pytest.raises(ContractError, match=r"no table of .* can be read: .*0\.csv ends within the quotes") as caught:
        sample(str(tmp_path))
    assert str(caught.value).isprintable()


def test_a_table_with_a_broken_file_in_its_glob_is_left_out(tmp_path: Path) -> None:
    for name, text in {"log_1": csv_text(), "log_2": csv_text(), "log_3": 'sku,name\n"A', "items": csv_text()}.items():
        (tmp_path / f"{name}.csv").write_text(text if name != "items" else text.replace("sku", "id"))
    found = sample(str(tmp_path))
    assert [table.name for table in found.tables] == ["items.csv"]
    assert any("log_*.csv is left out: it holds log_3.csv" in line for line in found.left_out)


def test_a_table_is_told_by_its_first_file_with_rows(tmp_path: Path) -> None:
    (tmp_path / "log_1.csv").write_text("sku,name\n")
    (tmp_path / "log_2.csv").write_text(csv_text(rows=1))
    for address in (str(tmp_path), f"{tmp_path}/log_*.csv"):
        (found,) = sample(address).tables
        assert found.columns == {name: [value] for name, value in ROW.items()}
        assert found.source["path"] == f"{tmp_path}/log_*.csv"


def test_a_name_that_no_config_can_hold_is_refused(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(str(tmp_path)) + b"/caf\xe9.csv")
    Path(path).write_text(csv_text())
    with pytest.raises(ConfigError, match=r"caf\\udce9\.csv is not UTF-8, .* rename it"):
        sample(path)
