"""The figures of a window, the alerts on them, and where both are told."""

import shutil
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from mlflow import MlflowClient

from feature_store import open_store
from recsys_text.config import Settings, load
from recsys_text.errors import ContractError
from recsys_text.lake.store import Lake
from recsys_text.publications import ITEMS, SCORES, SHADOW, USERS
from recsys_text.sections import Alert
from recsys_text.sections.watching import SLICES
from recsys_text.steps.alerts import alerts, asks_for_training
from recsys_text.steps.inputs import tracker
from recsys_text.steps.monitor import monitor
from recsys_text.steps.schedule import due
from recsys_text.tables import TABLES
from tests.conftest import START, write_small_project
from tests.pipeline.conftest import run_cli
from tests.pipeline.test_cli import config_of
from tests.pipeline.test_report import second

LAST = "2024-05-06"


def watching(settings: Settings, **alert: Any) -> Settings:
    return settings.model_copy(update={"alerts": {"watch": Alert(**alert)}})


def value(result: dict[str, Any], metric: str, part: str = "all") -> Any:
    found = {row["value"] for row in result["rows"] if (row["metric"], row["slice"]) == (metric, part)}
    assert len(found) == 1, (metric, part, result["rows"])
    return found.pop()


@pytest.fixture
def landed(published: Settings) -> Settings:
    """The window after the publication is in the lake."""
    assert run_cli("extract", "-c", config_of(published), "--window", LAST) == 0
    return published


def test_every_figure_has_its_row_in_the_table(landed: Settings) -> None:
    result = monitor(landed)
    assert (result["window"], result["reason"]) == (LAST, "")
    metrics = {row["metric"] for row in result["rows"]}
    assert metrics >= {"ndcg@10", "hit_rate@10", "auc", "diversity@10", "novelty@10", "calibration_error_top1%"}
    assert metrics >= {"calibration_ratio", "coverage", "item_coverage@10", "users"}
    assert metrics >= {"input_psi", "null_rate", "reject_rate"}
    assert "score_psi" not in metrics, "one version has nothing to drift from"
    table = Lake(landed.lake).read("quality", [LAST])
    assert sorted(table.rows()) == sorted(pl.DataFrame(result["rows"]).select(table.columns).rows())
    assert value(result, "coverage") == 1
    assert value(result, "null_rate", "items.category") == 1
    assert 0 < value(result, "ndcg@10") <= 1
    assert 0 < value(result, "item_coverage@10") <= 1
    row = next(row for row in result["rows"] if (row["metric"], row["slice"]) == ("ndcg@10", "all"))
    assert row["low"] <= row["value"] <= row["high"]


def test_a_window_measured_again_corrects_the_alerts_of_the_newest_one(landed: Settings) -> None:
    """It began two windows ago as the older one says now, of which the newest knew nothing when it was measured."""
    settings = watching(landed, metric="null_rate", slice="items.category", above=0.5, windows=2)
    shutil.rmtree(landed.lake / "quality")
    fires = 'recsys_text_alert{alert="watch",metric="null_rate",project="small",slice="items.category"} '
    told = landed.project.root / "metrics" / "small.prom"
    monitor(settings)
    assert fires + "0.0" in told.read_text()
    monitor(settings, "2024-05-05")
    assert fires + "1.0" in told.read_text()
    assert f'window="{LAST}"' in told.read_text()


def test_measuring_again_gives_the_same_bytes(landed: Settings) -> None:
    folder = landed.lake / "quality" / f"window={LAST}"

    def written() -> dict[str, bytes]:
        monitor(landed)
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    assert written() == written()


def test_the_figures_are_in_mlflow_and_in_a_file_for_prometheus(landed: Settings) -> None:
    result = monitor(watching(landed, metric="users", slice="all", below=1e6))
    client = MlflowClient(landed.tracking_uri)
    run_id = client.get_model_version("small", "1").run_id
    [logged] = client.get_metric_history(run_id, "served/ndcg_at_10/all")
    assert logged.value == value(result, "ndcg@10")
    assert logged.step == (date(2024, 5, 6) - date(1970, 1, 1)).days
    text = (landed.project.root / "metrics" / "small.prom").read_text()
    of = f'project="small",slice="all",version="{result["version"]}",window="{LAST}"'
    assert f'recsys_text_quality{{metric="users",{of}}} {value(result, "users")}' in text
    assert 'recsys_text_alert{alert="watch",metric="users",project="small",slice="all"} 1.0' in text


