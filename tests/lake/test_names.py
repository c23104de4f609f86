"""A project in a folder of any name finds its sources there, of every kind, relative to its config."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from recsys_text.config import load
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import parse_window
from recsys_text.steps.extract import extract

DAY = parse_window("2024-03-01", timedelta(days=1))
EVENTS = pl.DataFrame(
    {"user_id": ["u", "v"], "item_id": ["a", "b"], "event_type": "click", "occurred_at": "2024-03-01 10:00:00"}
)
FILES = {
    "one file": 'kind = "file"\npath = "events-1.csv"',
    "a glob": 'kind = "file"\npath = "events-*.csv"',
    "a glob below a folder": 'kind = "file"\npath = "days [all]/*/events-?.csv"',
    "sqlite": 'kind = "sql"\nuri = "sqlite:///shop.db"\nquery = "select * from events"',
    "duckdb": 'kind = "sql"\nuri = "duckdb:///shop.duckdb"\nquery = "select * from events"',
}


def fill(folder: Path) -> None:
    (folder / "items.csv").write_text("item_id,title\na,Sea\nb,Land\n")
    below = folder / "days [all]" / "2024-03-01"
    below.mkdir(parents=True)
    for place in (folder, below):
        EVENTS.write_csv(place / "events-1.csv")
    with closing(sqlite3.connect(folder / "shop.db")) as database, database:
        database.execute("create table events (user_id, item_id, event_type, occurred_at)")
        database.executemany("insert into events values (?, ?, ?, ?)", EVENTS.rows())
    with duckdb.connect(folder.parent / "shop.duckdb") as database:  # which writes into no folder with a question mark
        database.execute("create table events as select * from EVENTS")
    (folder.parent / "shop.duckdb").rename(folder / "shop.duckdb")


@pytest.mark.parametrize("name", ["a%20b? 100%#[x]", "*{a,b}&c=d;küche-日本", "file:x::y"])
def test_sources_lie_where_the_config_does(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / name
    folder.mkdir()
    fill(folder)
    monkeypatch.chdir(tmp_path)
    for number, source in enumerate(FILES.values()):
        config = folder / f"recsys-{number}.toml"
        config.write_text(
            f'[project]\nname = "shop"\nroot = "var-{number}"\n[sources.items]\nkind = "file"\npath = "items.csv"\n'
            f'[sources.events]\n{source}\ntime_zone = "UTC"\n'
        )
        settings = load(config)
        extract(settings, [DAY])
        assert Lake(settings.lake).read("events", ["2024-03-01"])["item_id"].to_list() == ["a", "b"], source
    assert [path.name for path in tmp_path.iterdir()] == [name]
