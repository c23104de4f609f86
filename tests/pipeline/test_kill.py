"""SIGKILL at random points of extract, train and publish: what was served stays, and running again succeeds."""

import multiprocessing
import random
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

from feature_store import open_store
from recsys_text.bundle import Bundle
from recsys_text.config import Settings
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import parse_time, windows_between
from recsys_text.steps.inputs import bundle_path, tracker
from recsys_text.steps.publish import VIEWS
from tests.pipeline.conftest import run_cli

KILLS = 11  # of each step
MODULES = ["recsys_text.cli", "recsys_text.steps.extract", "recsys_text.steps.train", "recsys_text.steps.score"]

# Children are forked from a server that has imported everything, so that a kill hits the step, not its imports.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(MODULES)


def _child(arguments: tuple[str, ...]) -> None:
    raise SystemExit(run_cli(*arguments))


def start(*arguments: str) -> BaseProcess:
    process = _context.Process(target=_child, args=(arguments,))
    process.start()
    return process


def finish(*arguments: str) -> tuple[int, float]:
    """Exit code and seconds of a run that nobody kills."""
    begun = time.monotonic()
    process = start(*arguments)
    process.join(120)
    assert process.exitcode is not None, "the step hangs"
    return process.exitcode, time.monotonic() - begun


def kill_at_random(
    arguments: tuple[str, ...],
    seconds: float,
    rng: random.Random,
    check: Callable[[], None],
    ended: Callable[[], None] = lambda: None,
) -> None:
    """Kills KILLS runs somewhere in the time that one takes, and checks after each.

    A run that ends before its kill does not count, shortens the time (the machine's speed varies), and is
    followed by `ended`.
    """
    killed = 0
    for _ in range(8 * KILLS):
        process = start(*arguments)
        process.join(rng.uniform(0, seconds))
        process.kill()
        process.join()
        check()
        if process.exitcode == -signal.SIGKILL:
            killed += 1
        else:
            seconds *= 0.8
            ended()
        if killed == KILLS:
            return
    raise AssertionError(f"only {killed} of {KILLS} runs were killed in time")


def lake_bytes(settings: Settings) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(settings.lake.rglob("window=*/*")) if path.is_file()}


def test_a_killed_extract_leaves_the_former_window_or_the_new_one(published: Settings) -> None:
    config = str(published.project.root.parent / "recsys.toml")
    span = windows_between(parse_time("2024-05-01"), parse_time("2024-05-06"), published.windows.span)
    lake = Lake(published.lake)
    keys = [window.key for window in span]
    arguments = ("extract", "-c", config, "--from", "2024-05-01", "--to", "2024-05-06")

    def whole() -> None:
        assert lake.keys("events") == keys
        assert lake.scan("events").collect().height == rows

    rows = lake.scan("events").collect().height
    code, seconds = finish(*arguments)
    assert code == 0
    before = lake_bytes(published)
    kill_at_random(arguments, seconds, random.Random(1), whole)
    assert finish(*arguments)[0] == 0
    assert lake_bytes(published) == before


def test_a_killed_training_leaves_a_whole_champion(published: Settings) -> None:
    config = str(published.project.root.parent / "recsys.toml")
    text = Path(config).read_text()
    Path(config).write_text(text + "[gate]\nmin_gain = -1\n")  # every challenger wins: kills may hit the promotion
    arguments = ("train", "-c", config)
    code, seconds = finish(*arguments)
    assert code == 0

    def whole() -> None:
        version, folder = bundle_path(published, "champion")
        assert Bundle.load(folder).cutoff.isoformat() == tracker(published).tags(version)["cutoff"]
        with sqlite3.connect(published.project.root / "mlflow.db") as database:
            assert database.execute("pragma integrity_check").fetchone() == ("ok",)

    kill_at_random(arguments, seconds, random.Random(2), whole)
    before = bundle_path(published, "champion")[0]
    assert finish(*arguments)[0] == 0
    whole()
    assert int(bundle_path(published, "champion")[0]) > int(before)


def test_a_killed_publication_leaves_the_former_version(published: Settings, tmp_path: Path) -> None:
    config = str(published.project.root.parent / "recsys.toml")
    text = Path(config).read_text()
    Path(config).write_text(text.replace("buckets = 1", "buckets = 2"))  # two worker processes
    store = open_store(published.store_url)
    former = store.current("user_scores")
    assert former is not None
    answer = store.snapshot("user_scores").get("u001")
    assert run_cli("extract", "-c", config, "--window", "2024-05-06") == 0
    arguments = ("publish", "-c", config)

    def old_or_new_and_whole() -> None:
        snapshot = store.snapshot("user_scores")  # verifies every checksum
        assert snapshot.info.rows == 40
        if snapshot.info.version == former:
            assert snapshot.get("u001") == answer
        for view, rows in (("item_vectors", 48), ("user_vectors", 40)):
            assert store.snapshot(view).info.rows == rows
        if snapshot.info.version != former:
            assert {store.current(view) for view in VIEWS} == {snapshot.info.version}

    def unpublish() -> None:
        for view in reversed(VIEWS):
            new = store.current(view)
            assert new is not None
            if new != former:
                store.rollback(view, former)
                store.delete(view, new)

    shutil.copytree(Path(config).parent, tmp_path / "clock")
    code, seconds = finish("publish", "-c", str(tmp_path / "clock" / "recsys.toml"))
    assert code == 0
    kill_at_random(arguments, seconds, random.Random(3), old_or_new_and_whole, unpublish)
    assert finish(*arguments)[0] == 0
    assert store.current("user_scores") != former
    old_or_new_and_whole()
