"""What a store answers now, to a reader that has seen nothing before."""

from feature_store import Store
from tests.feature_store.publisher import KEYS


def served(store: Store) -> set[int]:
    """The values that a fresh, verified reader gives for all keys: one if it's whole."""
    return set(store.reader("view").get_many(KEYS).column("value").to_pylist())
