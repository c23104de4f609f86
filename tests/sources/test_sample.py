"""The first rows of foreign tables: files of each format, folders, and what is no table."""

import gzip
import json
from pathlib import Path

import polars as pl
import pytest

from recsys_text.errors import ConfigError, ContractError
from recsys_text.sources.sample import ROWS, sample

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
