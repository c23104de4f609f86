"""Whether a version is whole: every key once, every row there. Changes nothing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from feature_store.errors import CorruptVersion, DuplicateKey
from feature_store.hashing import hash_keys
from feature_store.redis.connection import Server
from feature_store.redis.layout import VersionKeys
from feature_store.redis.manifest import Manifest, Part, unpack_array
from feature_store.redis.table import pack_keys

_WRITE_AGAIN = "delete the version, or write the part again"


def written_keys(server: Server, keys: VersionKeys, name: str, part: Part) -> Any:
    """The keys of a part as one Arrow array. Raises CorruptVersion where one or its row is not there any more."""
    written = keys.written(part.tokens[-1])
    arrays, rows = [], 0
    with server.reaching("verify the rows in"):
        for piece in range(server.client.hlen(written)):
            packed = server.client.hget(written, str(piece))
            array = unpack_array(packed or b"", f"the keys of part '{name}' in {server.place}", _WRITE_AGAIN)
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
    with server.reaching("verify the rows in"):
        parts = server.client.hgetall(keys.committed_parts)
    for name in manifest.parts:
        part = Part.unseal(parts.get(name.encode(), b""), name, _WRITE_AGAIN)
        written_keys(server, keys, name, part)


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
