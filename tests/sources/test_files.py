"""Reading files: formats, globs, addresses, and files that are missing, broken or cut short."""

import csv
import functools
import gzip
import http.server
import io
import json
import logging
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import fsspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys_text.errors import ConfigError, ContractError, UnavailableError
from recsys_text.sources import files, json_files
from recsys_text.sources.boundary import describe_path
from recsys_text.sources.files import read_files
from recsys_text.sources.loose import is_loose
from recsys_text.sources.read import ROW_OFFENDER, ROW_RULE
from recsys_text.sources.times import Span

SPAN = Span(start=datetime(2024, 3, 1, tzinfo=UTC), end=datetime(2024, 3, 2, tzinfo=UTC), zone=None)
WANTED = {"id", "text"}


def read(path: Path | str, *, time: str | None = None, span: Span = SPAN, wanted: set[str] = WANTED) -> pl.DataFrame:
    batches = read_files(str(path), wanted, time=time, span=span)
    return pl.concat((plain(batch.frame) for batch in batches), how="diagonal_relaxed")


def plain(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with each value of a loose column as its text."""
    return frame.with_columns(column.struct.field("text").alias(column.name) for column in frame if is_loose(column))


def test_csv_is_text_and_tells_empty_from_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\ufeffid,other,text\n007,x,"one\nline, more"\n008,x,\n009,x,""\n', encoding="utf-8")
    assert read(path).rows() == [("007", "one\nline, more"), ("008", None), ("009", "")]
    assert read(path).columns == ["id", "text"]


def test_json_lines_are_text(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    records = [{"id": 12345678901234567890, "text": ["a", "b"], "x": 1}, {"id": "007"}, {"id": 1.5, "text": "书"}]
    path.write_text("\n\n".join(json.dumps(record) for record in records))
    assert read(path).rows() == [("12345678901234567890", '["a", "b"]'), ("007", None), ("1.5", "书")]


def test_json_lines_come_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_files, "_BATCH_ROWS", 2)
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1}\n{"id": 2}\n{"id": 3, "text": "c"}\n')
    batches = list(read_files(str(path), WANTED, time=None, span=SPAN))
    assert [plain(batch.frame).rows() for batch in batches] == [[("1",), ("2",)], [("3", "c")]]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz", "a.ndjson.gz"])
def test_compressed_files(tmp_path: Path, name: str) -> None:
    text = "id,text\n1,a\n" if ".csv" in name else '{"id": "1", "text": "a"}\n'
    (tmp_path / name).write_bytes(gzip.compress(text.encode()))
    assert read(tmp_path / name).rows() == [("1", "a")]


def test_a_glob_reads_every_file_in_order(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.csv").write_text(f"id\n{name}\n")
    (tmp_path / "folder.csv").mkdir()
    assert read(tmp_path / "*.csv")["id"].to_list() == ["a", "b", "c"]


def test_a_name_with_brackets_is_no_glob(tmp_path: Path) -> None:
    (tmp_path / "x[1].csv").write_text("id\n1\n")
    assert read(tmp_path / "x[1].csv")["id"].to_list() == ["1"]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_any_fsspec_address(kind: str) -> None:
    frame = pl.DataFrame({"id": ["1"], "text": ["a"]})
    with fsspec.open(f"memory://sources/{kind}/a.{kind}", "wb") as file:
        {"parquet": frame.write_parquet, "csv": frame.write_csv, "jsonl": frame.write_ndjson}[kind](file)  # type: ignore[operator]
    assert read(f"memory://sources/{kind}/*.{kind}").rows() == [("1", "a")]


def test_a_file_url(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n")
    assert read(f"file://{tmp_path}/a.csv")["id"].to_list() == ["1"]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where tmp_path is served by HTTP."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://user:geheim@127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_presigned_address_is_read_and_kept_secret(tmp_path: Path, address: str) -> None:
    frame = pl.DataFrame({"id": ["1"], "text": ["a"]})
    frame.write_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(frame.write_csv().encode()))
    (tmp_path / "a.jsonl").write_text(frame.write_ndjson())
    for name in ("a.parquet", "a.csv.gz", "a.jsonl"):
        assert read(f"{address}/{name}?sig=geheim/x.pq&b=1").rows() == [("1", "a")]
    (tmp_path / "broken.parquet").write_text("no parquet")
    (tmp_path / "broken.jsonl").write_text("no JSON")
    (tmp_path / "broken.csv.gz").write_text("no gzip")
    (tmp_path / "a.txt").touch()
    for name in ("broken.parquet", "broken.jsonl", "broken.csv.gz", "a.txt", "none.csv"):
        with pytest.raises((ConfigError, ContractError, UnavailableError), match=name) as caught:
            read(f"{address}/{name}?sig=geheim")
        assert "geheim" not in str(caught.value)


def test_an_address_in_the_words_of_a_library_loses_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Iterator[pl.DataFrame]:
        raise OSError(
            5, "403, message='Forbidden', url='https://u:geheim@host/a.csv?sig=geheim', at https://b?c=geheim"
        )

    monkeypatch.setattr(files, "read_csv", fail)
    (tmp_path / "a.csv").touch()
    with pytest.raises(UnavailableError, match=r"url='https://host/a\.csv', at https://b$"):
        read(tmp_path / "a.csv")


def write_hours(path: Path, dtype: pl.DataType) -> None:
    hours = pl.datetime_range(datetime(2024, 2, 29), datetime(2024, 3, 3), "1h", eager=True, closed="left")
    times = hours.cast(pl.Datetime(dtype.time_unit)) if isinstance(dtype, pl.Datetime) else hours
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        times = times.dt.replace_time_zone("UTC").dt.convert_time_zone(dtype.time_zone)
    pl.DataFrame({"id": range(72), "at": times}).vstack(
        pl.DataFrame({"id": [99], "at": [None]}, schema={"id": pl.Int64, "at": times.dtype})
    ).write_parquet(path, row_group_size=10)


@pytest.mark.parametrize(
    "dtype",
    [pl.Datetime("ms", "UTC"), pl.Datetime("us", "Asia/Tokyo"), pl.Datetime("ns", "UTC"), pl.Datetime("us", "UTC")],
)
def test_parquet_gives_the_rows_of_the_span_and_those_without_a_time(tmp_path: Path, dtype: pl.DataType) -> None:
    write_hours(tmp_path / "a.parquet", dtype)
    found = read(tmp_path / "a.parquet", time="at", wanted={"id", "at"})
    assert found["id"].to_list() == [*range(24, 48), 99]


def test_parquet_takes_naive_times_by_the_clock_of_their_zone(tmp_path: Path) -> None:
    write_hours(tmp_path / "a.parquet", pl.Datetime("us"))
    span = Span(start=SPAN.start, end=SPAN.end, zone=ZoneInfo("Asia/Shanghai"))
    assert read(tmp_path / "a.parquet", time="at", span=span, wanted={"id", "at"})["id"].to_list() == [
        *range(32, 56),
        99,
    ]


def test_a_missing_file_is_a_mistake_in_the_config(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path / "*.csv", "memory://nothing/a.csv"):
        with pytest.raises(ConfigError, match="no file at"):
            read(path)
    with pytest.raises(ConfigError, match=r"is a folder; write .*/\*\.parquet"):
        read(tmp_path)
    (tmp_path / "a.txt").touch()
    with pytest.raises(ConfigError, match=r"no reader for .*a\.txt; its name must end in one of \.parquet"):
        read(tmp_path / "a.txt")
    with pytest.raises(ConfigError, match=r"cannot open gopher://host/a\.csv"):
        read("gopher://user:secret@host/a.csv")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.parquet", b"no parquet", "not readable as parquet"),
        ("a.csv", b"", "is empty"),
        ("a.csv", b"id,text,id\n1,a,2\n", "has 2 columns 'id'"),
        ("a.csv", b'id,text\n1,"a\n2,b\n', "ends within the quotes that begin at line 2"),
        ("a.csv", "id,text\n1,a\n".encode("utf-16"), "UTF-16"),
        ("a.csv.gz", b"id,text\n1,a\n", "is not gzip"),
        ("a.jsonl", b"not JSON\n", "no JSON object in a line"),
        ("a.jsonl", b"[1]\n", "is a JSON array"),
    ],
)
def test_a_file_that_is_not_what_its_name_says(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ContractError, match=words):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "data", "rule", "offender"),
    [
        ("a.csv", b"id,text\n1,a\n2,b,c\n", "row|columns", "2,b,c"),
        ("a.csv", b"id,text\n1,a\n2\n", "row|columns", "2"),
        ("a.jsonl", b'{"id": 1, "text": "a"}\n{"id": ', "row|json", '{"id":'),
        ("a.jsonl", b'{"id": 1, "text": "a"}\n[2]\n', "row|json", "[2]"),
        ("a.csv", b"id,text\n1,a\n2,St\xfchle\n", "row|utf-8", "St\\xfchle"),
        ("a.csv", b"text,id\na,1\nb,\xe4\xf6\n", "row|utf-8", "\\xe4\\xf6"),
        ("a.csv", b'\xef\xbb\xbfid,text\n1,a\n2,"\xff, b"\n', "row|utf-8", "\\xff, b"),
        ("a.jsonl", b'{"id": 1, "text": "a"}\n{"id": "\xfc"}\n', "row|utf-8", '{"id": "\\xfc"}'),
    ],
)
def test_a_line_that_cannot_be_read_is_a_row_with_its_text(
    tmp_path: Path, name: str, data: bytes, rule: str, offender: str
) -> None:
    (tmp_path / name).write_bytes(data)
    rows = read(tmp_path / name)
    assert rows.filter(pl.col(ROW_RULE).is_null())["id"].to_list() == ["1"]
    assert rows.filter(pl.col(ROW_RULE).is_not_null()).select(ROW_RULE, ROW_OFFENDER).rows() == [(rule, offender)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('id;text\n1;"a;b"\n', "a;b"),
        ("id\ttext\n1\ta,b\n", "a,b"),
        ("id|text\n1|a,b\n", "a,b"),
        ('id,text\n1,"a ""b"" c"\n', 'a "b" c'),
        ('id,text\n1,"a \\"b\\" c"\n', 'a "b" c'),
        ('id,text\n1,"C:\\"\n', "C:\\"),
        ('id,text\n1,5" disk\n', '5" disk'),
        (" id , text \n1,a\n", "a"),
        ("\n\nid,text\n1,a\n", "a"),
        ("id,text\r\n1,a\r\n", "a"),
        ("id,text\r1,a\r", "a"),
        ('"id","text"\n"1","line\nline"\n', "line\nline"),
        ("sep=;\nid;text\n1;a,b\n", "a,b"),
        ("sep=,\r\nid,text\r\n1,a\r\n", "a"),
        ("sep=\t\nid\ttext\n1\ta\n", "a"),
        ("SEP=^\n\nid^text\n1^a\n", "a"),
        ('"sep=;"\nid;text\n1;"a;b"\n', "a;b"),
        ("\ufeffsep=;\rid;text\r1;a\r", "a"),
        ('sep=;;\nid;text\n1;"a \\"b\\" c"\n', 'a "b" c'),
    ],
)
def test_csv_is_read_in_the_dialect_that_it_is_written_in(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "a.csv").write_text(text, newline="")
    assert read(tmp_path / "a.csv").rows() == [("1", expected)]


@pytest.mark.parametrize(
    ("where", "expected"), [("id = '2'", ["2"]), ("cast(id as int) > 1", ["2"]), ("text is null", ["1"])]
)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_where_leaves_out_the_other_rows(tmp_path: Path, name: str, where: str, expected: list[str]) -> None:
    frame = pl.DataFrame({"id": ["1", "2"], "text": [None, "b"]})
    {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}[name[2:]](tmp_path / name)  # type: ignore[operator]
    batches = list(read_files(str(tmp_path / name), {"id"}, time=None, span=SPAN, where=where))
    assert pl.concat([batch.frame for batch in batches], how="diagonal")["id"].to_list() == expected


@pytest.mark.parametrize("where", ["id =", "nothing = 1", "id > 1"])
def test_a_where_that_does_not_fit_is_a_mistake_in_the_config(tmp_path: Path, where: str) -> None:
    (tmp_path / "a.csv").write_text("id,text\n1,a\n")
    with pytest.raises(ConfigError, match="where = "):
        list(read_files(str(tmp_path / "a.csv"), WANTED, time=None, span=SPAN, where=where))


@pytest.mark.parametrize(
    "written", [("True", "False"), ("true", "false"), ("TRUE", "FALSE"), ("1", "0"), (True, False)]
)
@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("bot = false", ["2"]),
        ("bot <> true", ["2"]),
        ("false = bot", ["2"]),
        ("not (bot = true)", ["2"]),
        ("bot is true", ["1"]),
        ("bot is not true and id <> '3'", ["2"]),
        ("id = '1' or (bot = false and id < '9')", ["1", "2"]),
        ("bot = false or bot is null", ["2", "3"]),
    ],
)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_a_flag_is_compared_however_it_is_written(
    tmp_path: Path, name: str, written: tuple[object, object], where: str, expected: list[str]
) -> None:
    frame = pl.DataFrame({"id": ["1", "2", "3"], "bot": [*written, None]})
    {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}[name[2:]](tmp_path / name)  # type: ignore[operator]
    batches = list(read_files(str(tmp_path / name), {"id"}, time=None, span=SPAN, where=where))
    assert pl.concat([batch.frame for batch in batches], how="diagonal")["id"].to_list() == expected


@pytest.mark.parametrize("text", ["yes", "robot", "-1", "2"])
@pytest.mark.parametrize("where", ["text = true", "text <> false", "id = '1' and text = true", "lower(text) = true"])
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_a_text_that_is_no_flag_is_not_compared_with_one(tmp_path: Path, name: str, where: str, text: str) -> None:
    frame = pl.DataFrame({"id": ["1", "2"], "text": ["true", text]})
    {"csv": frame.write_csv, "jsonl": frame.write_ndjson}[name[2:]](tmp_path / name)  # type: ignore[operator]
    with pytest.raises(ConfigError, match=r"where = .* true .*NAME = true to compare what is true or false") as caught:
        list(read_files(str(tmp_path / name), WANTED, time=None, span=SPAN, where=where))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("paths", "where", "said"),
    [
        (["a.csv"], "text = 'x'", "where = \"text = 'x'\" leaves no row of 2 in {}/a.csv"),
        (
            ["a.csv", "b.csv"],
            "text = 'x'",
            "where = \"text = 'x'\" leaves no row of 4 in 2 of 2 files, such as {}/a.csv",
        ),
        (["a.csv"], "text = 'b'", None),
        (["day=1/a.csv", "day=2/b.csv"], "day = '2'", None),
    ],
)
def test_a_where_that_leaves_no_row_of_a_file_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, paths: list[str], where: str, said: str | None
) -> None:
    for path in paths:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("id,text\n1,a\n2,b\n")
    with caplog.at_level(logging.WARNING, "recsys_text"):
        list(read_files(f"{tmp_path}/{'*/' * paths[0].count('/')}*.csv", WANTED, time=None, span=SPAN, where=where))
    told = [record.getMessage() for record in caplog.records]
    assert told == ([] if said is None else [said.format(tmp_path)])


def test_the_keys_of_partitions_are_columns(tmp_path: Path) -> None:
    for key in ("text=a%20b", "text=__HIVE_DEFAULT_PARTITION__"):
        (tmp_path / key).mkdir()
        (tmp_path / key / "x.csv").write_text("id\n1\n")
    assert sorted(read(tmp_path / "*/*.csv").rows(), key=str) == [("1", "a b"), ("1", None)]


def test_what_is_half_written_or_hidden_is_left_out(tmp_path: Path) -> None:
    for folder in ("_temporary/0", ".ipynb_checkpoints", "."):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "x.csv").write_text("id\n1\n")
        (tmp_path / folder / "_x.csv").write_text("id\n2\n")
    assert read(tmp_path / "**/*.csv")["id"].to_list() == ["1"]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.gz"])
def test_a_file_that_was_cut_short_is_worth_trying_again(tmp_path: Path, name: str) -> None:
    text = "".join(json.dumps({"id": str(number), "text": "a"}) + "\n" for number in range(1000))
    (tmp_path / name).write_bytes(gzip.compress(("id\n" if ".csv" in name else "").encode() + text.encode())[:-100])
    with pytest.raises(UnavailableError, match="broke off"):
        read(tmp_path / name)


def test_addresses_are_told_without_their_secrets() -> None:
    assert describe_path("s3://key:secret@bucket/a/*.parquet?token=x") == "s3://bucket/a/*.parquet"
    assert describe_path("/data/a?.csv") == "/data/a?.csv"


QUOTED = {
    # what the file holds -> its texts, or the fault
    'id,text\n1,"a, b"\n2,c\n': ["a, b", "c"],
    'id,text\n1,"a\nb"\n2,"say ""c"""\n': ["a\nb", 'say "c"'],
    'id,text\n1,"a \\"b\\""\n2,c\n': ['a "b"', "c"],
    'id,text\n1,5" pipe\n2,7" pipe\n': ['5" pipe', '7" pipe'],
    'id,text\n1,"Best" laptop\n2,c\n': "line 2 has a quote within quotes",
    'id,text\n1,"Great\n2,c\n3,"Good\n': "line 2 has a quote within quotes",
    'id,text\n1,"Great\n2,c\n': "ends within the quotes that begin at line 2",
    # Between tabs, quotes that do not pair are letters.
    'id\ttext\n1\t"Great\n2\tc\n3\t"Good\n': ['"Great', "c", '"Good'],
    'id\ttext\n1\t"Weird" Al\n2\tc\n': ['"Weird" Al', "c"],
    'id\ttext\n1\t"a\tb"\n2\tc\n': ["a\tb", "c"],
}


