"""A warm start: what it learns from, what it must not know, and what its run tells."""

import os
from datetime import timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from mlflow import MlflowClient

from recsys_text.bundle import Bundle
from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError, ContractError
from recsys_text.fitting import continue_bundle, fit_bundle, forgetting, ranker
from recsys_text.fitting.warm import _rows
from recsys_text.lake.windows import windows_between
from recsys_text.model.checkpoint import Checkpoint
from recsys_text.ranking.log import Impressions, build_log, micros
from recsys_text.steps import schedule
from recsys_text.steps.inputs import Inputs, inputs, tracker
from recsys_text.steps.lineage import config_of
from recsys_text.steps.schedule import starts_warm
from recsys_text.steps.train import train
from tests.conftest import DAYS, START, write_small_project
from tests.pipeline.conftest import Quiet, run_cli
from tests.pipeline.test_bundle import digests


class StoppedAfterTheText(Quiet):
    def stage(self, name: str) -> None:
        if name.startswith("Blend"):
            raise KeyboardInterrupt


DAY = timedelta(days=1)
BEFORE, CUTOFF = START + (DAYS - 2) * DAY, START + (DAYS - 1) * DAY
STARTS = [window.start for window in windows_between(START, CUTOFF, DAY)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    config = write_small_project(tmp_path_factory.mktemp("warm"), users=160)
    end = START + DAYS * DAY
    assert run_cli("extract", "-c", str(config), "--from", f"{START:%Y-%m-%d}", "--to", f"{end:%Y-%m-%d}") == 0
    return load(config)


@pytest.fixture(scope="module")
def data(project: Settings) -> Inputs:
    return inputs(project)


@pytest.fixture(scope="module")
def champion(project: Settings, data: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    checkpoint = Checkpoint(tmp_path_factory.mktemp("checkpoint"))
    known = inputs(project, before=BEFORE)
    return fit_bundle(
        known.log, known.texts, STARTS[:-1], cutoff=BEFORE, settings=project, checkpoint=checkpoint, progress=Quiet()
    )[0]


def with_training(project: Settings, **values: object) -> Settings:
    return project.model_copy(update={"training": project.training.model_copy(update=values)})


def continued(champion: Bundle, data: Inputs, project: Settings, **more: object) -> Bundle:
    log, texts = data.log, data.texts
    return continue_bundle(
        champion, more.get("log", log), texts, STARTS, cutoff=CUTOFF, settings=project, progress=Quiet()
    ).bundle  # type: ignore[arg-type]


def test_what_comes_at_or_after_the_cutoff_changes_no_byte(
    project: Settings, data: Inputs, champion: Bundle, tmp_path: Path
) -> None:
    events = pl.read_parquet(project.project.root.parent / "events.parquet")
    later = pl.col("occurred_at") >= CUTOFF
    users = events.filter(~later)["user_id"].unique()
    known = events.filter(pl.col("user_id").is_in(users.implode()))
    other = known.filter(later).head(60).with_columns(item_id=pl.lit("i007"), occurred_at=pl.lit(CUTOFF))
    past, found = known.filter(~later), []
    newest = past.sort("occurred_at").head(len(past) - 1)
    for number, parts in enumerate(([past, known.filter(later)], [past, other.cast(past.schema)], [newest, other])):
        log = build_log(data.items, pl.concat(parts, how="vertical_relaxed"))
        continued(champion, data, project, log=log).save(tmp_path / str(number))
        found.append(digests(tmp_path / str(number)))
    assert found[0] == found[1]
    # One click less before it does.
    for name in ("neighbours.safetensors", "model.safetensors"):
        assert found[1][name] != found[2][name]


def test_the_blend_learns_from_what_the_champion_had_not_seen_by_what_it_said(
    project: Settings, data: Inputs, champion: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    features, seen = ranker.features, []

    def spied(text: object, neighbours: object, log: object, items: object, part: Impressions) -> object:
        seen.append((text, neighbours, part.time))
        return features(text, neighbours, log, items, part)  # type: ignore[arg-type]

    monkeypatch.setattr(ranker, "features", spied)
    champion.save(tmp_path / "before")
    successor = continued(champion, data, project)
    assert seen
    for text, neighbours, time_N in seen:
        assert text is champion.text
        assert neighbours is champion.neighbours
        assert micros(BEFORE) <= time_N.min() <= time_N.max() < micros(CUTOFF)
    assert successor.cutoff == CUTOFF
    assert successor.text.tokenizer is champion.text.tokenizer
    champion.save(tmp_path / "after")
    assert digests(tmp_path / "before") == digests(tmp_path / "after")


@pytest.mark.parametrize("replay", [0.0, 0.5, 0.75])
def test_older_clicks_are_the_share_of_replay(project: Settings, data: Inputs, champion: Bundle, replay: float) -> None:
    rows = _rows(champion, data.log, START, CUTOFF, with_training(project, replay=replay))
    new = len(_rows(champion, data.log, START, CUTOFF, with_training(project, replay=0.0)))
    clicks = int(np.sum(data.log.positive & (data.log.time >= micros(BEFORE)) & (data.log.time < micros(CUTOFF))))
    assert 0 < new <= clicks
    assert len(rows) == round(new / (1 - replay))


@pytest.mark.parametrize("clicks", ["text", "learned"])
def test_every_kind_of_network_goes_on(project: Settings, clicks: str, tmp_path: Path) -> None:
    training = {"task": "hidden"} if clicks == "learned" else {"adapt": "lora"}
    model = project.model.model_copy(update={"clicks": clicks, "long_term": True, "user": "gru"})
    chosen = with_training(project, **training).model_copy(update={"model": model})
    before, known = inputs(project, before=BEFORE), inputs(project, before=CUTOFF)
    first, _ = fit_bundle(
        before.log, before.texts, STARTS[:-1], cutoff=BEFORE, settings=chosen, checkpoint=Checkpoint(tmp_path),
        progress=Quiet(),
    )  # fmt: skip
    found = continued(first, known, chosen)
    assert len(found.text.user_ids) >= len(first.text.user_ids) > 0
    assert (len(found.text.item_ids) > 0) == (clicks == "learned")
    found.save(tmp_path / "bundle")
    shown = ranker.newest_impressions(known.log, [BEFORE, CUTOFF], chosen, 20)
    said = [
        each.score(known.log, each.text.items(known.texts, known.log.item_ids), shown)[1]
        for each in (found, Bundle.load(tmp_path / "bundle"))
    ]
    np.testing.assert_array_equal(*said)


def test_nothing_is_forgotten_by_the_same_bundle_and_old_windows_alone_are_asked(
    project: Settings, data: Inputs, champion: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = forgetting(champion, champion, data.log, data.texts, STARTS, project)
    assert found["old_windows/change"] == found["old_windows/change_low"] == found["old_windows/change_high"] == 0
    assert 0 < found["old_windows/ndcg_at_10_before"] < 1
    times = []
    score = Bundle.score
    monkeypatch.setattr(Bundle, "score", lambda self, log, items, shown: (times.append(shown.time.max()),
                        score(self, log, items, shown))[1])  # fmt: skip
    again = forgetting(champion, continued(champion, data, project), data.log, data.texts, STARTS, project)
    assert max(times) < micros(BEFORE)
    assert again["old_windows/ndcg_at_10_before"] == found["old_windows/ndcg_at_10_before"]
    assert again["old_windows/ndcg_at_10_after"] != found["old_windows/ndcg_at_10_after"]
    assert forgetting(champion, champion, data.log, data.texts, [BEFORE], project) == {}


def test_without_anything_new_or_with_another_model_there_is_no_warm_start(
    project: Settings, data: Inputs, champion: Bundle
) -> None:
    with pytest.raises(ContractError, match="there is nothing new to learn; extract a newer window"):
        continue_bundle(champion, data.log, data.texts, STARTS[:-1], cutoff=BEFORE, settings=project, progress=Quiet())
    other = project.model_copy(update={"model": project.model.model_copy(update={"dim": 4})})
    with pytest.raises(ConfigError, match=r"\[model\] or \[blend\] is not what the champion was trained with"):
        continued(champion, data, other)


def test_a_warm_start_is_registered_with_its_parent_and_scheduled_until_full_every(
    published: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = str(published.project.root.parent / "recsys.toml")
    registry = tracker(published)
    first = registry.version("champion")
    assert first is not None
    assert starts_warm(published) == (False, "training.full_every is not set, so every training is a whole one")
    scheduled = with_training(published, full_every=2)
    assert not starts_warm(scheduled)[0]  # nothing is newer than the champion
    assert run_cli("extract", "-c", config, "--window", "2024-05-06") == 0
    assert starts_warm(scheduled) == (
        True, "the last whole training is 1 windows old, and full_every = 2"
    )  # fmt: skip
    assert not starts_warm(with_training(published, full_every=1))[0]
    record = config_of(registry, first)
    assert record is not None
    was_decided = {"curve": 2.0, "penalty": 3.0, "match": "auto"}
    with monkeypatch.context() as patch:
        patch.setattr(schedule, "config_of", lambda *_: {**record, "model": record["model"] | was_decided})
        assert starts_warm(scheduled)[0]
        asked = scheduled.model_copy(update={"model": published.model.model_copy(update={"curve": 4.0})})
        assert not starts_warm(asked)[0]
    other = scheduled.model_copy(update={"model": published.model.model_copy(update={"dim": 4})})
    assert "is not known to be of this [model]" in starts_warm(other)[1]

    with pytest.raises(KeyboardInterrupt):
        train(with_training(published, adapt="lora"), progress=StoppedAfterTheText())
    abandoned = published.project.root / "checkpoints" / "abandoned"
    abandoned.mkdir()
    os.utime(abandoned, (0, 0))
    [kept] = (path for path in (published.project.root / "checkpoints").iterdir() if any(path.iterdir()))
    result = train(with_training(published, adapt="lora"), warm_start=True, progress=Quiet())
    assert any(kept.iterdir()), "what the whole training has learned waits for it"
    assert not abandoned.exists(), "nobody goes on with what was stopped in 1970"
    tags, cutoff = registry.tags(result.version), registry.tags(first)["cutoff"]
    assert tags["parent"] == first == result.parent
    assert tags["mode"] == "warm start, lora"
    assert 0 < float(tags["trainable_share"]) == result.trainable <= 0.05
    assert tags["whole_cutoff"] == cutoff < tags["cutoff"]
    _, of_run = registry.run_of(result.version)
    assert of_run["parent"] == first
    assert set(result.forgotten) <= set(MlflowClient(published.tracking_uri).get_run(result.run_id).data.metrics)
    registry.set_alias("champion", result.version)
    seen = f"champion {result.version} has seen every window before 2024-05-06T00:00Z"
    assert starts_warm(scheduled) == (False, seen)


def test_no_champion_no_warm_start(small_config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli("extract", "-c", str(small_config), "--from", "2024-05-01", "--to", "2024-05-06") == 0
    assert run_cli("train", "-c", str(small_config), "--warm-start") == 2
    assert "train without --warm-start first" in capsys.readouterr().err.replace("\n", " ")
