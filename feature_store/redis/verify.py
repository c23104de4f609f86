"""Whether a version is whole: every key once, every row there. Changes nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from feature_store.errors import CorruptVersion, DuplicateKey
from feature_store.hashing import hash_keys
from feature_store.redis.connection import Server
from feature_store.redis.layout import VersionKeys
from feature_store.redis.manifest import Manifest, Part, unpack_array
from feature_store.redis.table import is_written, pack_keys

_WRITE_AGAIN = "delete the version, or write the part again"
#: Keys that are named of each part; their count tells of the others.
_NAMED = 5


def key_pieces(server: Server, keys: VersionKeys, name: str, part: Part) -> Iterator[Any]:
    """The keys of a part as Arrow arrays, as they were written. Raises CorruptVersion for a damaged piece."""
    written = keys.written(part.tokens[-1])
    with server.reaching("read the keys in"):
        pieces = server.client.hlen(written)
    for piece in range(pieces):
        with server.reaching("read the keys in"):
            packed = server.client.hget(written, str(piece))
        yield unpack_array(packed or b"", f"the keys of part '{name}' in {server.place}", _WRITE_AGAIN)


def written_keys(server: Server, keys: VersionKeys, name: str, part: Part) -> Any:
    """The keys of a part as one Arrow array. Raises CorruptVersion where one or its row is not there any more."""
    arrays, rows = [], 0
    for array in key_pieces(server, keys, name, part):
        with server.reaching("verify the rows in"):
            # Keys that occur twice in the piece count twice here too.
            rows += server.client.exists(*pack_keys(array, keys.rows)) if len(array) else 0
        arrays.append(array)
    if rows != part.rows:
        raise CorruptVersion(
            f"part '{name}' has {rows} rows in {server.place} where {part.rows} were written; {_WRITE_AGAIN}"
        )
    return pa.concat_arrays(arrays) if arrays else None


def verify_rows(server: Server, manifest: Manifest) -> None:
    """Raises CorruptVersion where a committed version has lost a row."""
    keys = VersionKeys(prefix=server.prefix, uid=manifest.uid)
    for name, part in committed_parts(server, keys, manifest.parts):
        written_keys(server, keys, name, part)


def damaged_parts(server: Server, keys: VersionKeys, names: Sequence[str], keep: Callable[[], None]) -> Iterator[str]:
    """Reads every row of a committed version; of each part that isn't whole what is wrong, and with which keys.

    Calls `keep` before each piece. Raises CorruptVersion where what is known of a part, or of its keys, is damaged.
    """
    for name, part in committed_parts(server, keys, names):
        rows, damaged = 0, []
        for asked in key_pieces(server, keys, name, part):
            keep()
            redis_keys = pack_keys(asked, keys.rows)
            with server.reaching("read"):
                values = server.client.mget(redis_keys) if redis_keys else []
            rows += len(asked)
            damaged += [
                key
                for key, redis_key, value in zip(asked.to_pylist(), redis_keys, values, strict=True)
                if value is None or not is_written(redis_key, value)
            ]
        if rows != part.rows:
            yield f"part '{name}' has the keys of {rows} rows where {part.rows} were written"
        if damaged:
            named = ", ".join(map(repr, damaged[:_NAMED])) + (", ..." if len(damaged) > _NAMED else "")
            yield f"part '{name}' has {len(damaged)} of {rows} rows not as they were written or lost, of keys {named}"


def committed_parts(server: Server, keys: VersionKeys, names: Sequence[str]) -> Iterator[tuple[str, Part]]:
    """What is known of the parts of a committed version. Raises CorruptVersion."""
    with server.reaching("read the parts in"):
        parts = server.client.hgetall(keys.committed_parts)
    for name in names:
        yield name, Part.unseal(parts.get(name.encode(), b""), name, _WRITE_AGAIN)


def check_duplicates(keys_of: Mapping[str, Any]) -> None:
    """Raises DuplicateKey when a key occurs twice among the parts; None stands for a part without rows.

    Takes 8 bytes for each key beside the keys; different keys of one hash are told apart.
    """
    parts = {name: keys for name, keys in keys_of.items() if keys is not None}
    if not parts:
        return
    hashes = np.concatenate([hash_keys(keys) for keys in parts.values()])
    hashes.sort()
    twice = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    if not len(twice):
        return
    seen: dict[Any, str] = {}
    for name, keys in parts.items():
        for position in np.flatnonzero(np.isin(hash_keys(keys), twice)).tolist():
            key = keys[position].as_py()
            if key in seen:
                raise DuplicateKey(
                    f"key {key!r} is in part '{seen[key]}' and again in part '{name}'; a key may occur once"
                )
            seen[key] = name
