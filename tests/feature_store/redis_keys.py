"""The keys of a store in Redis, as its server has them."""

from typing import Any


def keys_of(client: Any, prefix: str) -> list[bytes]:
    return sorted(key.removeprefix(prefix.encode()) for key in client.scan_iter(match=f"{prefix}*"))


def row_key(client: Any, prefix: str, key: str) -> bytes:
    (found,) = client.scan_iter(match=f"{prefix}????????:{key}")
    return bytes(found)


def end_leases(client: Any, prefix: str) -> None:
    """As the time does that passes while readers sleep or are dead."""
    for key in client.scan_iter(match=f"{prefix}l:*"):
        client.delete(key)


def age_leases(client: Any, prefix: str, seconds: int) -> None:
    """As the server's clock does in so many seconds."""
    for key in client.scan_iter(match=f"{prefix}l:*"):
        for lease in client.zrange(key, 0, -1):
            client.zincrby(key, -seconds, lease)
        client.expire(key, max(0, client.ttl(key) - seconds))