@pytest.mark.parametrize(("text", "expected"), QUOTED.items())
def test_quotes_are_read_right_or_refused(tmp_path: Path, text: str, expected: list[str] | str) -> None:
    (tmp_path / "a.csv").write_text(text)
    if isinstance(expected, str):
        with pytest.raises(ContractError, match=expected):
            read(tmp_path / "a.csv")
    else:
        assert read(tmp_path / "a.csv")["text"].to_list() == expected


@given(st.lists(st.text('a"\\,;\t\n\r é', max_size=8), min_size=1, max_size=6), st.sampled_from(",;\t|"))
def test_what_the_csv_module_writes_is_read_back(texts: list[str], separator: str) -> None:
    """However values are quoted, each is what was written, or the file is refused: no row is lost or joined."""
    written = io.StringIO()
    writer = csv.writer(written, delimiter=separator)
    writer.writerows([("id", "text"), *((number, f"x{text}") for number, text in enumerate(texts))])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.csv")
        path.write_text(written.getvalue(), encoding="utf-8", newline="")
        try:
            rows = read(path)
        except ContractError:
            assert "\\" in written.getvalue(), "only a backslash before a quote can be read in two ways"
            return
    if '\\"' not in written.getvalue():
        assert rows["text"].to_list() == [f"x{text}" for text in texts]


