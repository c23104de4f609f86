"""A window that has not ended: what is known of it, beside the windows that have."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsys_text.errors import ConfigError, ContractError
from recsys_text.lake import folders
from recsys_text.lake.extract import extract_windows
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import known_until, window_key
from recsys_text.sections import Source, Sources
from recsys_text.tables import SCHEMA_VERSION
from tests.lake.samples import WINDOWS, day_of_events, file_sources, files_of, make_events, typed, write

FIRST, SECOND, THIRD = WINDOWS
HOUR = timedelta(hours=1)
NOON = SECOND.start + 12 * HOUR


def events_before(time: datetime) -> int:
    return make_events(72).filter(pl.col("occurred_at").is_between(SECOND.start, time, closed="left")).height


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """Three days with an event each hour."""
    make_events(72).write_parquet(tmp_path / "events.parquet")
    return file_sources(tmp_path, tmp_path / "events.parquet", min_rows=20)


def test_what_is_known_of_a_window_is_beside_those_that_have_ended(tmp_path: Path, sources: Sources) -> None:
    lake = Lake(tmp_path / "lake")
    extract_windows(lake, sources, [FIRST])
    result = extract_windows(lake, sources, [SECOND], until=NOON)["events"][SECOND.key]
    assert result.rows == events_before(NOON) == 12, "strictly before, and fewer than min_rows"
    (key,) = lake.open_keys("events")
    assert (window_key(key), known_until(key)) == (SECOND.key, NOON)
    assert lake.manifest("events", key)["until"] == NOON.isoformat()
    assert lake.keys("events") == [FIRST.key]
    assert set(lake.scan("events").collect()["window"]) == {FIRST.key}
    read = lake.read("events", [FIRST.key, key])
    assert read["occurred_at"].to_list() == make_events(72)["occurred_at"].to_list()[:36]
    assert read["window"].unique().sort().to_list() == [FIRST.key, key]
    assert lake.items([FIRST.key, *lake.open_keys("items")])["known_at"].to_list() == [FIRST.start]
    assert lake.items(lake.open_keys("items"))["known_at"].to_list() == [SECOND.start]


def test_a_window_that_has_ended_takes_the_place_of_what_was_known(tmp_path: Path, sources: Sources) -> None:
    lake, plain = Lake(tmp_path / "lake"), Lake(tmp_path / "plain")
    for hours in (1, 5, 5, 9):
        extract_windows(lake, sources, [SECOND], until=SECOND.start + hours * HOUR)
    extract_windows(lake, sources, [FIRST])  # late rows
    assert [known_until(key).hour for key in lake.open_keys("events")] == [1, 5, 9]
    for each in (lake, plain):
        changed = extract_windows(each, sources, [FIRST, SECOND])["events"]
        assert changed[SECOND.key].changed
    assert lake.open_keys("events") == lake.open_keys("items") == []
    assert files_of(lake.root) == files_of(plain.root)
    # One who reads it too late knows less.
    result = extract_windows(lake, sources, [SECOND], until=NOON)["events"][SECOND.key]
    assert not result.changed
    assert files_of(lake.root) == files_of(plain.root)


@given(hours=st.lists(st.integers(0, 23), max_size=6), late=st.booleans(), again=st.booleans())
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_window_does_not_depend_on_who_looked_before_it_ended(
    tmp_path_factory: pytest.TempPathFactory, hours: list[int], late: bool, again: bool
) -> None:
    folder = tmp_path_factory.mktemp("open")
    make_events(72).write_parquet(folder / "events.parquet")
    shown = {
        "impression_id": ["a", "b", "c"],
        "user_id": ["u1", "u2", "u3"],
        "shown_at": [FIRST.end - HOUR / 2, SECOND.start + HOUR / 2, SECOND.end - HOUR / 2],
        "candidates": [["i0", "i1", "i2", "i3"]] * 3,
    }
    pl.DataFrame(shown).write_parquet(folder / "shown.parquet")
    logged = {"kind": "file", "path": str(folder / "shown.parquet"), "clicks_within": "5h"}
    sources = file_sources(folder, folder / "events.parquet").model_copy(
        update={"impressions": Source.model_validate(logged)}
    )
    lakes = Lake(folder / "lake"), Lake(folder / "plain")
    for lake, looked in zip(lakes, (hours, []), strict=True):
        extract_windows(lake, sources, [FIRST])
        for hour in looked:
            extract_windows(lake, sources, [SECOND], until=SECOND.start + hour * HOUR + HOUR / 4)
            if late:
                extract_windows(lake, sources, [FIRST])
        extract_windows(lake, sources, [FIRST, SECOND] if again else [SECOND])
    assert files_of(lakes[0].root) == files_of(lakes[1].root)


def test_clicks_of_what_was_shown_are_found_as_far_as_they_are_known(tmp_path: Path) -> None:
    times = [SECOND.start + minutes * HOUR / 60 for minutes in (10, 20, 200)]
    clicks = {"user_id": ["u"] * 3, "item_id": ["a", "b", "c"], "event_type": ["click"] * 3, "occurred_at": times}
    pl.DataFrame(clicks).write_parquet(tmp_path / "events.parquet")
    shown = {"impression_id": ["1"], "user_id": ["u"], "shown_at": [SECOND.start], "candidates": [["a", "b", "c"]]}
    pl.DataFrame(shown).write_parquet(tmp_path / "shown.parquet")
    logged = {"kind": "file", "path": str(tmp_path / "shown.parquet"), "clicks_within": "5h"}
    sources = file_sources(tmp_path, tmp_path / "events.parquet").model_copy(
        update={"impressions": Source.model_validate(logged)}
    )
    lake = Lake(tmp_path / "lake")
    for minutes, clicked in ((15, [True, False, False]), (20, [True, False, False]), (300, [True, True, True])):
        extract_windows(lake, sources, [SECOND], until=SECOND.start + minutes * HOUR / 60)
        assert lake.read("impressions", lake.open_keys("impressions")[-1:])["clicked"].to_list() == [clicked]


def test_a_state_that_was_killed_before_its_manifest_is_none(tmp_path: Path, sources: Sources) -> None:
    lake = Lake(tmp_path / "lake")
    extract_windows(lake, sources, [SECOND], until=NOON)
    (key,) = lake.open_keys("events")
    folder = tmp_path / "lake/events" / f"open={key}"
    (folder / folders.MANIFEST).unlink()
    assert lake.open_keys("events") == []
    with pytest.raises(ContractError, match="the lake knows more by now"):
        lake.read("events", [key])
    extract_windows(lake, sources, [SECOND])
    assert not folder.exists()


def test_what_was_known_yesterday_goes_with_the_first_of_today(tmp_path: Path, sources: Sources) -> None:
    lake = Lake(tmp_path / "lake")
    extract_windows(lake, sources, [SECOND], until=NOON)
    extract_windows(lake, sources, [THIRD], until=THIRD.start + HOUR)
    assert [window_key(key) for key in lake.open_keys("events")] == [THIRD.key]


def test_a_window_says_whether_it_has_other_rows_than_before(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    assert write(lake, day_of_events(30)).changed
    assert not write(lake, day_of_events(30)[::-1], source="another name for it").changed
    assert write(lake, day_of_events(40)).changed
    for hours, rows, changed in ((1, 1, True), (2, 2, True), (3, 2, False)):
        known = typed(make_events(rows, days=1, start=SECOND.start)[:rows])
        result = write(lake, known.head(rows), at=SECOND, until=SECOND.start + hours * HOUR)
        assert result.changed == changed, hours


@pytest.mark.parametrize("table", ["events", "quality"])
@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1, None])
def test_a_window_of_another_schema_says_what_to_do(tmp_path: Path, table: str, version: int | None) -> None:
    lake = Lake(tmp_path)
    write(lake, day_of_events(30))
    path = tmp_path / "events/window=2024-03-01/_manifest.json"
    about = json.loads(path.read_bytes())
    if version is None:
        del about["schema_version"]
    else:
        about["schema_version"] = version
        about["code_version"] = "9.8.7"
    (tmp_path / table / "window=2024-03-01").mkdir(parents=True, exist_ok=True)
    (tmp_path / table / "window=2024-03-01/_manifest.json").write_text(json.dumps(about))
    for read in (
        lake.manifest,
        lambda table, key: lake.read(table, [key]),
        lambda table, key: lake.digest(table, [key]),
    ):
        with pytest.raises(ContractError) as caught:
            read(table, "2024-03-01")
        said = str(caught.value)
        step = {"events": "extract", "quality": "monitor"}[table]
        assert f"recsys-text {step} --window 2024-03-01" in said
        assert ("install that one" in said) == (version == SCHEMA_VERSION + 1)
        assert (f"has schema version {version}, by recsys-text 9.8.7" in said) == (version is not None)
    assert lake.keys(table) == ["2024-03-01"]
    if table == "events":
        assert write(lake, day_of_events(30)).changed, "nobody can tell, so that it counts as news"
        assert lake.read("events").height == 30


def test_a_missing_window_is_to_be_extracted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no window 2024-03-01 of events"):
        Lake(tmp_path).manifest("events", "2024-03-01")