def test_an_older_window_does_not_speak_for_the_newest(landed: Settings) -> None:
    monitor(landed)
    before = (landed.project.root / "metrics" / "small.prom").read_bytes()
    assert monitor(landed, "2024-05-04")["version"] is None
    assert (landed.project.root / "metrics" / "small.prom").read_bytes() == before


def test_a_window_whose_version_was_pruned_keeps_its_figures(landed: Settings) -> None:
    before = monitor(landed)
    store = open_store(landed.store_url)
    for name in (SCORES, ITEMS, USERS):
        shutil.rmtree(landed.project.root / "store" / name)
    assert not store.versions(SCORES)
    again = monitor(landed)
    assert again["version"] is None
    assert f"Version {before['version']}, which window {LAST} was measured with, was pruned" in again["reason"]

    def of_scores(result: dict[str, Any]) -> list[Any]:
        data = ("null_rate", "reject_rate", "input_psi", "score_psi")
        return sorted(
            (row["metric"], row["slice"], row["value"]) for row in result["rows"] if row["metric"] not in data
        )

    assert of_scores(again) == of_scores(before) != []
    assert {row["version"] for row in again["rows"]} == {before["version"]}
    stored = Lake(landed.lake).read("quality", [LAST]).to_dicts()
    assert sorted(row["metric"] for row in stored) == sorted(row["metric"] for row in again["rows"])


def test_a_window_before_any_publication_has_figures_of_its_data(published: Settings) -> None:
    result = monitor(published)
    assert result["version"] is None
    assert "No version was published as of 2024-05-05T00:00Z" in result["reason"]
    assert {row["metric"] for row in result["rows"]} == {"null_rate", "reject_rate"}
    assert {row["version"] for row in result["rows"]} == {"none"}


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


def measured_after_two(landed: Settings) -> dict[str, Any]:
    """The figures of a window after a second publication of the same model."""
    config = config_of(landed)
    assert run_cli("publish", "-c", config) == 0
    # A window after the second publication, with the clicks of the last one.
    events = Lake(landed.lake).read("events", [LAST]).drop("window")
    path = landed.project.root.parent / "events.parquet"
    later = events.select(pl.read_parquet(path).columns).with_columns(
        pl.col("occurred_at") + pl.duration(days=1), pl.col("event_type").cast(pl.String)
    )
    pl.concat([pl.read_parquet(path), later]).write_parquet(path)
    assert run_cli("extract", "-c", config, "--window", "2024-05-07") == 0
    return monitor(landed)


def test_the_drift_of_scores_is_against_the_first_version_of_the_model(landed: Settings) -> None:
    result = measured_after_two(landed)
    assert result["version"].startswith("20240507T")
    assert value(result, "score_psi") >= 0
    assert fires_and_keeps_quiet(landed, [row for row in result["rows"] if row["metric"] == "score_psi"])


def test_the_first_scores_of_a_model_drift_from_those_of_the_one_before(landed: Settings) -> None:
    measured_after_two(landed)
    store = open_store(landed.store_url)
    *_, newest = store.versions(SCORES)
    with store.begin(SCORES, "20240507T000000Z-m2-another").writer("all") as writer:
        for batch in store.snapshot(SCORES, newest.version).batches():
            writer.write(batch)
    told = dict(newest.metadata) | {"model_version": second(landed, seed=5)}
    store.commit(SCORES, "20240507T000000Z-m2-another", expect_parts=["all"], metadata=told)
    with pytest.raises(ContractError, match="model version 2 has no tag 'cutoff'"):
        monitor(landed)
    tracker(landed).tag("2", {"cutoff": "2024-05-05T00:00:00+00:00"})
    result = monitor(landed)
    assert result["version"] == "20240507T000000Z-m2-another"
    assert value(result, "score_psi") >= 0


