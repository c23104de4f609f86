"""The page of real versions: after a training, by the command, and where something is missing."""

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from recsys_text.bundle import Bundle
from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError
from recsys_text.lake.store import Lake
from recsys_text.steps.gate import gate
from recsys_text.steps.inputs import bundle_path, tracker
from recsys_text.steps.report import report, tell_verdict, to_html
from recsys_text.steps.train import train
from recsys_text.tracking.recorded import recorded
from tests.pipeline.conftest import Quiet, run_cli
from tests.pipeline.test_check import log_impressions
from tests.pipeline.test_cli import config_of


def keep(settings: Settings, *keys: str) -> None:
    """Takes all other windows of events out of the lake."""
    for key in Lake(settings.lake).keys("events"):
        if key not in keys:
            shutil.rmtree(settings.lake / "events" / f"window={key}")


def second(settings: Settings, seed: int, **tags: str) -> str:
    """A version of another run with the bundle of the first one."""
    client = MlflowClient(settings.tracking_uri, settings.tracking_uri)
    first = client.get_model_version("small", "1")
    run = client.create_run(client.get_run(first.run_id).info.experiment_id)
    client.log_param(run.info.run_id, "training.seed", seed)
    client.log_metric(run.info.run_id, "score/auc", 0.123)
    made = client.create_model_version("small", source=first.source, run_id=run.info.run_id)
    for key, value in tags.items():
        client.set_model_version_tag("small", made.version, f"gate.{key}", value)
    return str(made.version)


def run_of(settings: Settings, version: str) -> str:
    client = MlflowClient(settings.tracking_uri, settings.tracking_uri)
    return str(client.get_model_version("small", version).run_id)


def test_training_keeps_the_page_as_a_file_and_in_mlflow(published: Settings) -> None:
    page = (published.project.root / "reports" / "report-1.html").read_text()
    client = MlflowClient(published.tracking_uri, published.tracking_uri)
    run_id = client.get_model_version("small", "1").run_id
    assert "report.html" in {artifact.path for artifact in client.list_artifacts(run_id)}
    for name in ("learned from", "tested on", "item-item co-click", "Loss of the text model", "Ranked well", run_id):
        assert name in page
    assert "<dd>there was no champion; gain over the best baseline, " in page, (
        "the gate, which came later, has put its verdict there"
    )
    assert f"{run_id}, finished, begun " in page
    assert "has changed since" not in page
    assert page.count("<figure>") >= 8


def test_a_page_that_cannot_be_written_costs_no_training(published: Settings, caplog: pytest.LogCaptureFixture) -> None:
    reports = published.project.root / "reports"
    shutil.rmtree(reports)
    reports.write_text("not a folder")
    trained = train(published, progress=Quiet())
    assert trained.version == "2"
    gate(published)  # without a page there is none to tell
    reports.unlink()
    page = report(published, "2")
    assert "gain over the champion" in page.read_text()
    registry = tracker(published)
    registry.retag("2", "gate.", {"reason": "<b>another</b>"})
    tell_verdict(published, registry, "2")
    assert "<dd>&lt;b&gt;another&lt;/b&gt;</dd>" in page.read_text()
    assert "gain over the champion" not in page.read_text()
    assert registry.attached("2", "report.html") == page.read_text()
    assert page.read_text().startswith("<!doctype html>")
    shutil.rmtree(reports)
    reports.write_text("not a folder")
    tell_verdict(published, registry, "2")
    assert "the report of version 2 does not show the verdict: cannot write" in caplog.text
    assert "version 2 is registered, but has no report" in caplog.text
    assert "recsys-text report --model 2" in caplog.text


