import hashlib
import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

import mlflow
import polars as pl
import pytest

from recsys_text import bundle
from recsys_text.bundle import Bundle
from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError, ContractError, UnavailableError
from recsys_text.ranking.features import COUNTS
from recsys_text.steps.evaluate import evaluate
from recsys_text.steps.gate import gate
from recsys_text.steps.inputs import lake_state, the_store, tracker
from recsys_text.steps.publish import publish, publish_begin, publish_commit
from recsys_text.steps.schedule import due
from recsys_text.steps.score import score_bucket
from recsys_text.steps.train import train
from recsys_text.steps.vectors import write_items
from tests.pipeline.conftest import Quiet, run_cli


def own(published: Settings) -> Path:
    """The config of the copy, with sources of its own."""
    return published.project.root.parent / "recsys.toml"


def test_one_version_never_mixes_two_states_of_the_lake(published: Settings) -> None:
    config = own(published)
    assert run_cli("extract", "-c", str(config), "--window", "2024-05-06") == 0
    plan = write_items(published, publish_begin(published))
    scored = score_bucket(published, plan, 0)
    assert scored["users"] == 40
    events = pl.read_parquet(config.parent / "events.parquet")
    events.filter(pl.col("user_id") != "u003").write_parquet(config.parent / "events.parquet")
    assert run_cli("extract", "-c", str(config), "--window", "2024-05-05") == 0
    with pytest.raises(ContractError, match="publish again"):
        write_items(published, plan)
    with pytest.raises(ContractError, match="publish again"):
        score_bucket(published, plan, 0)
    with pytest.raises(ContractError, match="publish again"):
        publish_commit(published, plan)
    assert publish(published)["swapped"]


def test_a_newer_window_does_not_disturb_a_publication(published: Settings) -> None:
    state = lake_state(published)
    assert run_cli("extract", "-c", str(own(published)), "--window", "2024-05-06") == 0
    assert lake_state(published).digests != state.digests
    assert lake_state(published, before=state.as_of).digests == state.digests


