"""The figures of a window, and where they are told."""

import re
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from mlflow import MlflowClient

from feature_store import open_store
from recsys_text.config import Settings
from recsys_text.lake.store import Lake
from recsys_text.lake.windows import DAY, parse_window
from recsys_text.publications import ITEMS, SCORES, SHADOW, USERS
from recsys_text.steps.alerts import alerts
from recsys_text.steps.inputs import tracker
from recsys_text.steps.monitor import monitor, unmeasured
from tests.conftest import START
from tests.pipeline.conftest import LAST, run_cli, store_folder
from tests.pipeline.test_alerts import fires_and_keeps_quiet, watching
from tests.pipeline.test_cli import config_of
from tests.pipeline.test_report import second


def value(result: dict[str, Any], metric: str, part: str = "all") -> Any:
    found = {row["value"] for row in result["rows"] if (row["metric"], row["slice"]) == (metric, part)}
    assert len(found) == 1, (metric, part, result["rows"])
    return found.pop()


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


def test_what_is_left_to_measure_are_windows_without_figures_of_their_present_rows(landed: Settings) -> None:
    shutil.rmtree(landed.lake / "quality")
    keys = Lake(landed.lake).keys("events")
    assert unmeasured(landed) == keys
    monitor(landed)
    monitor(landed, keys[0])
    assert unmeasured(landed) == keys[1:-1]
    for key in keys:
        monitor(landed, key)
    assert unmeasured(landed) == []
    lake, window = Lake(landed.lake), parse_window(keys[1], DAY)
    late = lake.read("events", [window.key]).drop("window").head(5)
    lake.write("events", window, [late], source="late", max_rejected=0.0, min_rows=0)
    assert unmeasured(landed) == [window.key]


def test_figures_of_an_older_release_count_as_measured(landed: Settings) -> None:
    monitor(landed)
    manifest = landed.lake / "quality" / f"window={LAST}" / "_manifest.json"
    manifest.write_text(re.sub(r'"source": "[^"]*"', '"source": "version none"', manifest.read_text()))
    assert LAST not in unmeasured(landed)


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


def test_the_first_scores_of_a_model_drift_from_those_of_the_one_before(
    landed: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    measured_after_two(landed)
    store = open_store(landed.store_url)
    *_, newest = store.versions(SCORES)
    with store.begin(SCORES, "20240507T000000Z-m2-another").writer("all") as writer:
        for batch in store.snapshot(SCORES, newest.version).batches():
            writer.write(batch)
    model = second(landed, seed=5)
    told = dict(newest.metadata) | {"model_version": model, "model_run": tracker(landed).run_id(model)}
    store.commit(SCORES, "20240507T000000Z-m2-another", expect_parts=["all"], metadata=told)
    without = monitor(landed)
    assert "model version 2 has no tag 'cutoff'" in caplog.text
    assert "input_psi" not in {row["metric"] for row in without["rows"]}
    tracker(landed).tag("2", {"cutoff": "2024-05-05T00:00:00+00:00"})
    result = monitor(landed)
    assert result["version"] == "20240507T000000Z-m2-another"
    assert value(result, "score_psi") >= 0


def test_scores_that_drift_cannot_be_told_from_cost_no_other_figure(
    landed: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    measured_after_two(landed)
    first, *_ = open_store(landed.store_url).versions(SCORES)
    for part in store_folder(landed).glob(f"{SCORES}/{first.version}/*.arrow"):
        content = bytearray(part.read_bytes())
        content[len(content) // 2] ^= 1
        part.write_bytes(content)
    result = monitor(landed)
    assert "window 2024-05-07 has no drift of the scores: " in caplog.text
    assert value(result, "ndcg@10") >= 0
    assert "score_psi" not in {row["metric"] for row in result["rows"]}


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