def test_the_command_writes_the_page_with_the_verdict(published: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("report", "-c", config_of(published)) == 0
    path = published.project.root / "reports" / "report-1.html"
    assert str(path) in capsys.readouterr().out
    page = path.read_text()
    assert "there was no champion; gain over the best baseline, " in page
    assert "There is no champion to compare it with." in page
    client = MlflowClient(published.tracking_uri, published.tracking_uri)
    kept = client.download_artifacts(client.get_model_version("small", "1").run_id, "report.html")
    assert Path(kept).read_text() == page
    first = report(published).read_bytes()
    assert report(published).read_bytes() == first, "it has no time of its own"
    titles = re.findall(r"<li[^>]*>(\w+ \w+ \w+ \d+)", page)
    assert len(titles) > 10, "histories and lists have the titles of the items"


def test_what_changed_since_the_champion(published: Settings) -> None:
    version = second(published, 99, reason="it is worse")
    page = report(published, version).read_text()
    assert '<code>training.seed</code></th><td class="wrap">7</td><td class="wrap">99</td>' in page
    assert re.search(r'score/auc</th><td class="num">0\.\d+</td><td class="num">0.123</td>', page)
    assert "it is worse" in page
    assert "No learning curve was logged" in page
    other = second(published, 100, champion=version, champion_run=run_of(published, version))
    page = report(published, other).read_text()
    assert f"Champion {version}" in page
    assert '<td class="wrap">99</td><td class="wrap">100</td>' in page


def test_a_run_that_was_stopped(published: Settings) -> None:
    client = MlflowClient(published.tracking_uri, published.tracking_uri)
    client.set_terminated(client.get_model_version("small", "1").run_id, "KILLED")
    assert "Its run was killed before its end" in report(published).read_text()
    assert recorded(client, "0" * 32) is None


def test_a_champion_whose_predecessor_was_deleted(published: Settings) -> None:
    former = second(published, 99)
    version = second(published, 100, champion=former, champion_run=run_of(published, former))
    MlflowClient(published.tracking_uri, published.tracking_uri).delete_model_version("small", former)
    page = report(published, version).read_text()
    assert "There is no champion to compare it with." in page
    assert f"<dt>champion</dt><dd>{former}</dd>" in page


def test_every_window_is_looked_at_once(published: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: Counter[tuple[str, ...]] = Counter()
    keys, manifest = Lake.keys, Lake.manifest

    def counted_keys(lake: Lake, table: str) -> list[str]:
        counted[table,] += 1
        return keys(lake, table)

    def counted_manifest(lake: Lake, table: str, key: str) -> dict[str, Any]:
        counted[table, key] += 1
        return manifest(lake, table, key)

    registry, bundle = tracker(published), Bundle.load(bundle_path(published, "1")[1])
    monkeypatch.setattr(Lake, "keys", counted_keys)
    monkeypatch.setattr(Lake, "manifest", counted_manifest)
    page = to_html(published, registry, "1", bundle, None)
    assert page.count("learned from</td>") > 2
    assert max(counted.values()) <= 3, "for the windows, and for their digests and whether there are any"


def test_only_the_tested_window_is_left(published: Settings) -> None:
    keep(published, "2024-05-05")
    page = report(published, "1").read_text()
    assert "The lake has changed since it learned: items, events before its cutoff are others now." in page
    assert "Nothing was measured:" not in page
    assert page.count("tested on</th>") == 1
    assert "learned from</th>" not in page


def test_nothing_to_measure_on_is_said_and_the_rest_is_told(published: Settings) -> None:
    keep(published, "2024-05-02")
    page = report(published, "1").read_text()
    assert "Nothing was measured: no window of the lake with events begins at or after the cutoff" in page
    assert "Loss of the text model" in page
    assert "Share of each feature" in page


def test_a_damaged_window_is_told_and_costs_no_page(published: Settings) -> None:
    manifest = published.lake / "events" / "window=2024-05-02" / "_manifest.json"
    manifest.write_text("{")
    page = report(published, "1").read_text()
    assert f"A window is left out: {manifest} is damaged; " in page
    assert "Loss of the text model" in page
    assert page.count("learned from</td>") > 2, "the others are told"


def test_logged_impressions_are_what_it_is_measured_on(published: Settings) -> None:
    config = Path(config_of(published))
    log_impressions(config)
    assert run_cli("extract", "-c", str(config), "--window", "2024-05-05") == 0
    page = report(load(config), "1").read_text()
    assert re.search(r"tested on</th>.*<td class=\"num\">[1-9]\d*</td>", page)
    assert "of 2; " in page, "the lists are those that were shown"
    assert page.count("<figure>") >= 8


def test_a_model_that_is_no_version(published: Settings) -> None:
    with pytest.raises(ConfigError, match="no registered version"):
        report(published, str(bundle_path(published, "champion")[1]))
    with pytest.raises(ConfigError, match="no version '7'"):
        report(published, "7")
