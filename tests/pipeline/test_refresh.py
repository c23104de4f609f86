"""Scores within the day: the open window, published as of the time until which it was read."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import DAY, known_until, parse_window
from recsys_text.steps.evaluate import newest_windows
from recsys_text.steps.extract import extract, extract_open
from recsys_text.steps.inputs import inputs, lake_state, the_store, windows_of
from recsys_text.steps.publish import VIEWS, publish, publish_begin, write_parts
from recsys_text.steps.refresh import refresh, refresh_begin
from recsys_text.steps.schedule import due
from recsys_text.steps.score import rank
from recsys_text.steps.store import previous, rollback
from tests.pipeline.conftest import run_cli
from tests.pipeline.test_publish_vectors import config, info, served

TODAY = parse_window("2024-05-06", DAY)
NOON = TODAY.start + timedelta(hours=12)


def change_events(settings: Settings, change: Any) -> None:
    path = Path(config(settings)).parent / "events.parquet"
    change(pl.read_parquet(path)).write_parquet(path)


def click(settings: Settings, user: str, item: str, time: datetime) -> None:
    """Adds one to the source."""
    change_events(
        settings,
        lambda events: pl.concat(
            [
                events,
                events[:1].with_columns(
                    user_id=pl.lit(user), item_id=pl.lit(item), occurred_at=pl.lit(time, pl.Datetime("us", "UTC"))
                ),
            ]
        ),
    )


def rows(settings: Settings) -> dict[str, list[Any]]:
    """All that is served, in each view in the order of its keys."""
    found = {}
    with the_store(settings) as store:
        for view in VIEWS:
            of_view = [row for batch in store.snapshot(view).batches() for row in batch.to_pylist()]
            found[view] = sorted(of_view, key=lambda row: str(next(iter(row.values()))))
    return found


def test_a_refresh_is_as_of_now_and_knows_what_was_clicked_today(published: Settings) -> None:
    nightly = served(published)["user_scores"]
    click(published, "u001", "i047", NOON - timedelta(seconds=1))
    click(published, "u001", "i046", NOON)
    done = refresh(published, NOON)
    assert done["swapped"]
    assert served(published) == dict.fromkeys(VIEWS, done["version"])
    assert done["version"] > str(nightly)
    assert done["version"].startswith("20240506T120000Z-m1-")
    told = info(published, "user_scores").metadata
    assert (told["as_of"], told["last_window"], told["model_version"]) == (NOON.isoformat(), "2024-05-05", "1")
    with the_store(published) as store:
        history = store.reader("user_vectors").get("u001")
    assert history is not None
    assert history["history"][-1] == "i047", "strictly before now"


def test_nothing_from_now_on_changes_a_refresh(published: Settings) -> None:
    first = refresh(published, NOON)["version"]
    before = rows(published)
    with the_store(published) as store:
        for view in reversed(VIEWS):
            store.rollback(view)
            store.delete(view, first)
    change_events(published, lambda events: events.filter(pl.col("occurred_at") < NOON))
    click(published, "u001", "i046", NOON)
    assert refresh(published, NOON)["version"] == first
    assert rows(published) == before


def test_nothing_new_is_told_without_a_model(published: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    change_events(published, lambda events: events.filter(pl.col("occurred_at") < NOON))
    first = refresh(published, NOON)
    command = (
        "import sys; sys.modules['torch'] = sys.modules['mlflow'] = None\n"
        "from datetime import datetime; from pathlib import Path; from recsys_text.config import load\n"
        "from recsys_text.steps.refresh import refresh\n"
        f"print(refresh(load(Path({config(published)!r})), datetime.fromisoformat('2024-05-06T13:00:00+00:00')))"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    reason = "nothing is new since 2024-05-06T12:00Z"
    told = {"version": first["version"], "served": first["version"], "reason": reason}
    assert done.stdout.strip() == str(told | {"users": 0, "pairs": 0, "swapped": False})
    assert [known_until(key) for key in Lake(published.lake).open_keys("events")] == [NOON], "it says nothing else"
    assert not refresh(published, NOON)["swapped"]
    assert lake_state(published, with_open=True).as_of == NOON
    # By the clock of this machine the day is long over.
    assert run_cli("refresh", "-c", config(published)) == 0
    said = capsys.readouterr().out
    assert f"{first['version']} stays: window 2024-05-06 has ended and is not in the lake yet" in said


def test_a_night_without_news_needs_no_refresh(published: Settings) -> None:
    """The items are a snapshot, so that the open window holds them all again."""
    change_events(published, lambda events: events.filter(pl.col("occurred_at") < TODAY.start))
    assert refresh(published, NOON)["reason"] == "nothing is new since 2024-05-06T00:00Z"
    items = Path(config(published)).parent / "items.parquet"
    known = pl.read_parquet(items)
    new = known[:1].with_columns(item_id=pl.lit("new"), published_at=pl.lit(NOON, pl.Datetime("us", "UTC")))
    pl.concat([known, new]).write_parquet(items)
    assert not refresh(published, NOON)["swapped"], "it is published at noon, and noon is not over"
    assert refresh(published, NOON + timedelta(minutes=1))["swapped"]
    with the_store(published) as store:
        assert store.reader("item_vectors").get("new") is not None


def test_a_refresh_leaves_a_roll_back_alone(published: Settings) -> None:
    """Neither what was rolled back comes back by itself, nor anything else before the next window."""
    first = served(published)["user_scores"]
    click(published, "u001", "i047", NOON - timedelta(hours=2))
    assert refresh(published, NOON)["swapped"]
    rolled_back = served(published)["user_scores"]
    assert rollback(published) == first == previous_of(published, rolled_back)
    click(published, "u002", "i046", NOON + timedelta(minutes=5))
    for later in (1, 30):
        found = refresh(published, NOON + timedelta(minutes=later))
        assert (found["swapped"], found["served"]) == (False, first)
        assert f"{rolled_back} was rolled back" in found["reason"]
    extract(published, [TODAY])
    assert publish(published)["swapped"]
    assert refresh(published, TODAY.end + timedelta(hours=1))["reason"].startswith("nothing is new since")


def previous_of(settings: Settings, version: str | None) -> str:
    """What was named before the roll-back; once named, it can be asked for as often as one likes."""
    with the_store(settings) as store:
        now = store.current("user_scores")
        store.rollback("user_scores", version)
        named = previous(settings)
        store.rollback("user_scores", now)
    return named


def test_who_reads_windows_never_sees_the_open_one(published: Settings, tmp_path: Path) -> None:
    def seen() -> tuple[Any, ...]:
        data = inputs(published)
        state = lake_state(published)
        return windows_of(published), newest_windows(published), due(published), data.digests, len(data.log.time), state

    before = seen()
    extract_open(published, TODAY, NOON)
    assert seen() == before
    data = inputs(published, with_open=True)
    assert len(data.log.time) > before[4]
    assert data.spans[-1][1] == TODAY.start
    # One's own impressions are scored with all that is known at their time.
    shown = {"impression_id": ["1"], "user_id": ["u001"], "shown_at": [NOON], "candidates": [["i001", "i002"]]}
    pl.DataFrame(shown).write_parquet(tmp_path / "shown.parquet")
    scores = []
    for _ in range(2):
        rank(published, tmp_path / "shown.parquet", tmp_path / "scores.parquet")
        scores.append(pl.read_parquet(tmp_path / "scores.parquet"))
        for number in range(40):
            click(published, f"u{number:03d}", "i002", NOON - timedelta(hours=1))
        extract_open(published, TODAY, NOON)
    assert not scores[0].equals(scores[1])


def test_the_night_follows_the_day(published: Settings) -> None:
    first = refresh(published, NOON)["version"]
    result = extract(published, [TODAY])
    assert result["changed"] == ["2024-05-06"]
    lake = Lake(published.lake)
    assert lake.open_keys("events") == lake.open_keys("items") == []
    nightly = publish(published)
    assert nightly["swapped"]
    assert nightly["version"].startswith("20240507T000000Z-m1-")
    assert nightly["version"] > first
    assert refresh(published, TODAY.end)["reason"] == "nothing is new since 2024-05-07T00:00Z"


def test_late_rows_are_published_if_they_change_anything(published: Settings) -> None:
    version = served(published)["user_scores"]
    window = parse_window("2024-05-05", DAY)
    assert extract(published, [window])["changed"] == []
    assert publish(published) == {"version": version, "users": 0, "pairs": 0, "swapped": False, "served": version}
    click(published, "u001", "i047", window.end - timedelta(seconds=1))
    result = extract(published, [parse_window("2024-05-04", DAY), window])
    assert result["changed"] == ["2024-05-05"]
    assert [each["changed"] for each in result["tables"]["events"].values()] == [False, True]
    assert not result["tables"]["items"]["2024-05-05"]["changed"]
    again = publish(published)
    assert again["swapped"]
    assert again["version"] != version
    # In the day a refresh takes them up as well.
    change_events(published, lambda events: events.filter(pl.col("occurred_at") < TODAY.start))
    assert not refresh(published, NOON)["swapped"]
    click(published, "u002", "i047", window.end - timedelta(seconds=1))
    extract(published, [window])
    assert refresh(published, NOON)["swapped"]


def test_a_publication_goes_on_while_newer_states_come(published: Settings) -> None:
    extract_open(published, TODAY, NOON)
    plan = publish_begin(published)
    assert plan["version"].startswith("20240506T120000Z")
    for number in range(1, 6):
        extract_open(published, TODAY, NOON + timedelta(seconds=number))
    written, _ = write_parts(published, plan)
    for minutes in (10, 20):
        click(published, "u001", "i047", NOON + timedelta(minutes=minutes - 1))
        extract_open(published, TODAY, NOON + timedelta(minutes=minutes))
    assert lake_state(published, before=NOON, with_open=True).digests == written["digests"]
    assert lake_state(published, with_open=True).as_of == NOON + timedelta(minutes=20)


def test_a_state_counts_once_all_tables_have_it(published: Settings) -> None:
    extract_open(published, TODAY, NOON)
    later = NOON + timedelta(minutes=10)
    click(published, "u001", "i047", NOON)
    extract_open(published, TODAY, later)
    assert lake_state(published, with_open=True).as_of == later
    (published.lake / "items" / f"open={Lake(published.lake).open_keys('items')[-1]}" / "_manifest.json").unlink()
    assert lake_state(published, with_open=True).as_of == NOON


def test_a_state_follows_the_last_window_that_has_ended(published: Settings) -> None:
    tomorrow = parse_window("2024-05-07", DAY)
    extract_open(published, tomorrow, tomorrow.start + timedelta(hours=1))
    assert lake_state(published, with_open=True).as_of == TODAY.start
    extract(published, [TODAY])
    assert lake_state(published, with_open=True).as_of == tomorrow.start + timedelta(hours=1)


def test_a_day_that_is_missing_stops_a_refresh(published: Settings) -> None:
    plan = refresh_begin(published, TODAY.end + timedelta(hours=1))
    assert plan["views"] == plan["buckets"] == []
    assert "window 2024-05-06 has ended and is not in the lake yet: extract it first" in plan["reason"]
    assert Lake(published.lake).open_keys("events") == []


def test_where_nothing_is_served_there_is_nothing_to_follow(
    small_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No mistake, and no mail every 15 minutes: the first publication has not come yet."""
    assert run_cli("refresh", "-c", str(small_config)) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Nothing was published: no scores are served that a refresh could follow; run `recsys-text publish`" in said
    done = refresh(load(small_config))
    assert (done["swapped"], done["served"]) == (False, None)


def test_a_window_that_has_not_ended_is_not_extracted_as_a_whole(
    published: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    assert run_cli("extract", "-c", config(published), "--window", today) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"window {today} has not ended yet" in said
    assert "`recsys-text refresh` publish what is known of it so far" in said
    with pytest.raises(ConfigError):
        extract(published, [parse_window(today, DAY)])
