"""The commands of the lake, whose lake it is, and roots with characters that mean something elsewhere."""

import json
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError
from recsys_text.lake.store import Lake
from recsys_text.steps.evaluate import newest_windows
from recsys_text.steps.inputs import inputs, the_lake
from tests.lake.samples import DAY_1, files_of, make_events
from tests.pipeline.conftest import run_cli

SPAN = ("--from", "2024-03-01", "--to", "2024-03-05")


def make_project(folder: Path, name: str = "shop", items: str = "", events: str = "") -> str:
    """A config with four days of events, of which the last two are empty, and a snapshot of items."""
    folder.mkdir(parents=True, exist_ok=True)
    make_events(40, days=2).with_columns(pl.col("occurred_at").dt.to_string("iso:strict")).write_csv(
        folder / "events.csv"
    )
    catalogue(folder, range(11))
    config = folder / f"{name}.toml"
    config.write_text(
        f'[project]\nname = "{name}"\n[sources.items]\nkind = "file"\npath = "items.csv"\n{items}\n'
        f'[sources.events]\nkind = "file"\npath = "events.csv"\n{events}\n'
    )
    return str(config)


def catalogue(folder: Path, numbers: "range | list[int]") -> None:
    titles = [f"a title of {number}" for number in numbers]
    pl.DataFrame({"item_id": [f"i{number}" for number in numbers], "title": titles}).write_csv(folder / "items.csv")


@pytest.fixture
def config(tmp_path: Path) -> str:
    config = make_project(tmp_path)
    assert run_cli("extract", "-c", config, *SPAN) == 0
    return config


def settings_of(config: str) -> Settings:
    return load(Path(config))


@pytest.mark.parametrize(
    ("grace", "words"),
    [
        (0, "no candidates any more"),
        (1, "no candidates after 1 window without them (sources.items.grace)"),
        (2, "no candidates after 2 windows in a row without them (sources.items.grace)"),
    ],
)
def test_what_leaves_the_catalogue_is_a_candidate_for_its_grace(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    grace: int,
    words: str,
) -> None:
    config = make_project(tmp_path, items=f"grace = {grace}")
    assert run_cli("extract", "-c", config, "--window", "2024-03-01") == 0
    for left, line in ((1, "1 item has left the catalogue, "), (9, "9 items have left the catalogue, ")):
        catalogue(tmp_path, range(left, 11 if left == 1 else 10))
        capsys.readouterr()
        assert run_cli("extract", "-c", config, "--window", f"2024-03-0{2 if left == 1 else 3}") == 0
        assert f"{line}{words}\n" in capsys.readouterr().out
    assert f"from 2024-03-03 on: {words}; if that reading" in caplog.text