def test_other_list_lengths_are_another_version(published: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_TEXT_PUBLISH__TOP_K", "3")
    shorter = load(own(published))
    assert publish(shorter)["swapped"]
    with the_store(shorter) as store:
        row = store.reader("user_scores").get("u001")
    assert row is not None
    assert len(row["item_id"]) == 3
    assert row["score"] == sorted(row["score"], reverse=True)


def test_users_are_spread_over_the_buckets_of_the_plan(published: Settings) -> None:
    two = published.model_copy(update={"publish": published.publish.model_copy(update={"buckets": 2})})
    plan = write_items(two, publish_begin(two))
    assert plan["version"] != publish_begin(published)["version"]
    users = [score_bucket(published, plan, bucket)["users"] for bucket in plan["buckets"]]
    assert sum(users) == 40
    assert min(users) > 0


def test_scoring_a_bucket_tells_how_far_it_is(published: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "CHUNK", 200)  # a part for some users each

    class Told(Quiet):
        stages: ClassVar[list[str]] = []
        done: ClassVar[list[tuple[int, int]]] = []

        def stage(self, name: str) -> None:
            self.stages.append(name)

        def advance(self, done: int, total: int) -> None:
            self.done.append((done, total))

    two = published.model_copy(update={"publish": published.publish.model_copy(update={"buckets": 2})})
    scored = score_bucket(published, write_items(two, publish_begin(two)), 1, progress=Told())
    assert Told.stages == ["Reading: what bucket 1 is scored from", f"Scores: {scored['users']} users of bucket 1"]
    done = [users for users, _ in Told.done]
    assert len(done) > 2
    assert done == sorted(set(done))
    assert Told.done[-1] == (scored["users"], scored["users"])


def test_an_incomplete_version_is_not_served(published: Settings) -> None:
    assert run_cli("extract", "-c", str(own(published)), "--window", "2024-05-06") == 0
    with the_store(published) as store:
        former = store.current("user_scores")
    plan = write_items(published, publish_begin(published))
    with pytest.raises(ContractError, match="lacks the parts"):
        publish_commit(published, plan)
    with the_store(published) as store:
        assert store.current("user_scores") == store.current("user_vectors") == former


def test_a_store_of_another_kind_is_a_mistake_of_the_config(published: Settings, tmp_path: Path) -> None:
    path = tmp_path / "recsys.toml"
    path.write_text(own(published).read_text() + '[store]\nurl = "ftp://somewhere"\n')
    with pytest.raises(ConfigError, match=r"store\.url"), the_store(load(path)):
        raise AssertionError("never reached")


def test_publishing_to_redis_gives_the_same_scores(
    published: Settings,
    redis_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RECSYS_TEXT_STORE__URL", f"{redis_url}?prefix=test:{tmp_path}:")
    config = str(own(published))
    assert run_cli("publish", "-c", config) == 0
    assert run_cli("versions", "-c", config) == 0
    told = capsys.readouterr()
    assert told.out.count("yes") == 3  # each view has one that is served
    password = redis_url.partition("@")[0].rpartition(":")[2]
    assert password not in told.out + told.err
    with the_store(published) as files, the_store(load(own(published))) as server:
        assert server.current("user_scores") == files.current("user_scores")
        one, other = files.reader("user_scores"), server.reader("user_scores")
        users = [f"u{number:03d}" for number in range(40)]
        assert one.get_many(users).to_pylist() == other.get_many(users).to_pylist()
        assert other.get("u001") == one.get("u001")
    assert run_cli("publish", "-c", config) == 0
    assert "nothing changed" in capsys.readouterr().out


def test_a_store_out_of_reach_is_no_traceback(published: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_TEXT_STORE__URL", "redis://:geheim@127.0.0.1:1/0")
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1/0.*start the server") as caught:
        publish(load(own(published)))
    assert "geheim" not in str(caught.value)


def test_a_champion_is_no_challenger(published: Settings) -> None:
    assert tracker(published).version("champion") == "1"
    assert tracker(published).version("challenger") is None
    assert gate(published, "1")["promoted"]


def with_less_features(bundle: Path) -> None:
    """Makes it what an older version would have saved: whole, but its blend knows one feature less."""
    about = json.loads((bundle / "blend.json").read_text())
    (bundle / "blend.json").write_text(json.dumps(about | {"features": about["features"][:-1]}))
    signed = json.loads((bundle / "bundle.json").read_text())
    signed["sha256"]["blend.json"] = hashlib.sha256((bundle / "blend.json").read_bytes()).hexdigest()
    (bundle / "bundle.json").write_text(json.dumps(signed))


def test_a_bundle_that_another_version_wrote_in_another_way_asks_for_a_training(
    published: Settings, tmp_path: Path
) -> None:
    shutil.copytree(tracker(published).bundle("1"), tmp_path / "bundle")
    about = json.loads((tmp_path / "bundle" / "bundle.json").read_text())
    del about["at"]
    (tmp_path / "bundle" / "bundle.json").write_text(json.dumps(about | {"recsys_text": "0.0.9"}))
    with pytest.raises(ContractError, match=r"is of recsys-text 0\.0\.9 and written in another way .*; train again"):
        Bundle.load(tmp_path / "bundle")


def test_a_champion_of_other_features_keeps_nobody_out(published: Settings, tmp_path: Path) -> None:
    registry = tracker(published)
    older = tmp_path / "bundle"
    shutil.copytree(registry.bundle("1"), older)
    with_less_features(older)
    with pytest.raises(ContractError, match="of other features than this version computes; train again"):
        Bundle.load(older)
    with registry.run(params={}, datasets={}):
        former = registry.register(older, {"history": ["boat"], "candidates": ["rose"]}, COUNTS)
    registry.set_alias("champion", former)
    verdict = gate(published, "1")
    assert verdict["promoted"]
    assert verdict["reason"].startswith(f"champion {former} cannot score any more, so it counts as none: the bundle in")
    assert registry.version("champion") == "1"
    assert registry.tags("1")["gate.reason"] == verdict["reason"]
    # A challenger that cannot score has nothing to win.
    with pytest.raises(ContractError, match="of other features"):
        gate(published, former)
    assert registry.version("champion") == "1"


def test_a_champion_that_is_damaged_here_is_fetched_anew(published: Settings) -> None:
    registry = tracker(published)
    again = train(published, progress=Quiet()).version
    with_less_features(registry.bundle("1"))
    (registry.bundle("1") / "blend-0.txt").write_text("half a model")
    assert "gain over the champion" in gate(published, again)["reason"]
    assert Bundle.load(registry.bundle("1"))


def test_the_newest_model_decides_whether_training_is_due(published: Settings) -> None:
    registry = tracker(published)
    again = train(published, progress=Quiet()).version
    registry.set_alias("champion", again)
    registry.set_alias("challenger", "1")
    assert due(published)[1].startswith(f"version {again} is")


def test_events_without_an_item_are_told_and_counted(published: Settings, caplog: pytest.LogCaptureFixture) -> None:
    items = own(published).parent / "items.parquet"
    pl.read_parquet(items).filter(pl.col("item_id") != "i000").write_parquet(items)
    assert run_cli("extract", "-c", str(own(published)), "--from", "2024-05-01", "--to", "2024-05-06") == 0
    trained = train(published, progress=Quiet())
    figures = mlflow.MlflowClient(published.tracking_uri).get_run(trained.run_id).data.metrics
    assert figures["events_without_item"] > 0
    assert figures["clicks_outside_pool"] == trained.dropped
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line for line in told if line.startswith(f"{figures['events_without_item']:.0f} events are on items")]


def test_a_bundle_is_measured_on_its_own_candidates(published: Settings) -> None:
    narrow = published.candidates.model_copy(
        update={"pool": "alive", "active": timedelta(hours=1), "fresh": timedelta(hours=1)}
    )
    other = published.model_copy(update={"candidates": narrow})
    assert evaluate(other).dropped == evaluate(published).dropped


def test_a_report_that_cannot_be_written(published: Settings) -> None:
    shutil.rmtree(published.project.root / "reports")  # of the training
    (published.project.root / "reports").write_text("in the way")
    with pytest.raises(UnavailableError, match="cannot write"):
        evaluate(published)
