"""The feature store in a Redis server. Knows keys, transactions and packed rows; nothing of what the tables mean."""

from feature_store.redis.store import RedisStore

__all__ = ["RedisStore"]
