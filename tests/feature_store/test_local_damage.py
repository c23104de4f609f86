"""Bytes that aren't those that were written are found, and never served."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import xxhash

from feature_store import Checks, CorruptVersion, LocalStore, VersionExists
from feature_store.local.manifest import _seal
from tests.contracts.store_data import ROWS, batch, numbered, publish
from tests.feature_store.publisher import KEYS
from tests.feature_store.served import served

FLIPS = 10_000


def files_of(root: Path, version: str) -> list[Path]:
    """The files of a version that its answers depend on."""
    return [path for path in sorted((root / "view" / version).iterdir()) if not path.name.endswith(".part.json")]


def flip(path: Path, bit: int) -> None:
    with path.open("r+b", buffering=0) as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def test_a_flipped_bit_is_found_and_never_served(store: LocalStore, root: Path) -> None:
    """Each flip is in one of the files that answers depend on, so that none of them may be answered from."""
    parts = {"p": batch(ROWS), "q": batch([row | {"user_id": f"{row['user_id']}2"} for row in ROWS])}
    publish(store, "v1", parts, view="view")
    keys = [key for part in parts.values() for key in part.column(0).to_pylist()]
    rows = store.snapshot("view", "v1").get_many(keys)
    chance = random.Random(5)
    files = files_of(root, "v1")
    assert {path.suffix for path in files} == {".arrow", ".bin", ".json"}
    found = dict.fromkeys((path.name for path in files), 0)
    # Larger files are hit more often, as by a failing disk.
    for path in chance.choices(files, [path.stat().st_size for path in files], k=FLIPS):
        bit = chance.randrange(8 * path.stat().st_size)
        flip(path, bit)
        with pytest.raises(CorruptVersion, match=path.name):
            store.snapshot("view", "v1")
        flip(path, bit)
        found[path.name] += 1
    assert sum(found.values()) == FLIPS
    assert min(found.values()) > 100
    assert store.snapshot("view", "v1").get_many(keys) == rows
    assert store.verify("view").version == "v1"
    print(f"\n{FLIPS} single bits flipped, all of them found: {found}")


def test_a_flipped_bit_beside_what_is_served_is_found_by_verify(store: LocalStore, root: Path) -> None:
    publish(store, "v1", {"p": numbered(1, KEYS[::2]), "q": numbered(1, KEYS[1::2])}, view="view")
    chance = random.Random(7)
    for path in sorted((root / "view" / "v1").iterdir()):
        for _ in range(50):
            bit = chance.randrange(8 * path.stat().st_size)
            flip(path, bit)
            with pytest.raises(CorruptVersion, match=path.name):
                store.verify("view", "v1")
            flip(path, bit)
    assert store.verify("view").version == "v1"


def test_a_truncated_or_missing_file_is_found(store: LocalStore, root: Path) -> None:
    publish(store, "v1", {"p": numbered(1, KEYS)}, view="view")
    for path in files_of(root, "v1"):
        content = path.read_bytes()
        for size in (0, 1, len(content) // 2, len(content) - 8):
            path.write_bytes(content[:size])
            with pytest.raises(CorruptVersion, match=path.name):
                store.reader("view")
        path.unlink()
        with pytest.raises(CorruptVersion, match=f"{path.name} is missing"):
            store.reader("view")
        path.write_bytes(content)
    assert served(store) == {1}


def test_a_flipped_bit_in_the_pointer_never_names_another_version(store: LocalStore, root: Path) -> None:
    for value in (8, 9):  # the names differ in one bit
        publish(store, f"v{value}", {"p": numbered(value, KEYS)}, view="view")
    pointer = root / "view" / "CURRENT"
    reader = store.reader("view")
    for bit in range(8 * len(pointer.read_bytes().rstrip())):
        flip(pointer, bit)
        with pytest.raises(CorruptVersion, match="CURRENT is damaged"):
            store.reader("view")
        assert reader.get("k0") == {"key": "k0", "value": 9}
        flip(pointer, bit)
    flip(pointer, 8)
    assert store.rollback("view", "v8").version == "v8"
    assert served(store) == {8}


def test_the_reader_keeps_a_whole_version_when_the_next_is_damaged(store: LocalStore, root: Path) -> None:
    publish(store, "v1", {"p": numbered(1, KEYS)}, view="view")
    publish(store, "v2", {"p": numbered(2, KEYS)}, view="view")
    store.rollback("view")
    reader = store.reader("view")
    damaged = next((root / "view" / "v2").glob("*.arrow"))
    flip(damaged, 8 * 500)
    with pytest.raises(CorruptVersion):
        store.rollback("view", "v2")
    assert reader.error is None
    flip(damaged, 8 * 500)
    store.rollback("view", "v2")
    flip(damaged, 8 * 500)
    assert reader.get("k0") == {"key": "k0", "value": 1}
    assert isinstance(reader.error, CorruptVersion)
    assert str(damaged) in str(reader.error)
    publish(store, "v3", {"p": numbered(3, KEYS)}, view="view")
    assert reader.get("k0") == {"key": "k0", "value": 3}
    assert reader.error is None


def test_a_damaged_part_is_refused_by_the_commit_until_written_again(store: LocalStore, root: Path) -> None:
    stage = store.begin("view", "v1")
    for attempt in ("flip", "truncate", "lose", "describe", None):
        with stage.writer("p") as writer:
            writer.write(numbered(1, KEYS))
        part = next((root / "view" / ".staging" / "v1").glob("*.arrow"))
        if attempt == "flip":
            flip(part, 8 * 300)
        elif attempt == "truncate":
            part.write_bytes(part.read_bytes()[:-1])
        elif attempt == "lose":
            part.unlink()
        elif attempt == "describe":
            flip(part.with_name("p.part.json"), 8 * 20)
        if attempt is not None:
            with pytest.raises(CorruptVersion, match=r"write .*part.* again"):
                store.commit("view", "v1", expect_parts=["p"], metadata={})
            assert store.current("view") is None
    store.commit("view", "v1", expect_parts=["p"], metadata={})
    assert served(store) == {1}
    assert len(list((root / "view" / "v1").glob("*.arrow"))) == 1


def test_a_damaged_manifest_is_listed_and_stands_in_nobodys_way(store: LocalStore, root: Path) -> None:
    for value in (1, 2, 3):
        publish(store, f"v{value}", {"p": numbered(value, KEYS)}, view="view", as_of=f"2014-03-1{value}")
    flip(root / "view" / "v3" / "MANIFEST.json", 8 * 40)
    problems = {info.version: info.problem for info in store.versions("view")}
    assert "MANIFEST.json is not as it was written" in problems["v3"]
    assert (problems["v1"], problems["v2"]) == ("", "")
    assert store.rollback("view").version == "v2"
    assert served(store) == {2}
    with pytest.raises(VersionExists):
        store.begin("view", "v3")
    store.delete("view", "v3")
    publish(store, "v3", {"p": numbered(3, KEYS)}, view="view", as_of="2014-03-13")
    assert served(store) == {3}


@pytest.mark.parametrize("damaged", ["MANIFEST.json", "*.arrow"])
def test_a_damaged_version_keeps_no_other_from_replacing_it(store: LocalStore, root: Path, damaged: str) -> None:
    publish(store, "v1", {"p": numbered(1, KEYS)}, view="view")
    flip(next((root / "view" / "v1").glob(damaged)), 8 * 40)
    checks = Checks(min_ratio=0.5, max_drift={"value": 0.1})
    publish(store, "v2", {"p": numbered(2, KEYS)}, view="view", checks=checks)
    assert served(store) == {2}


def test_a_version_of_the_first_format_is_read_and_verified(store: LocalStore, root: Path) -> None:
    """It told no ranges of rows, and nothing of rules."""
    publish(store, "v1", {"p": numbered(1, KEYS)}, view="view")
    folder = root / "view" / "v1"
    described = json.loads((folder / "p.part.json").read_text())
    manifest = json.loads((folder / "MANIFEST.json").read_text())
    for body in (described, manifest, *manifest["parts"]):
        for key in ("seal", "ranges", "refused"):
            body.pop(key, None)
    (folder / "p.part.json").write_bytes(_seal(described))
    (folder / "MANIFEST.json").write_bytes(_seal(manifest | {"format": 1}))
    assert store.verify("view").rows == len(KEYS)
    assert served(store) == {1}
    flip(next(folder.glob("*.arrow")), 8 * 500)
    with pytest.raises(CorruptVersion, match=r"\.arrow is not as it was written \(checksum\)"):
        store.verify("view")
    (folder / "MANIFEST.json").write_bytes(_seal(manifest | {"format": 3}))
    with pytest.raises(CorruptVersion, match="read it with the release that wrote it"):
        store.reader("view")


@pytest.mark.parametrize("location", [1 << 32, 1 << 20, (1 << 64) - 1])
def test_an_index_of_rows_that_are_not_there_is_not_opened(store: LocalStore, root: Path, location: int) -> None:
    """Sealed as if it had been written so: many keys are read without another look at where they are."""
    publish(store, "v1", {"p": numbered(1, KEYS)}, view="view")
    folder = root / "view" / "v1"
    manifest = json.loads((folder / "MANIFEST.json").read_bytes())
    del manifest["seal"]
    path = folder / manifest["index"]["file"]
    index = np.frombuffer(path.read_bytes(), "<u8").copy()
    index[-1] = location
    path.write_bytes(index.tobytes())
    manifest["index"]["checksum"] = xxhash.xxh3_128_hexdigest(path.read_bytes())
    (folder / "MANIFEST.json").write_bytes(_seal(manifest))
    with pytest.raises(CorruptVersion, match="doesn't fit its parts"):
        store.reader("view")