def test_the_shadow_is_measured_beside_what_was_served(landed: Settings) -> None:
    store = open_store(landed.store_url)
    served = store.versions(SCORES)[0]

    lists = list(store.snapshot(SCORES, served.version).batches())

    def shadow(name: str, as_of: str, batches: list[pa.RecordBatch] = lists) -> None:
        with store.begin(SHADOW, name).writer("all") as writer:
            for batch in batches:
                writer.write(batch)
        told = dict(served.metadata) | {"model_version": "2", "as_of": as_of}
        store.commit(SHADOW, name, expect_parts=["all"], metadata=told)

    shadow("older", "2024-05-05T00:00:00+00:00")
    assert "shadow" not in {row["slice"] for row in monitor(landed)["rows"]}, "it knew a day less"
    other = [batch.set_column(0, "user_id", pa.array([f"x{user}" for user in range(len(batch))])) for batch in lists]
    shadow("strangers", served.metadata["as_of"], other)
    assert "shadow" not in {row["slice"] for row in monitor(landed)["rows"]}, "nobody has both lists"
    shadow("same", served.metadata["as_of"])
    result = monitor(landed)
    assert value(result, "ndcg@10", "shadow") == value(result, "ndcg@10")
    assert value(result, "gain of ndcg@10", "shadow") == 0
    gains = [row for row in result["rows"] if row["metric"] == "gain of ndcg@10"]
    assert {row["slice"] for row in gains} == {"shadow"}
    assert fires_and_keeps_quiet(landed, gains)
    assert "shadow" not in {found["slice"] for found in alerts(watching(landed, metric="ndcg@10", below=2))}


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


def test_a_window_of_nothing_but_new_users_has_figures(landed: Settings) -> None:
    rename(landed, "new-")
    result = monitor(landed)
    assert value(result, "coverage") == 0
    assert value(result, "users") == 0
    assert value(result, "null_rate", "items.category") == 1
    [found] = alerts(watching(landed, metric="coverage", slice="all", below=0.5))
    assert found["fires"]


def rename(settings: Settings, prefix: str) -> None:
    """Gives the users of the newest window other names, and extracts it again."""
    path = settings.project.root.parent / "events.parquet"
    newest = pl.col("occurred_at") >= START.replace(day=6)
    user = pl.when(newest).then(prefix + pl.col("user_id")).otherwise("user_id")
    pl.read_parquet(path).with_columns(user_id=user).write_parquet(path)
    assert run_cli("extract", "-c", config_of(settings), "--window", LAST) == 0


def test_of_a_window_that_is_measured_again_mlflow_shows_the_newer_figure(landed: Settings) -> None:
    client = MlflowClient(landed.tracking_uri)
    run_id = client.get_model_version("small", "1").run_id
    for prefix, coverage in (("", 1.0), ("new-", 0.0)):
        rename(landed, prefix)
        monitor(landed)
        assert client.get_run(run_id).data.metrics["served/coverage/all"] == coverage


def test_a_place_for_prometheus_that_cannot_be_written_hides_no_alert(
    landed: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    (landed.project.root / "metrics").rename(landed.project.root / "moved")
    (landed.project.root / "metrics").write_text("not a folder")
    result = monitor(watching(landed, metric="users", slice="all", below=1e6))
    assert [found["fires"] for found in result["alerts"]] == [True]
    assert f"window {LAST} is measured, but cannot write" in caplog.text


def test_windows_of_another_length_are_told(landed: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(config_of(landed))
    config.write_text(config.read_text() + '[windows]\nlength = "1h"\n')
    assert run_cli("monitor", "-c", str(config)) == 2
    assert "not of the windows.length that is configured" in capsys.readouterr().err.replace("\n", " ")


def test_a_bad_rule_is_named(published: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    config = Path(config_of(published))
    config.write_text(config.read_text() + '[alerts.few]\nmetric = "users"\n')
    assert run_cli("monitor", "-c", str(config)) == 2
    shown = capsys.readouterr().err
    assert "alerts.few" in shown
    assert "above or below" in shown
