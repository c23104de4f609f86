"""Logs with hardly anything to learn from go the whole way, or one line says what is missing; none hangs.

All cells of the grid take minutes, and run where RECSYS_TEXT_WHOLE_GRID is set; some of them always.
"""

import faulthandler
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient

from recsys_text.config import load
from recsys_text.service.app import create_app
from tests.conftest import CONFIG, START
from tests.pipeline.conftest import run_cli

WORDS = ("sailing", "garden", "violin", "rocket", "harbour", "rose", "opera", "moon")
#: A cell that takes longer hangs: all threads' places are printed, and the process ends.
LIMIT_S = 240


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A log: `days` are the days at whose beginning events happen, none for any time of `windows` days."""

    users: int = 40
    items: int = 48
    each: int = 11
    categories: int = 4
    texts: str = "words"
    types: tuple[str, ...] = ("click",)
    windows: int = 6
    days: tuple[int, ...] = ()
    settings: tuple[tuple[str, str], ...] = ()


HIDDEN = (("[training]\n", '[training]\ntask = "hidden"\n'), ("[model]\n", '[model]\nclicks = "learned"\n'))
ALIVE = (('pool = "all"', 'pool = "alive"'),)
AT_WINDOW = (("[evaluation]\n", '[evaluation]\nat = "window"\n'),)
#: Each with what the one line says, or None where the log goes the whole way.
CELLS: dict[str, tuple[Cell, str | None]] = {
    "no user": (Cell(users=0), "no event is in any window"),
    "one user": (Cell(users=1, each=60, items=400), "clicks of 1 user"),
    "two users": (Cell(users=2, each=60, items=400), None),
    "ten users": (Cell(users=10), None),
    "one item": (Cell(items=1), "catalogue has 1 item"),
    "two items": (Cell(items=2), None),
    "one category": (Cell(categories=1), None),
    "one instant": (Cell(days=(2,)), "nothing is left to learn from before"),
    "coarse clock": (Cell(days=(0, 4, 8, 12, 16, 20), windows=22), None),
    "coarse clock, alive": (
        Cell(days=(0, 4, 8, 12, 16, 20), windows=22, settings=ALIVE),
        "set candidates.pool = 'all'",
    ),
    "equal texts": (Cell(texts="equal"), None),
    "texts of one letter": (Cell(texts="letter"), None),
    "no texts": (Cell(texts="none"), "48 break has_text"),
    "fifty users": (Cell(users=50), None),
    "views only": (Cell(types=("view",)), "says that a user wanted an item"),
    "dislikes only": (Cell(types=("dislike",)), "says that a user wanted an item"),
    "hardly a click": (Cell(types=("view",) * 30 + ("click",)), "clicks of 1 user"),
    "one window": (Cell(windows=1), "nothing is left to learn from before"),
    "two windows": (Cell(windows=2), "needs 3 windows with events"),
    "four windows": (Cell(windows=4), None),
    "alive": (Cell(settings=ALIVE), None),
    "hidden": (Cell(settings=HIDDEN), None),
    "hidden, two users": (Cell(users=2, each=60, items=400, settings=HIDDEN), None),
    "hidden, equal texts": (Cell(texts="equal", settings=HIDDEN), None),
    "at window": (Cell(settings=AT_WINDOW), None),
    "at window, one item": (Cell(items=1, settings=AT_WINDOW), "catalogue has 1 item"),
    "an event each": (Cell(each=1), None),
    "few raters of many films": (Cell(users=9, items=300, each=100), None),
}
ALWAYS = {
    "no user",
    "two users",
    "two items",
    "one instant",
    "coarse clock, alive",
    "texts of one letter",
    "views only",
    "hardly a click",
    "two windows",
}
_CHOSEN = [name for name in CELLS if name in ALWAYS or os.environ.get("RECSYS_TEXT_WHOLE_GRID")]


def write(cell: Cell, folder: Path) -> Path:
    """The sources and the config of a cell."""
    random, words = np.random.default_rng(3), len(WORDS)
    texts = {
        "words": [f"{WORDS[i % words]} {WORDS[3 * i % words]} {i}" for i in range(cell.items)],
        "equal": ["the same text"] * cell.items,
        "letter": ["x"] * cell.items,
        "none": [""] * cell.items,
    }
    items = {
        "item_id": [f"i{i}" for i in range(cell.items)],
        "title": texts[cell.texts],
        "category": [f"c{i % cell.categories}" for i in range(cell.items)],
        "published_at": [START - timedelta(days=1)] * cell.items,
    }
    time = pl.Datetime("us", "UTC")
    pl.DataFrame(items, schema_overrides={"published_at": time}).write_parquet(folder / "items.parquet")
    rows = [
        (
            f"u{user}",
            f"i{item}",
            cell.types[(user + number) % len(cell.types)],
            START + timedelta(days=float(cell.days[number % len(cell.days)] if cell.days else when)),
        )
        for user in range(cell.users)
        for number, (item, when) in enumerate(
            zip(random.integers(0, cell.items, cell.each), random.uniform(0, cell.windows, cell.each), strict=True)
        )
    ]
    schema = {"user_id": pl.String, "item_id": pl.String, "event_type": pl.String, "occurred_at": time}
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(folder / "events.parquet")
    config = CONFIG
    for before, after in cell.settings:
        assert before in config
        config = config.replace(before, after)
    path = folder / "recsys.toml"
    path.write_text(config)
    return path


@pytest.fixture(autouse=True)
def _tells_where_it_hangs() -> Iterator[None]:
    faulthandler.dump_traceback_later(LIMIT_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.parametrize("name", _CHOSEN)
def test_a_log_goes_the_whole_way_or_one_line_says_what_is_missing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell, reason = CELLS[name]
    config = write(cell, tmp_path)
    path, end = str(config), START + timedelta(days=cell.windows)
    code = run_cli("extract", "-c", path, "--from", f"{START:%Y-%m-%d}", "--to", f"{end:%Y-%m-%d}")
    if code == 0:
        assert run_cli("check", "-c", path) in (0, 3)
        capsys.readouterr()
        code = run_cli("train", "-c", path)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    if reason is not None:
        assert code == 3
        assert len(lines) == 1
        assert reason in lines[0]
        return
    assert (code, lines) == (0, [])
    assert run_cli("publish", "-c", path) == 0
    settings = load(config)
    app = create_app(settings.store_url, settings.service, root=settings.project.root)
    with TestClient(app, base_url=f"http://{settings.service.host}") as client:
        answer = client.get("/users/u0/items", params={"k": 1})
    assert answer.status_code == 200, answer.text
