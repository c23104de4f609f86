"""From a version back to its data and settings, and the same training once more."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys_text.bundle import Bundle
from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError, ContractError, LakeChanged
from recsys_text.fitting.mixture import SHARES
from recsys_text.ranking import trees
from recsys_text.steps import lineage as steps_lineage
from recsys_text.steps import train as steps_train
from recsys_text.steps.inputs import inputs, tracker
from recsys_text.steps.lineage import lineage
from recsys_text.steps.repeat import repeat
from recsys_text.steps.store import versions
from recsys_text.steps.train import train
from tests.conftest import START
from tests.pipeline.conftest import Quiet, run_cli


def config_of(settings: Settings) -> str:
    return str(settings.project.root.parent / "recsys.toml")


def test_a_published_version_leads_to_its_run_its_windows_and_its_settings(published: Settings) -> None:
    registry = tracker(published)
    name = versions(published)["user_scores"][1]
    assert name is not None
    found = lineage(published, registry, name)
    assert found == lineage(published, registry, "champion") == lineage(published, registry, found.version)
    assert list(found.windows) == ["items", "events"]
    assert list(found.windows["events"]) == ["2024-05-01", "2024-05-02", "2024-05-03", "2024-05-04"]
    # The rank is a size, which the version's plan has.
    assert found.config["model"] == published.model.model_dump(mode="json") | {"match": "auto"}
    assert found.config["sources"]["events"]["kind"] == "file"
    assert "path" not in found.config["sources"]["events"]
    assert {"recsys_text", "python", "torch", "numpy", "scipy", "tokenizers"} <= found.environment.keys()
    with pytest.raises(ConfigError, match="'elsewhere' is no model version, champion, challenger or published version"):
        lineage(published, registry, "elsewhere")


def test_repeated_with_a_newer_lake_and_other_settings_it_is_the_same_to_the_byte(
    published: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    registry = tracker(published)
    before = registry.version("challenger"), registry.version("champion")
    assert run_cli("extract", "-c", config_of(published), "--window", "2024-05-06") == 0
    config = Path(config_of(published))
    config.write_text(config.read_text().replace("negatives = 4", "negatives = 3\nseed = 12"))
    capsys.readouterr()
    assert run_cli("train", "-c", str(config), "--like", "champion") == 0
    assert "every byte is the same; nothing was registered" in capsys.readouterr().out.replace("\n", " ")
    assert (registry.version("challenger"), registry.version("champion")) == before
    assert run_cli("train", "-c", str(config), "--like", "champion", "--warm-start") == 2


def test_what_was_decided_from_the_log_is_decided_again(published: Settings) -> None:
    config = Path(config_of(published))
    config.write_text(config.read_text().replace('[blend]\nkind = "both"\n', ""))
    result = train(load(config), cutoff=START + timedelta(days=4), progress=Quiet())
    registry = tracker(published)
    assert lineage(published, registry, result.version).config["blend"] == {"kind": "auto"}
    assert Bundle.load(registry.bundle(result.version)).blend.share in SHARES
    assert repeat(load(config), result.version, progress=Quiet()).differs == []


def test_a_warm_start_is_repeated_from_its_parent(published: Settings) -> None:
    assert run_cli("extract", "-c", config_of(published), "--window", "2024-05-06") == 0
    result = train(published, warm_start=True, progress=Quiet())
    tracker(published).set_alias("champion", result.version)  # no longer the parent
    assert repeat(published, result.version, progress=Quiet()).differs == []


def test_another_bundle_is_told_with_the_metrics_of_both(published: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    # Other code: the blend's trees learn faster.
    monkeypatch.setitem(trees._PARAMETERS, "learning_rate", 0.3)
    found = repeat(published, "champion", progress=Quiet())
    assert found.differs
    assert "blend-0.txt" in found.differs
    assert "model.safetensors" not in found.differs
    then, now = found.metrics["score/ndcg_at_10"]
    assert 0 < then < 1
    assert then != now
    assert found.changed == {}


def test_another_number_of_threads_is_told(published: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "63")
    assert repeat(published, "champion", progress=Quiet()).changed["threads"][1] == "63"


def test_a_window_that_changed_or_is_gone_is_refused_by_its_name(published: Settings) -> None:
    events = published.project.root.parent / "events.parquet"
    rows = pl.read_parquet(events)
    late = rows.filter(pl.col("occurred_at").dt.day() == 3).head(1).with_columns(item_id=pl.lit("i001"))
    pl.concat([rows, late]).write_parquet(events)
    assert run_cli("extract", "-c", config_of(published), "--window", "2024-05-03") == 0
    with pytest.raises(ContractError, match="window 2024-05-03 of events is not what version 1 was trained on"):
        repeat(published, "1", progress=Quiet())
    rows.write_parquet(events)
    assert run_cli("extract", "-c", config_of(published), "--window", "2024-05-03") == 0
    (published.lake / "items" / "window=2024-05-02" / "_manifest.json").unlink()
    with pytest.raises(ContractError, match=r"window 2024-05-02 of items, .* is gone from the lake; extract it again"):
        repeat(published, "1", progress=Quiet())


def test_a_window_that_changes_while_it_is_read_trains_nothing(
    published: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = published.project.root.parent / "events.parquet"

    def read_then_late(*arguments: Any, **more: Any) -> Any:
        found = inputs(*arguments, **more)
        rows = pl.read_parquet(events)
        late = (
            rows.filter(pl.col("occurred_at").dt.day() == 3)
            .head(1)
            .with_columns(item_id=pl.lit(f"i{len(rows) % 48:03d}"))
        )
        pl.concat([rows, late]).write_parquet(events)
        assert run_cli("extract", "-c", config_of(published), "--window", "2024-05-03") == 0
        return found

    monkeypatch.setattr(steps_train, "inputs", read_then_late)
    with pytest.raises(LakeChanged, match="the lake changed while it was read; train again"):
        train(published, progress=Quiet())
    assert tracker(published).version("challenger") is None


def test_a_configuration_of_another_release_is_named(published: Settings) -> None:
    registry = tracker(published)
    text = json.loads(str(registry.attached("1", "config.json")))
    text["training"]["momentum"] = 0.9
    registry.attach("1", {"config.json": json.dumps(text)})
    with pytest.raises(ContractError, match=r"cannot read the configuration of version 1 \(momentum: Extra inputs"):
        repeat(published, "1", progress=Quiet())


def test_newest_windows_without_events_are_left_out_and_told(
    published: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    assert run_cli("extract", "-c", config_of(published), "--from", "2024-05-06", "--to", "2024-05-09") == 0
    assert train(published, progress=Quiet()).cutoff == datetime(2024, 5, 6, tzinfo=UTC)
    told = [record.getMessage() for record in caplog.records if record.name == "recsys_text"]
    assert "no event is in the 2 newest windows, 2024-05-07 to 2024-05-08: 2024-05-06 is the newest" in "\n".join(told)


def test_a_run_that_does_not_tell_cannot_be_repeated(published: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps_lineage, "_LINEAGE", "none.json")  # as one of an older version, which kept no such file
    with pytest.raises(ContractError, match="the run of model version 1 does not tell what it was trained on"):
        repeat(published, "1", progress=Quiet())
