"""A team with Feast reads published views as it reads everything else."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Array, Float32, Int32, Int64, String

from feature_store import InvalidInput, LocalStore, UnknownVersion, feast_online
from tests.contracts.store_data import publish

# Feast sets it when it's imported, and the service's tests in this process would count with those of others.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)

CONFIG = """
project: books
provider: local
registry: {folder}/registry.db
offline_store: {{type: file}}
entity_key_serialization_version: 3
online_store:
  type: feature_store.feast_online.PublishedOnlineStore
  url: file:{folder}/store
"""
SCORES = ["user_scores:item_id", "user_scores:score", "user_scores:age"]


@pytest.fixture
def feast(tmp_path: Path) -> FeatureStore:
    """A repository of its own with two feature views over a store that may be empty."""
    (tmp_path / "feature_store.yaml").write_text(CONFIG.format(folder=tmp_path))
    source = FileSource(path=str(tmp_path / "unused.parquet"), timestamp_field="at")
    pd.DataFrame({"user_id": ["ann"], "at": [pd.Timestamp("2014-03-18", tz="UTC")]}).to_parquet(source.path)
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    number = Entity(name="number", join_keys=["id"], value_type=ValueType.INT64)
    fields = [
        Field(name="item_id", dtype=Array(String)),
        Field(name="score", dtype=Array(Float32)),
        Field(name="age", dtype=Int32),
    ]
    views = [
        FeatureView(name="user_scores", entities=[user], schema=fields, source=source, ttl=timedelta(days=36500)),
        FeatureView(name="numbers", entities=[number], schema=[Field(name="x", dtype=Int64)], source=source),
    ]
    feast = FeatureStore(repo_path=str(tmp_path))
    feast.apply([user, number, *views])
    return feast


def answer(feast: FeatureStore, features: list[str], **keys: list[Any]) -> dict[str, Any]:
    found: dict[str, Any] = feast.get_online_features(
        features=features, entity_rows=[dict(zip(keys, row, strict=True)) for row in zip(*keys.values(), strict=True)]
    ).to_dict()
    return found


def test_views_are_read_through_feast(feast: FeatureStore, tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    publish(store, "v1", as_of="2014-03-18")
    publish(store, "v1", {"all": pa.record_batch({"id": pa.array([7]), "x": pa.array([70])})}, view="numbers")
    assert answer(feast, SCORES, user_id=["新闻", "nobody", "ann", "bob"]) == {
        "user_id": ["新闻", "nobody", "ann", "bob"],
        "item_id": [["z"], None, ["x", "y"], []],
        "score": [None, None, [0.5, 0.25], []],
        "age": [3, None, 1, None],
    }
    assert answer(feast, ["numbers:x"], id=[7, 8]) == {"id": [7, 8], "x": [70, None]}


def test_an_empty_list_and_an_unknown_user_differ_in_status(feast: FeatureStore, tmp_path: Path) -> None:
    publish(LocalStore(tmp_path / "store"), "v1", as_of="2014-03-18")
    found = feast.get_online_features(
        features=SCORES[:1], entity_rows=[{"user_id": "bob"}, {"user_id": "nobody"}]
    ).proto
    present, missing = (found.results[1].statuses[row] for row in (0, 1))
    assert present != missing
    assert found.results[1].event_timestamps[0].ToDatetime().isoformat() == "2014-03-18T00:00:00"


def test_what_feast_cannot_do_says_so(feast: FeatureStore, tmp_path: Path) -> None:
    with pytest.raises(UnknownVersion, match="user_scores"):
        answer(feast, SCORES, user_id=["ann"])
    with pytest.raises(InvalidInput, match="null can't be a key"):
        feast_online._key(EntityKey(join_keys=["user_id"], entity_values=[Value()]), "user_scores")
    publish(LocalStore(tmp_path / "store"), "v1", {"all": pa.record_batch({"user_id": ["ann"], "age": [1]})})
    with pytest.raises(InvalidInput, match=r"no columns \['item_id', 'score'\]"):
        answer(feast, SCORES, user_id=["ann"])
    at = pd.Timestamp("2014-03-18", tz="UTC")
    frame = pd.DataFrame({"user_id": ["ann"], "item_id": [["x"]], "score": [[0.5]], "age": [1], "at": [at]})
    with pytest.raises(InvalidInput, match="publish a new version"):
        feast.write_to_online_store("user_scores", df=frame)
