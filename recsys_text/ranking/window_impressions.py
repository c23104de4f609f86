"""One impression of each active user at the start of a window. Knows the log and the settings of the pool.

For logs that know an order and no clock, and for lists that are made once for a whole window: what a user clicks in it
is ranked together, against the pool at its start. With the whole catalogue as pool this leaves out each user's last
clicks and ranks all items.
"""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from recsys_text.ranking.candidates import in_pool, joined, pool_chunks, with_negatives
from recsys_text.ranking.log import Impressions, Log, micros, no_impressions
from recsys_text.sections import Candidates


def window_impressions(
    log: Log,
    windows: Sequence[tuple[datetime, datetime]],
    settings: Candidates,
    *,
    max_impressions: int,
    seed: int,
    negatives: int | None = None,
) -> tuple[Impressions, int]:
    """Each user who clicks in a window [start, end), ranked once at its start; windows ascend and do not overlap.

    The candidates are the user's pool at the start; clicked are those that the user clicks in the window. A user of
    whose clicks none is in that pool has no impression. The second value counts the clicked items outside their pools.
    Of more than `max_impressions`, users are drawn evenly, each with all windows but perhaps the last one drawn. With
    `negatives`, only so many others beside the clicks of each are kept (see `with_negatives`). In the order of time.
    """
    catalogue, number = len(log.item_ids), len(log.user_ids)
    keys, times = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    dropped = 0
    for place, (start, end) in enumerate(windows):
        at_E = np.flatnonzero(log.positive & (log.time >= micros(start)) & (log.time < micros(end)))
        pair_Q = np.unique(log.user[at_E].astype(np.int64) * catalogue + log.item[at_E])
        user_Q, item_Q = (part.astype(np.int32) for part in np.divmod(pair_Q, catalogue))
        inside_Q = in_pool(log, np.full(len(pair_Q), micros(start)), user_Q, item_Q, settings)
        dropped += int((~inside_Q).sum())
        keys.append(pair_Q[inside_Q] + place * number * catalogue)
        times.append(np.full(inside_Q.sum(), micros(start)))
    # Impression by impression: an ascending key of the window, the user and the item.
    key_Q = np.concatenate(keys)
    shown_N, first_N = np.unique(key_Q // catalogue, return_index=True)
    time_N = np.concatenate(times)[first_N]
    generator = np.random.default_rng(seed)
    if len(shown_N) > max_impressions:
        # Of those who are there, not of all whom the log knows: who comes later must not change who is drawn.
        users, place_N = np.unique(shown_N % number, return_inverse=True)
        turn_N = generator.permutation(len(users))[place_N]
        kept = np.sort(np.argsort(turn_N, kind="stable")[:max_impressions])
        shown_N, time_N = shown_N[kept], time_N[kept]
    user_N = (shown_N % max(1, number)).astype(np.int32)
    parts = [no_impressions()]
    for part, offsets, item in pool_chunks(log, time_N, user_N, settings):
        key_P = np.repeat(shown_N[part] * catalogue, np.diff(offsets)) + item
        chunk = Impressions(
            user=user_N[part], time=time_N[part], offsets=offsets, item=item, clicked=np.isin(key_P, key_Q)
        )
        draw = int(generator.integers(2**63))
        parts.append(chunk if negatives is None else with_negatives(chunk, negatives, draw))
    return joined(parts), dropped