def test_ls_shows_windows_and_which_are_empty(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run_cli("lake", "ls", "-c", config) == 0
    assert "Empty windows of events: 2024-03-03, 2024-03-04" in capsys.readouterr().out
    catalogue(Path(config).parent, range(3, 11))
    assert run_cli("extract", "-c", config, "--window", "2024-03-04") == 0
    assert "3 items have left the catalogue" in capsys.readouterr().out
    assert run_cli("lake", "ls", "-c", config, "--json") == 0
    items, events = json.loads(capsys.readouterr().out)
    assert [window["left"] for window in items["windows"]] == [0, 0, 0, 3]
    assert [window["rows"] for window in events["windows"]] == [20, 20, 0, 0]
    assert events["windows"][0] == {"window": "2024-03-01", "rows": 20, "rejected": 0, "left": 0}
    assert items["bytes"] == sum(len(data) for data in files_of(settings_of(config).lake / "items").values())


def test_an_empty_lake_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("lake", "ls", "-c", make_project(tmp_path)) == 0
    assert "The lake is empty" in capsys.readouterr().out


def test_drop_takes_windows_out_and_extract_brings_them_again(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    lake = Lake(settings_of(config).lake)
    former = files_of(lake.root)
    capsys.readouterr()
    assert run_cli("lake", "drop", "-c", config, "--window", "2024-03-02") == 0
    assert "Took out 2024-03-02 of items, 2024-03-02 of events" in capsys.readouterr().out
    assert lake.keys("events") == ["2024-03-01", "2024-03-03", "2024-03-04"]
    assert run_cli("lake", "drop", "-c", config, "--window", "2024-03-02") == 0
    assert "Took out nothing" in capsys.readouterr().out
    assert run_cli("lake", "drop", "-c", config, *SPAN, "--table", "events") == 0
    assert (lake.keys("events"), len(lake.keys("items"))) == ([], 3)
    assert run_cli("lake", "drop", "-c", config, *SPAN) == 0
    assert not list((lake.root / "items").rglob("*.parquet")), "nothing names the shared part any more"
    assert run_cli("extract", "-c", config, *SPAN) == 0
    assert files_of(lake.root) == former
    assert run_cli("lake", "drop", "-c", config, "--window", "2024-03-02", "--table", "evens") == 2
    assert run_cli("lake", "drop", "-c", config) == 2


def test_expire_keeps_the_items_that_later_windows_need(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An item of the first day alone, that is clicked on the second; then what was known as the second began."""
    config = make_project(tmp_path)
    lake = Lake(settings_of(config).lake)
    for day, numbers in enumerate([range(11), range(1, 11), range(2, 11), range(2, 11)], 1):
        catalogue(tmp_path, numbers)
        assert run_cli("extract", "-c", config, "--window", f"2024-03-0{day}") == 0
    capsys.readouterr()
    former = files_of(lake.root)
    assert run_cli("lake", "expire", "-c", config, "--older-than", "3d", "--dry-run") == 0
    told = capsys.readouterr().out
    assert "Would take out 2024-03-01 of events" in told
    assert "kept 2024-03-01 of items" in told
    assert files_of(lake.root) == former
    assert run_cli("lake", "expire", "-c", config, "--older-than", "3d") == 0
    assert lake.keys("events") == ["2024-03-02", "2024-03-03", "2024-03-04"]
    assert inputs(settings_of(config)).log.dropped == 0
    # Later nobody clicks on anything, and one window before what stays is enough.
    assert run_cli("lake", "expire", "-c", config, "--older-than", "1d") == 0
    assert lake.keys("items") == ["2024-03-03", "2024-03-04"]
    assert len(list((lake.root / "items/shared").glob("*.parquet"))) == 1
    capsys.readouterr()
    assert run_cli("lake", "expire", "-c", config, "--older-than", "1d") == 0
    assert "Took out nothing" in capsys.readouterr().out


def test_expire_keeps_the_changes_that_alone_have_an_item(tmp_path: Path) -> None:
    config = make_project(tmp_path, items='feed = "changes"')
    frame = pl.DataFrame({"item_id": ["i0", "i1", "i2", "i1"], "title": ["a title"] * 4})
    times = [DAY_1 + timedelta(days=day) for day in (0, 1, 2, 3)]
    frame.with_columns(updated_at=pl.Series(times).dt.to_string("iso:strict")).write_csv(tmp_path / "items.csv")
    assert run_cli("extract", "-c", config, *SPAN) == 0
    assert run_cli("lake", "expire", "-c", config, "--older-than", "1d") == 0
    lake = Lake(settings_of(config).lake)
    assert lake.keys("items") == ["2024-03-01", "2024-03-03", "2024-03-04"]
    assert lake.items(lake.keys("items"))["item_id"].to_list() == ["i0", "i1", "i2"]


def test_the_newest_windows_are_those_with_events(config: str, caplog: pytest.LogCaptureFixture) -> None:
    assert newest_windows(settings_of(config))[-1].key == "2024-03-02"
    assert "no events are in the newest windows 2024-03-03, 2024-03-04" in caplog.text


def test_weeks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(make_project(tmp_path))
    config.write_text(config.read_text() + '[windows]\nlength = "7d"\n')
    make_events(100, days=20, start=DAY_1).with_columns(pl.col("occurred_at").dt.to_string("iso:strict")).write_csv(
        tmp_path / "events.csv"
    )
    assert run_cli("extract", "-c", str(config), "--from", "2024-03-01", "--to", "2024-03-18") == 0
    lake = Lake(settings_of(str(config)).lake)
    assert lake.keys("events") == ["2024-W09", "2024-W10", "2024-W11"]
    assert lake.read("events", ["2024-W10"])["window"].unique().to_list() == ["2024-W10"]
    assert lake.items(["2024-W10"])["known_at"][0] == DAY_1 + timedelta(days=3)
    assert len(inputs(settings_of(str(config))).windows) == 3
    assert run_cli("lake", "drop", "-c", str(config), "--window", "2024-W09") == 0
    config.write_text(config.read_text().replace("7d", "1d"))
    capsys.readouterr()
    assert run_cli("check", "-c", str(config)) == 2
    assert "not of the windows.length that is configured" in capsys.readouterr().err


def test_a_lake_belongs_to_one_project(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    other = make_project(Path(config).parent, "other")
    former = files_of(Path(config).parent / "var/lake")
    for command in (("extract", *SPAN), ("check",), ("lake", "ls"), ("lake", "drop", "--window", "2024-03-01")):
        capsys.readouterr()
        assert run_cli(*command, "-c", other) == 2, command
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "belongs to project 'shop', not to 'other'" in line
    assert files_of(Path(config).parent / "var/lake") == former
    assert run_cli("extract", "-c", config, *SPAN) == 0


def test_a_lake_of_nobody_is_its_next_writers(config: str) -> None:
    settings = settings_of(config)
    (settings.lake / "_project.json").unlink()
    assert the_lake(settings).keys("events"), "it can be read by all"
    assert run_cli("lake", "drop", "-c", config, "--window", "2024-03-01") == 0
    with pytest.raises(ConfigError, match="belongs to project 'shop'"):
        Lake(settings.lake, project="other")
    (settings.lake / "_project.json").write_text("{")
    with pytest.raises(ConfigError, match=r"_project\.json is damaged; write"):
        the_lake(settings)


def test_a_lake_that_another_project_claims_meanwhile_is_not_written(tmp_path: Path) -> None:
    first, second = Lake(tmp_path, project="first"), Lake(tmp_path, project="second")
    with first.scratch():
        pass
    with pytest.raises(ConfigError, match="belongs to project 'first'"), second.scratch():
        pass


@pytest.mark.parametrize("name", ["[a-b] 100%", "what? {x}*", "50%25 of", "ünïcødé ☃", "a#b&c=d;e", "x=1", "window=y"])
def test_the_characters_of_a_root_mean_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "a 100/var/lake/items").mkdir(parents=True)  # which a pattern would find
    config = make_project(tmp_path / name, events="min_rows = 0")
    catalogue(Path(config).parent, range(11))
    assert run_cli("extract", "-c", config, *SPAN) == 0
    assert run_cli("extract", "-c", config, *SPAN) == 0
    lake = the_lake(settings_of(config))
    found = lake.read("events")
    assert found["window"].to_list() == found["occurred_at"].dt.strftime("%F").to_list()
    assert found.height == 40
    data = inputs(settings_of(config))
    assert len(data.log.item_ids) == 11
    assert run_cli("lake", "expire", "-c", config, "--older-than", "1d") == 0
    assert lake.keys("events") == ["2024-03-04"]
