"""The check of a project's data, from sources to an exit code."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from recsys_text.config import load
from recsys_text.errors import ConfigError, ContractError
from recsys_text.lake.windows import parse_window
from recsys_text.steps.check import check
from tests.conftest import START
from tests.pipeline.conftest import run_cli

BOOKS = Path(__file__).parents[2] / "examples/books"


def extracted(config: Path) -> str:
    assert run_cli("extract", "-c", str(config), "--from", "2024-05-01", "--to", "2024-05-06") == 0
    return str(config)


def log_impressions(config: Path) -> None:
    """Each click as the click of a list of two that was shown half a minute before it, as a source of the project."""
    clicks = pl.read_parquet(config.parent / "events.parquet").with_row_index()
    pl.DataFrame(
        {
            "impression_id": clicks["index"].cast(pl.String),
            "user_id": clicks["user_id"],
            "shown_at": clicks["occurred_at"] - timedelta(seconds=30),
            "candidates": [[item, "i000" if item != "i000" else "i001"] for item in clicks["item_id"]],
            "clicked": [[True, False]] * len(clicks),
        }
    ).write_parquet(config.parent / "shown.parquet")
    source = '[sources.impressions]\nkind = "file"\npath = "shown.parquet"\n[candidates]'
    config.write_text(config.read_text().replace("[candidates]", source))


def test_honest_data_pass(small_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = extracted(small_config)
    capsys.readouterr()
    assert run_cli("check", "-c", config) == 0
    shown = capsys.readouterr().out
    assert "found no error" in shown
    assert "features that know the label" in shown
    assert "impressions" not in shown, "there are none, so there are no rules about them"


def test_a_window_that_is_missing_is_told(small_config: Path) -> None:
    settings = load(Path(extracted(small_config)))
    [found] = [each for each in check(settings) if each.name == "missing windows"]
    assert (found.level, found.count, found.of) == ("ok", 0, 5)
    for table in ("items", "events"):
        shutil.rmtree(settings.lake / table / "window=2024-05-03")
    [found] = [each for each in check(settings) if each.name == "missing windows"]
    assert (found.level, found.count, found.of, found.examples) == ("warning", 1, 5, ("2024-05-03T00:00Z",))
    assert "such as 2024-05-03T00:00Z" in found.line


def test_dates_for_times_are_told_and_exit_with_3(small_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = small_config.parent / "events.parquet"
    pl.read_parquet(path).with_columns(pl.col("occurred_at").dt.truncate("1d")).write_parquet(path)
    config = extracted(small_config)
    capsys.readouterr()
    assert run_cli("check", "-c", config, "--json") == 3
    told = capsys.readouterr()
    found = {finding["check"]: finding for finding in json.loads(told.out)}
    assert found["dates for times"]["level"] == "error"
    assert found["dates for times"]["share"] == 1
    assert "dates for times" in told.err
    assert run_cli("check", "-c", config) == 3
    assert "error: dates for times: " in capsys.readouterr().out


def test_logged_impressions_have_rules_of_their_own(small_config: Path) -> None:
    log_impressions(small_config)
    extracted(small_config)
    found = {finding.name: finding for finding in check(load(small_config))}
    assert found["clicks before they were shown"].level == found["time zones"].level == "ok"
    assert found["clicks before they were shown"].of > 300
    assert found["impressions all clicked"].count == 0


def test_windows_that_are_asked_for_and_those_that_are_not_there(small_config: Path) -> None:
    with pytest.raises(ContractError, match="recsys-text extract"):
        check(load(small_config))
    extracted(small_config)
    settings = load(small_config)
    one = [parse_window("2024-05-02", timedelta(days=1))]
    events = {finding.name: finding.of for finding in check(settings, one)}["events in several windows"]
    assert 0 < events < {finding.name: finding.of for finding in check(settings)}["events in several windows"]
    with pytest.raises(ConfigError, match="2024-06-01"):
        check(settings, [parse_window("2024-06-01", timedelta(days=1))])


def test_items_that_a_query_lost_are_told_and_a_feed_of_changes_is_not(small_config: Path) -> None:
    def vanished() -> tuple[str, int]:
        assert run_cli("extract", "-c", str(small_config), "--window", "2024-05-05") == 0
        found = {finding.name: finding for finding in check(load(small_config))}["vanished items"]
        return found.level, found.count

    extracted(small_config)
    assert vanished() == ("ok", 0)
    path = small_config.parent / "items.parquet"
    items = pl.read_parquet(path)
    items.head(30).write_parquet(path)
    level, count = vanished()
    assert (level, count > 10) == ("error", True)
    changed = items.head(30).with_columns(updated_at=pl.lit(START + timedelta(days=4, hours=3)))
    changed.write_parquet(path)
    assert vanished() == ("ok", 0)
    # By the day alone, changes look like a snapshot, unless the project says what they are.
    changed.with_columns(day=pl.lit(START + timedelta(days=4))).drop("updated_at", "published_at").write_parquet(path)
    small_config.write_text(
        small_config.read_text().replace(
            '"items.parquet"', '"items.parquet"\nfeed = "changes"\ncolumns = { updated_at = "day" }', 1
        )
    )
    assert vanished() == ("ok", 0)


def test_items_that_left_or_have_rows_that_differ_are_told(small_config: Path) -> None:
    extracted(small_config)
    path = small_config.parent / "items.parquet"
    items = pl.read_parquet(path)
    other = items[10:13].with_columns(title=pl.lit("another title"))
    pl.concat([items[10:], other, other]).write_parquet(path)
    assert run_cli("extract", "-c", str(small_config), "--window", "2024-05-05") == 0
    found = {finding.name: finding for finding in check(load(small_config))}
    assert (found["items that left"].level, found["items that left"].count) == ("ok", 10)
    assert (found["items with rows that differ"].level, found["items with rows that differ"].count) == ("warning", 3)


def test_what_is_after_now_is_told(small_config: Path) -> None:
    extracted(small_config)
    found = {finding.name: finding for finding in check(load(small_config), now=START + timedelta(days=2))}
    assert found["future times"].level == "error"
    assert {f.name: f for f in check(load(small_config), now=datetime.now(UTC))}["future times"].level == "ok"


def test_the_books_sample_raises_no_alarm(tmp_path: Path) -> None:
    for name in ("items.parquet", "events.parquet"):
        (tmp_path / name).symlink_to(BOOKS / name)
    config = tmp_path / "recsys.toml"
    config.write_text((BOOKS / "recsys.toml").read_text().replace("../../var/books", str(tmp_path / "var")))
    assert run_cli("extract", "-c", str(config), "--from", "2017-07-01", "--to", "2017-07-11") == 0
    assert [finding for finding in check(load(config)) if finding.level != "ok"] == []


def test_windows_without_events_are_told_with_the_times_of_the_source(
    small_config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(small_config)
    assert run_cli("extract", "-c", path, "--window", "2020-01-01") == 0
    capsys.readouterr()
    assert run_cli("check", "-c", path) == 3
    told = capsys.readouterr().out
    assert "error: events in the windows: 0 events are in 1 windows; those of the source are from 2024-05-01" in told
