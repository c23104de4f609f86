"""An extraction killed at any point leaves each window whole, old or new, and can run again."""

import itertools
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

from recsys_text.lake import spill
from recsys_text.lake.extract import extract_windows
from recsys_text.lake.folders import part_path
from recsys_text.lake.store import About, Lake
from tests.lake.extract_until_killed import PIECE
from tests.lake.samples import WINDOWS, file_sources, files_of, items, make_events

ROOT = Path(__file__).parents[2]
FIRST = f"events/window={WINDOWS[0].key}"
Killer = Callable[[str, float, int], str]


@pytest.fixture
def killer(tmp_path: Path) -> Iterator[Killer]:
    helper = [sys.executable, "-m", "tests.lake.extract_until_killed"]
    with subprocess.Popen(helper, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def kill(kind: str, point: float, windows: int) -> str:
            print(kind, point, windows, tmp_path / "new.parquet", tmp_path / "lake", file=process.stdin, flush=True)
            return process.stdout.readline().strip()  # type: ignore[union-attr]

        yield kill


@pytest.fixture
def versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Lake]:
    """A lake of each of two sources; the windows of the second have more parts, and rejected rows."""
    monkeypatch.setattr(spill, "MAX_ROWS", PIECE)
    broken = make_events(9).with_columns(event_type=pl.lit("klick"))
    make_events(150).write_parquet(tmp_path / "old.parquet")
    pl.concat([make_events(210), broken]).write_parquet(tmp_path / "new.parquet")
    lakes = []
    for name in ("old", "new"):
        lakes.append(Lake(tmp_path / f"of_{name}"))
        extract_windows(lakes[-1], file_sources(tmp_path, tmp_path / f"{name}.parquet", max_rejected=0.5), WINDOWS[:2])
    return lakes


def restore(lake: Lake, version: Lake) -> None:
    shutil.rmtree(lake.root, ignore_errors=True)
    shutil.copytree(version.root, lake.root)


def check_whole(lake: Lake, versions: list[Lake]) -> list[int]:
    """Each window reads as that of one version; which."""
    found = []
    for window in WINDOWS[:2]:
        rows = lake.scan("events", [window.key]).collect()
        known = [rows.equals(version.scan("events", [window.key]).collect()) for version in versions]
        assert any(known)
        found.append(known.index(True))
    return found


def test_a_kill_at_every_change_of_the_disk(tmp_path: Path, killer: Killer, versions: list[Lake]) -> None:
    lake = Lake(tmp_path / "lake")
    seen = set()
    for point in range(1, 1000):
        restore(lake, versions[0])
        answer = killer("call", point, 1)
        seen.add(tuple(check_whole(lake, versions)))
        if answer == "done":
            break
    assert seen == {(0, 0), (1, 0)}
    assert point > 30
    assert files_of(lake.root / FIRST) == files_of(versions[1].root / FIRST)


def test_a_kill_at_any_time(tmp_path: Path, killer: Killer, versions: list[Lake]) -> None:
    lake = Lake(tmp_path / "lake")
    assert killer("call", 10_000, 2) == "done"  # the helper has imported everything when it answers
    restore(lake, versions[0])
    start = time.perf_counter()
    assert killer("call", 10_000, 2) == "done"
    whole = time.perf_counter() - start
    moments = random.Random(7)
    answers = []
    for number in range(30):
        if number % 5 == 0:  # in between, what one killed extraction left is the next one's start
            restore(lake, versions[0])
        answers.append(killer("time", moments.uniform(0, whole), 2))
        check_whole(lake, versions)
    assert answers.count("killed") >= 10
    assert killer("call", 10_000, 2) == "done"
    assert files_of(lake.root) == files_of(versions[1].root)


class Crash(BaseException):
    """The process ends here."""


def test_an_end_at_any_change_of_the_disk_loses_no_part_that_windows_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, former = Lake(tmp_path / "lake"), Lake(tmp_path / "former")
    about = About(source="a test", max_rejected=0.5, min_rows=0)
    catalogues = [
        [items(*({"item_id": f"{name}{number}"} for number in range(5)), {"item_id": "broken", "title": ""})]
        for name in ("old", "new")
    ]
    former.write_snapshot(WINDOWS, catalogues[0], about)
    calls = itertools.count()
    limit = 0

    def counted(function: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            if limit and next(calls) == limit:
                raise Crash
            return function(*arguments, **options)

        return call

    for name in ("replace", "mkdir", "unlink", "fsync"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    seen = set()
    for point in range(1, 1000):
        limit = 0
        restore(lake, former)
        limit, calls = point, itertools.count()
        try:
            lake.write_snapshot(WINDOWS[1:], catalogues[1], about)
            lake.remove_unnamed("items")
            ended = True
        except Crash:
            ended = False
        limit = 0
        found = [sorted(lake.read("items", [one.key])["item_id"].str.head(3).unique()) for one in WINDOWS]
        assert all(each in (["old"], ["new"]) for each in found)
        seen.add(tuple(each[0] for each in found))
        for one in WINDOWS:
            (rejected,) = lake.manifest("items", one.key)["rejected_parts"]
            assert part_path(tmp_path / "lake/items/window=x", rejected["name"]).is_file()
        if ended:
            break
    assert seen == {("old", "old", "old"), ("old", "new", "old"), ("old", "new", "new")}
    lake.write_snapshot(WINDOWS, catalogues[1], about)
    lake.remove_unnamed("items")
    assert len(list((tmp_path / "lake/items/shared").rglob("*.parquet"))) == 2, "rows, and rejected rows"