def test_a_value_may_be_of_any_length(tmp_path: Path) -> None:
    long = "words, " * 40_000
    (tmp_path / "a.csv").write_text(f'id,text\n1,"{long}"\n2,"say ""a"""\n')
    assert read(tmp_path / "a.csv")["text"].to_list() == [long, 'say "a"']


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
@pytest.mark.parametrize(
    ("name", "text"), [("a.csv", "id,text\n1,Mały\n"), ("a.jsonl", '{"id": "1", "text": "Mały"}\n')]
)
def test_utf_16_is_refused(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    mark = "" if encoding == "utf-16" else "\ufeff"
    (tmp_path / name).write_bytes((mark + text).encode(encoding))
    with pytest.raises(ContractError, match="written in UTF-16; save it as UTF-8"):
        read(tmp_path / name)


def test_a_json_file_without_lines_is_one_of_no_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"\n"))
    (tmp_path / "c.jsonl").write_text('\ufeff{"id": "1", "text": "a"}\n')
    assert read(tmp_path / "*.jsonl*")["id"].to_list() == ["1"]


def test_a_column_of_the_users_may_be_called_rule(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,rule\n1,keep\n2,drop\n3\n")
    batches = read_files(str(tmp_path / "a.csv"), {"id"}, time=None, span=SPAN, where="rule = 'keep'")
    rows = pl.concat((batch.frame for batch in batches), how="diagonal")
    assert rows["id"].to_list() == ["1", None], "the row that could not be read comes, too"


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl.gz", "a.parquet"])
def test_a_folder_is_told_how_to_be_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "log.csv").mkdir()
    (tmp_path / "log.csv" / name).touch()
    suffix = name.removeprefix("a").removesuffix(".gz")
    with pytest.raises(ConfigError, match=rf"log\.csv is a folder; write .*/log\.csv/\*\{suffix}"):
        read(tmp_path / "log.csv")


@pytest.mark.parametrize("unit", ["ms", "us"])
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_times_that_no_log_can_have_are_not_left_out_unseen(tmp_path: Path, unit: str, zone: str | None) -> None:
    times = pa.array([-(10**14), 0, 1709280000000, 10**14], pa.int64())
    scale = {"ms": 1, "us": 1000}[unit]
    typed = pa.array([time * scale for time in times.to_pylist()], pa.timestamp(unit, zone))
    pq.write_table(pa.table({"id": ["early", "1970", "inside", "late"], "at": typed}), tmp_path / "a.parquet")
    span = Span(start=SPAN.start, end=SPAN.end, zone=UTC)
    assert read(tmp_path / "a.parquet", time="at", span=span, wanted={"id", "at"})["id"].to_list() == [
        "early",
        "inside",
        "late",
    ]
