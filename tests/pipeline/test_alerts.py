"""Rules about figures: each fires and keeps quiet, some ask for a training, and those about nothing are refused."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys_text.config import Settings, load
from recsys_text.sections import Alert
from recsys_text.sections.watching import SLICES
from recsys_text.steps.alerts import alerts, asks_for_training
from recsys_text.steps.monitor import monitor
from recsys_text.steps.schedule import due
from recsys_text.tables import TABLES
from tests.conftest import START, write_small_project
from tests.pipeline.conftest import LAST, run_cli
from tests.pipeline.test_cli import config_of


def watching(settings: Settings, **alert: Any) -> Settings:
    return settings.model_copy(update={"alerts": {"watch": Alert(**alert)}})


def fires_and_keeps_quiet(settings: Settings, rows: list[dict[str, Any]]) -> set[str]:
    """A rule about each figure fires where its bound is just beyond it, and not where it is just short of it."""
    for row in rows:
        little = 1e-6 * (1 + abs(row["value"]))
        for bounds, fires in (
            ({"below": row["value"] + little}, True),
            ({"below": row["value"] - little}, False),
            ({"above": row["value"] - little}, True),
            ({"above": row["value"] + little}, False),
        ):
            [found] = alerts(watching(settings, metric=row["metric"], slice=row["slice"], **bounds))
            assert found["fires"] == fires, (row, bounds)
            assert row["metric"] in found["line"]
            assert row["slice"] in found["line"]
    return {row["metric"] for row in rows}


def test_the_slices_that_a_rule_may_name_are_those_that_there_are(landed: Settings) -> None:
    for row in monitor(landed)["rows"]:
        assert row["metric"] == "reject_rate" or row["slice"] in SLICES[row["metric"]]
    nullable = [
        f"{table}.{name}"
        for table in ("items", "events", "impressions")
        for name, column in TABLES[table].columns().items()
        if column.nullable
    ]
    assert sorted(SLICES["null_rate"]) == sorted(nullable)


def test_a_rule_about_each_figure_fires_and_keeps_quiet(landed: Settings) -> None:
    told = fires_and_keeps_quiet(landed, monitor(landed)["rows"])
    assert told == SLICES.keys() - {"score_psi", "gain of ndcg@10"}, "which have tests of their own"


def test_rejected_rows_make_a_rule_fire(tmp_path: Path) -> None:
    config = write_small_project(tmp_path)
    config.write_text(config.read_text() + '[alerts.rejects]\nmetric = "reject_rate"\nslice = "events"\nabove = 0.02\n')
    path = tmp_path / "events.parquet"
    events = pl.read_parquet(path)
    late = events.filter(pl.col("occurred_at") >= START.replace(day=6))
    broken = late.head(max(1, len(late) // 25)).with_columns(user_id=pl.lit(""))
    pl.concat([events, broken]).write_parquet(path)
    assert run_cli("extract", "-c", str(config), "--from", "2024-05-01", "--to", "2024-05-07") == 0
    settings = load(config)
    assert [found["fires"] for found in monitor(settings, "2024-05-05")["alerts"]] == [False]
    assert [found["fires"] for found in monitor(settings, LAST)["alerts"]] == [True]


def test_a_rule_of_the_contract_that_is_kept_again_is_over(tmp_path: Path) -> None:
    config = write_small_project(tmp_path)
    path = tmp_path / "events.parquet"
    events = pl.read_parquet(path)
    broken = events.filter(pl.col("occurred_at") < START.replace(day=2)).head(1).with_columns(user_id=pl.lit(""))
    pl.concat([events, broken]).write_parquet(path)
    # One row in a hundred may be broken, and the first window has fewer rows than that.
    config.write_text(config.read_text().replace('"events.parquet"', '"events.parquet"\nmax_rejected = 0.5'))
    assert run_cli("extract", "-c", str(config), "--from", "2024-05-01", "--to", "2024-05-04") == 0
    settings = watching(load(config), metric="reject_rate", above=0.001)
    fires = []
    for day in ("2024-05-01", "2024-05-02"):
        fires.append({found["slice"]: found["fires"] for found in monitor(settings, day)["alerts"]})
    [rule] = [part for part in fires[0] if part.startswith("events: ")]
    assert (fires[0][rule], fires[1][rule]) == (True, False)


def test_a_rule_without_a_slice_is_about_each(landed: Settings) -> None:
    monitor(landed)
    found = alerts(watching(landed, metric="input_psi", above=-1))
    assert {entry["slice"] for entry in found if entry["fires"]} >= {"event_type", "clicks_per_user"}
    found = alerts(watching(landed, metric="null_rate", above=-1))
    assert [entry["slice"] for entry in found] == ["items.published_at"], "nobody fills the other columns"


def test_drift_asks_for_a_training_once(landed: Settings) -> None:
    settings = watching(landed, metric="null_rate", slice="items.category", above=0.5, train=True)
    quiet = watching(landed, metric="null_rate", slice="items.category", above=1, train=True)
    silent = watching(landed, metric="null_rate", slice="items.category", above=0.5)
    monitor(landed)
    assert not due(quiet)[0]
    assert not due(silent)[0], "it fires, and asks for nothing"
    is_due, reason = due(settings)
    assert is_due
    assert "watch fires since" in reason
    fifth, sixth, seventh = (START.replace(day=day) for day in (5, 6, 7))
    assert asks_for_training(settings, fifth, sixth) is not None
    assert asks_for_training(settings, sixth, seventh) is None, "the model has learned from the window that fired"
    assert asks_for_training(settings, fifth, fifth) is None, "a model of now would not learn from it"


def test_the_command_line_shows_what_fires(landed: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(config_of(landed))
    config.write_text(config.read_text() + '[alerts.few]\nmetric = "users"\nslice = "all"\nbelow = 1000\n')
    assert run_cli("monitor", "-c", str(config)) == 0
    assert "few fires since 2024-05-06: users of all is" in capsys.readouterr().out


def test_a_metric_that_there_is_not_is_refused(published: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(config_of(published))
    for rule, told in (
        ('metric = "ndgc@10"', "there is no metric 'ndgc@10'; did you mean 'ndcg@10'?"),
        ('metric = "users"\nslice = "al"', "there is no slice of users 'al'; did you mean 'all'?"),
        ('metric = "null_rate"\nslice = "x"', "there is no slice of null_rate 'x'; there are items.description, "),
    ):
        config.write_text((text := config.read_text()) + f"[alerts.few]\n{rule}\nbelow = 0.1\n")
        assert run_cli("monitor", "-c", str(config)) == 2
        assert told in " ".join(capsys.readouterr().err.split())
        config.write_text(text)


def test_a_bad_rule_is_named(published: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(config_of(published))
    config.write_text(config.read_text() + '[alerts.few]\nmetric = "users"\n')
    assert run_cli("monitor", "-c", str(config)) == 2
    shown = capsys.readouterr().err
    assert "alerts.few" in shown
    assert "above or below" in shown
