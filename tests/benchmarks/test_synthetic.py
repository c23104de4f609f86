from pathlib import Path

import polars as pl

from benchmarks.synthetic import Size, write_project
from recsys_text.config import load

SIZE = Size(events=3000, users=200, items=300, days=20)


def test_a_seed_gives_the_same_files_and_another_one_others(tmp_path: Path) -> None:
    for folder, seed in (("one", 7), ("same", 7), ("other", 8)):
        write_project(tmp_path / folder, SIZE, seed)
    for name in ("items.parquet", "events.parquet"):
        one, same, other = (pl.read_parquet(tmp_path / folder / name) for folder in ("one", "same", "other"))
        assert one.equals(same)
        assert not one.equals(other)


def test_nobody_clicks_an_item_before_it_appears_and_some_appear_within_the_log(tmp_path: Path) -> None:
    write_project(tmp_path, SIZE, 7)
    items, events = pl.read_parquet(tmp_path / "items.parquet"), pl.read_parquet(tmp_path / "events.parquet")
    assert (items.height, events.height) == (SIZE.items, SIZE.events)
    joined = events.join(items, on="item_id", how="left")
    assert (joined["published_at"] < joined["occurred_at"]).all()
    assert 0.1 < (items["published_at"] > events["occurred_at"].min()).mean() < 0.3
    assert load(tmp_path / "recsys.toml").sources.events.path == str(tmp_path / "events.parquet")
