"""Published views through Feast: an online store that answers get_online_features. Knows Feast, and no backend.

In `feature_store.yaml`:

    online_store:
      type: feature_store.feast_online.PublishedOnlineStore
      url: file:/var/lib/recsys/store

A feature view reads the view of its name: its one entity's join key is the key, its fields are the columns.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.repo_config import FeastConfigBaseModel
from feast.type_map import python_values_to_proto_values
from pydantic import StrictStr

from feature_store import InvalidInput, Reader, open_store
from feature_store.base import Key


class PublishedOnlineStoreConfig(FeastConfigBaseModel):
    """`url` is that of the store, as `open_store` takes it."""

    type: Literal["feature_store.feast_online.PublishedOnlineStore"] = "feature_store.feast_online.PublishedOnlineStore"
    url: StrictStr


class PublishedOnlineStore(OnlineStore):
    """Reads what was published; Feast itself writes nothing here, since a version is published as a whole.

    All rows of one answer are of one version, whose `as_of` is their event time, so that a feature view's `ttl` tells
    stale scores.
    """

    def __init__(self) -> None:
        self._readers: dict[str, Reader] = {}

    def online_read(
        self,
        config: Any,
        table: Any,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Any] | None]]:
        """The event time and the values of each key, (None, None) for one that the served version doesn't hold.

        Raises InvalidInput for a key of several values or of another type than the view's, and for a feature that
        the view has no column for; UnknownVersion where nothing is published.
        """
        snapshot = self._reader(config, table.name).snapshot()
        kinds = {field.name: field.dtype.to_value_type() for field in table.features}
        features = list(kinds) if requested_features is None else requested_features
        missing = sorted(set(features) - set(snapshot.schema.names))
        if missing:
            raise InvalidInput(f"view '{table.name}' has no columns {missing}; it has {snapshot.schema.names}")
        rows = [snapshot.get(_key(key, table.name)) for key in entity_keys]
        known = [row for row in rows if row is not None]
        columns = {
            name: iter(python_values_to_proto_values([row[name] for row in known], kinds[name])) for name in features
        }
        as_of = snapshot.info.as_of or snapshot.info.created_at
        return [
            (None, None) if row is None else (as_of, {name: next(values) for name, values in columns.items()})
            for row in rows
        ]

    def online_write_batch(self, config: Any, table: Any, data: Any, progress: Callable[[int], Any] | None) -> None:
        """Raises InvalidInput: rows of a served version never change."""
        raise InvalidInput(
            f"Feast can't write to the published view '{table.name}': publish a new version with feature_store instead"
        )

    def update(
        self,
        config: Any,
        tables_to_delete: Sequence[Any],
        tables_to_keep: Sequence[Any],
        entities_to_delete: Sequence[Any],
        entities_to_keep: Sequence[Any],
        partial: bool,
    ) -> None:
        """Nothing: `feast apply` describes views that are published elsewhere."""

    def teardown(self, config: Any, tables: Sequence[Any], entities: Sequence[Any]) -> None:
        """Nothing: what was published stays until its publisher removes it."""

    def _reader(self, config: Any, view: str) -> Reader:
        if view not in self._readers:
            self._readers[view] = open_store(config.online_store.url).reader(view)
        return self._readers[view]


def _key(entity: EntityKey, view: str) -> Key:
    if len(entity.entity_values) != 1:
        raise InvalidInput(
            f"view '{view}' has one key, and the feature view's entities have {list(entity.join_keys)}; take one entity"
        )
    value = entity.entity_values[0]
    if value.WhichOneof("val") is None:
        raise InvalidInput(f"null can't be a key of view '{view}'; leave out the entity")
    key: Key = getattr(value, value.WhichOneof("val"))
    return key
