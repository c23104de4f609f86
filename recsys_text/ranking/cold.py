"""Items that leave the training, to measure what their texts alone are worth. Knows ids and the log, no model.

Shapes: I items.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from recsys_text.errors import ConfigError
from recsys_text.ranking.log import Bool, Impressions, Log


def cold_items(item_ids: Sequence[str], modulus: int, residue: int) -> Bool:
    """Every `modulus`-th item or so, bool[I]: those whose id's 8-byte blake2b digest, big-endian, leaves `residue`.

    An item is cold or not whatever else the catalogue holds. Raises ConfigError for a residue that no number leaves.
    """
    if not 0 <= residue < modulus:
        raise ConfigError(f"no number leaves {residue} divided by {modulus}; give a residue from 0 to {modulus - 1}")
    digests = (hashlib.blake2b(item_id.encode(), digest_size=8).digest() for item_id in item_ids)
    return np.fromiter((int.from_bytes(digest) % modulus == residue for digest in digests), np.bool_, len(item_ids))


def without_items(log: Log, cold_I: Bool) -> Log:
    """The log as if nobody had met these items: no event with them, no pool that holds them, never shown.

    Codes stay, so that texts and vectors of all items fit both logs: train on this one, measure on the other.
    """
    kept = ~cold_I[log.item]
    return replace(
        log,
        # What expires as it becomes known is in no pool at any time.
        expires_at=np.where(cold_I, log.known_at, log.expires_at),
        user=log.user[kept],
        item=log.item[kept],
        time=log.time[kept],
        positive=log.positive[kept],
        disliked=log.disliked[kept],
        value=log.value[kept],
        logged=_without(log.logged, cold_I),
    )


def _without(impressions: Impressions, cold_I: Bool) -> Impressions:
    kept_P = ~cold_I[impressions.item]
    size_N = np.bincount(impressions.row[kept_P], minlength=len(impressions))
    return replace(
        impressions,
        offsets=np.concatenate(([0], np.cumsum(size_N))),
        item=impressions.item[kept_P],
        clicked=impressions.clicked[kept_P],
    )
