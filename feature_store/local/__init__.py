"""The feature store in a folder. Knows files, locks and mmap; nothing of what the tables mean."""

from feature_store.local.store import LocalStore

__all__ = ["LocalStore"]
