from pathlib import Path

import polars as pl
import pytest

from recsys_text.config import Settings, load
from recsys_text.errors import ConfigError, ContractError
from recsys_text.steps.inputs import lake_state, the_store, tracker
from recsys_text.steps.publish import publish, publish_begin, publish_commit
from recsys_text.steps.score import score_bucket
from recsys_text.steps.train import gate
from tests.pipeline.conftest import run_cli


def own(published: Settings) -> Path:
    """The config of the copy, with sources of its own."""
    return published.project.root.parent / "recsys.toml"


def test_one_version_never_mixes_two_states_of_the_lake(published: Settings) -> None:
    config = own(published)
    assert run_cli("extract", "-c", str(config), "--window", "2024-05-06") == 0
    plan = publish_begin(published)
    events = pl.read_parquet(config.parent / "events.parquet")
    events.filter(pl.col("user_id") != "u003").write_parquet(config.parent / "events.parquet")
    assert run_cli("extract", "-c", str(config), "--window", "2024-05-05") == 0
    with pytest.raises(ContractError, match="publish again"):
        score_bucket(published, plan, 0)
    assert publish(published)["swapped"]


def test_a_newer_window_does_not_disturb_a_publication(published: Settings) -> None:
    windows, state = lake_state(published)
    assert run_cli("extract", "-c", str(own(published)), "--window", "2024-05-06") == 0
    assert lake_state(published)[1] != state
    assert lake_state(published, before=windows[-1].end)[1] == state


def test_other_list_lengths_are_another_version(published: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_TEXT_PUBLISH__TOP_K", "3")
    shorter = load(own(published))
    assert publish(shorter)["swapped"]
    with the_store(shorter) as store:
        row = store.reader("user_scores").get("u001")
    assert row is not None
    assert len(row["item_id"]) == 3
    assert row["score"] == sorted(row["score"], reverse=True)


def test_an_incomplete_version_is_not_served(published: Settings) -> None:
    assert run_cli("extract", "-c", str(own(published)), "--window", "2024-05-06") == 0
    with the_store(published) as store:
        former = store.current("user_scores")
    with pytest.raises(ContractError):
        publish_commit(published, publish_begin(published))
    with the_store(published) as store:
        assert store.current("user_scores") == former


def test_a_store_of_another_kind_is_a_mistake_of_the_config(published: Settings, tmp_path: Path) -> None:
    path = tmp_path / "recsys.toml"
    path.write_text(own(published).read_text() + '[store]\nurl = "ftp://somewhere"\n')
    with pytest.raises(ConfigError, match="store.url"), the_store(load(path)):
        raise AssertionError("never reached")


def test_a_champion_is_no_challenger(published: Settings) -> None:
    assert tracker(published).version("champion") == "1"
    assert tracker(published).version("challenger") is None
    assert gate(published, "1")["promoted"]
