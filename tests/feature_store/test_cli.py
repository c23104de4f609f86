"""The command line says what a store holds and whether it's whole, and its exit code says what is wrong."""

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rich.console import Console

from feature_store import Checks, CorruptVersion, LocalStore, RefusedVersion
from feature_store.cli import main
from feature_store.local import commit
from feature_store.local import stage as stage_module
from tests.contracts.store_data import numbered, publish
from tests.feature_store.publisher import KEYS


def run(*arguments: str) -> int:
    try:
        main(list(arguments))
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def lines_of(text: str) -> dict[str, list[str]]:
    """The cells that each row of a printed table has something in, by the first one."""
    rows = [re.split(r" {2,}", line.strip()) for line in text.splitlines()]
    return {row[0]: row[1:] for row in rows}


@pytest.fixture
def url(store: LocalStore, root: Path) -> str:
    """A store with a former, a served, a refused and a damaged version, and another view."""
    now = datetime.now(UTC)
    publish(store, "v0", {"p": numbered(0, KEYS)}, view="view", as_of="2014-03-17")
    publish(store, "v1", {"p": numbered(1, KEYS)}, view="view", as_of="2014-03-18")
    publish(store, "v2", {"p": numbered(2, KEYS)}, view="view", as_of=f"{now - timedelta(hours=50, minutes=1):%FT%TZ}")
    with pytest.raises(RefusedVersion):
        publish(store, "v3", {"p": numbered(3, KEYS[:3])}, view="view", checks=Checks(min_ratio=0.5))
    publish(store, "v1", {"p": numbered(1, KEYS)}, view="vectors")
    manifest = root / "view" / "v0" / "MANIFEST.json"
    manifest.write_text(manifest.read_text().replace("30", "31"))
    return f"file:{root}"


def test_ls_shows_what_there_is(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("ls", url, "view") == 0
    shown = capsys.readouterr().out
    rows = lines_of(shown)
    assert rows["v0"] == ["damaged"]
    assert rows["v1"][:1] + rows["v1"][2:3] + rows["v1"][4:] == ["30", "2014-03-18 00:00"]
    assert rows["v2"][0] == "30"
    assert rows["v2"][1].endswith(" KiB")
    assert rows["v2"][3:] == ["2 d 2 h", "served"]
    assert (rows["v3"][0], rows["v3"][-1]) == ("3", "refused")
    assert "v0: " in shown
    assert "MANIFEST.json is not as it was written" in shown
    assert "v3: min_ratio: 3 keys are 0.1 of the 30 in the served 'v2'" in shown
    assert "vectors" not in shown
    assert run("ls", url) == 0
    assert "vectors" in capsys.readouterr().out


def test_a_row_of_80_columns_has_a_long_version_whole(
    store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    version = "20140318T000000Z-m12-0123456789ab"
    publish(store, version, {"p": numbered(1, KEYS)}, view="view", as_of="2014-03-18")
    monkeypatch.setattr("feature_store.cli.out", Console(width=80))
    assert run("ls", f"file:{root}", "view") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines_of("\n".join(lines))[version][-1] == "served"
    assert max(map(len, lines)) <= 80


def test_verify_says_that_a_version_is_whole(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", url, "view") == 0
    assert "view v2 is whole: 30 rows, 1." in capsys.readouterr().out
    assert run("verify", url, "view", "v1") == 0
    assert "view v1 is whole" in capsys.readouterr().out


def test_what_is_wrong_is_one_line_and_an_exit_code(url: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root.parent / "file").write_text("")
    for arguments, code, said in (
        (("verify", url, "view", "v0"), 3, "MANIFEST.json is not as it was written"),
        (("verify", url, "view", "v3"), 3, "breaks the rule min_ratio"),
        (("verify", url, "view", "v9"), 2, "no committed version 'v9'"),
        (("verify", url, "none"), 2, "no published version"),
        (("verify", url, "../view"), 2, "is no name"),
        (("ls", url, "none"), 2, "there's no view 'none' in the store, which holds vectors, view"),
        (("ls", "ftp://store"), 2, "names no feature store"),
        (("ls", f"file:{root}/none"), 2, "the store holds no view"),
        (("ls", f"file:{root.parent}/file/store"), 5, "a part of this path is a file"),
        (("verify", f"file:{root.parent}/file/store", "view"), 5, "a part of this path is a file"),
    ):
        assert run(*arguments) == code
        written = capsys.readouterr()
        assert written.out == ""
        assert written.err.startswith("error: ")
        assert said in written.err
        assert written.err.count("\n") == 1
    assert run("verify", url) == 2
    assert run("look") == 2


def test_verify_names_the_damaged_rows(store: LocalStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage_module, "_BATCH_BYTES", 10_000)
    with store.begin("view", "v1").writer("p") as writer:
        for start in range(0, 5000, 500):
            keys = [f"k{number:04d}" for number in range(start, start + 500)]
            writer.write(pa.record_batch({"key": keys, "value": range(start, start + 500)}))
    store.commit("view", "v1", expect_parts=["p"], metadata={})
    part = next((root / "view" / "v1").glob("*.arrow"))
    whole = part.read_bytes()
    ranges = store.snapshot("view").manifest.parts[0].ranges
    assert [piece.first for piece in ranges] == [0, 1000, 2000, 3000, 4000, 5000]
    assert [piece.offset for piece in ranges[1:]] == [piece.offset + piece.bytes for piece in ranges[:-1]]
    assert ranges[-1].offset + ranges[-1].bytes == len(whole)
    for key, rows in (("k0999", "rows [0, 1000), "), ("k3500", "rows [3000, 4000), ")):
        part.write_bytes(whole.replace(key.encode(), b"k0001", 1))
        with pytest.raises(CorruptVersion, match="is damaged in part 'p': ") as found:
            store.verify("view", "v1")
        assert rows in str(found.value)
        assert str(found.value).count("rows [") == 1
    part.write_bytes(whole[:-1] + b"?")
    with pytest.raises(CorruptVersion, match="part 'p': what follows its rows"):
        store.verify("view")
    part.write_bytes(whole[:-1])
    with pytest.raises(CorruptVersion, match=f"{part.name} has {len(whole) - 1} bytes where {len(whole)} were"):
        store.verify("view")
    part.unlink()
    with pytest.raises(CorruptVersion, match=f"{part.name} is missing"):
        store.verify("view")


def test_verify_finds_an_index_that_leads_elsewhere(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a fault of memory before the checksum would leave it, which no checksum can tell."""
    build = commit.build_index

    def swapped(keys: object, names: object) -> object:
        index = build(keys, names)
        index[1, [3, 4]] = index[1, [4, 3]]
        return index

    def unsorted(keys: object, names: object) -> object:
        return np.ascontiguousarray(build(keys, names)[:, ::-1])

    for version, wrong in (("v1", swapped), ("v2", unsorted)):
        monkeypatch.setattr(commit, "build_index", wrong)
        publish(store, version, {"p": numbered(1, KEYS)}, view="view")
        with pytest.raises(CorruptVersion, match=r"the index of .* doesn't lead to key 'k\d+' in .*\.arrow"):
            store.verify("view")
    monkeypatch.setattr(commit, "build_index", build)
    publish(store, "v3", {"p": numbered(1, KEYS)}, view="view")
    assert store.verify("view").version == "v3"


def test_it_is_a_program_of_its_own(url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "feature_store", "verify", url, "view", "v0"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
