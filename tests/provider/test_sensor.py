"""The sensor waits until the scores that are asked for are served, and only for those."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowFailException

import feature_store
from recsys_text.provider.sensor import ScoresPublishedSensor

BATCH = pa.record_batch({"user_id": ["ann"], "item_id": pa.array([["i1"]])})


def sensor(config: Path, **given: Any) -> ScoresPublishedSensor:
    return ScoresPublishedSensor(task_id="scores", config=config, **given)


def publish(config: Path, version: str, as_of: datetime) -> None:
    store = feature_store.open_store(f"file:{config.parent}/var/store")
    with store.begin("user_scores", version).writer("part") as writer:
        writer.write(BATCH)
    store.commit("user_scores", version, expect_parts=["part"], metadata={"as_of": as_of.isoformat()})


def test_waits_until_the_window_is_known(small_config: Path) -> None:
    waiting = sensor(small_config, window="2024-05-05")
    assert waiting.mode == "reschedule"
    assert not waiting.poke({}).is_done
    publish(small_config, "v1", datetime(2024, 5, 5, tzinfo=UTC))
    assert not waiting.poke({}).is_done
    publish(small_config, "v2", datetime(2024, 5, 6, tzinfo=UTC))
    found = waiting.poke({})
    assert found.is_done
    assert found.xcom_value == {"version": "v2", "as_of": "2024-05-06T00:00:00+00:00"}


def test_a_rolled_back_version_counts_no_more(small_config: Path) -> None:
    publish(small_config, "v1", datetime(2024, 5, 5, tzinfo=UTC))
    publish(small_config, "v2", datetime(2024, 5, 6, tzinfo=UTC))
    waiting = sensor(small_config, as_of="2024-05-05T12:00Z")
    assert waiting.poke({}).is_done
    feature_store.open_store(f"file:{small_config.parent}/var/store").rollback("user_scores")
    assert not waiting.poke({}).is_done


def test_a_store_out_of_reach_is_waited_for(small_config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_TEXT_STORE__URL", "redis://127.0.0.1:1/0")
    assert not sensor(small_config, window="2024-05-05").poke({}).is_done


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "give it one of the two"),
        ({"window": "2024-05-05", "as_of": "2024-05-05"}, "give it one of the two"),
        ({"window": "yesterday"}, "not a time"),
        ({"window": "2024-05-05T05"}, "names no window"),
    ],
)
def test_a_mistake_is_not_waited_for(small_config: Path, given: dict[str, str], said: str) -> None:
    with pytest.raises(AirflowFailException, match=said):
        sensor(small_config, **given).poke({})


def test_a_config_that_is_not_there_fails_at_once(tmp_path: Path) -> None:
    with pytest.raises(AirflowFailException, match="no config file"):
        sensor(tmp_path / "none.toml", window="2024-05-05").poke({})
