"""No feature knows an id or the order of ids: with all of them renamed it is the same."""

from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_text.ranking import neighbours
from recsys_text.ranking.affinity import affinity
from recsys_text.ranking.candidates import histories
from recsys_text.ranking.features import FEATURES, HISTORY, assemble, counts
from recsys_text.ranking.log import HOUR, Impressions, Log, build_log
from tests.ranking.test_features import NOW, TIME, at, valued

ITEMS, USERS = "abcde", "uvw"
WEIGHTS = np.random.default_rng(1).normal(size=(len(ITEMS), len(ITEMS))).astype(np.float32)
CATEGORIES = ("one", "two", None, "one", "two")
VALUES = (0.1, 0.7, 1e6)
KINDS = ("click", "click", "dislike", "share")
#: Of exact length, so that no rounding depends on the order of the items.
VECTORS = np.eye(3, dtype=np.float32)[[0, 1, 0, 2, 1]]

times = st.builds(lambda half, micros: half * HOUR // 2 + micros, st.integers(1, 82), st.integers(-1, 1))
# Clicks of one user at the very same time have no order but that of their ids: there are none.
event_lists = st.lists(
    st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), times), max_size=40, unique_by=lambda e: (e[0], e[2])
)


def renamed_log(events: list[tuple[str, str, int]], items: dict[str, str], users: dict[str, str]) -> Log:
    schema: Any = {"item_id": pl.String, "known_at": TIME, "published_at": TIME, "expires_at": TIME}
    known = pl.DataFrame(
        [(items[name], at(n * HOUR), None, None, CATEGORIES[n]) for n, name in enumerate(ITEMS)],
        schema=schema | {"category": pl.String},
        orient="row",
    )
    done = valued(
        [(users[user], items[item], KINDS[time % 4], at(time), VALUES[time % 3]) for user, item, time in events]
    )
    return build_log(known, done)


def seen(events: list[tuple[str, str, int]], items: dict[str, str], users: dict[str, str]) -> np.ndarray:
    """[U * I, F], users and items in the order of their plain names."""
    log = renamed_log(events, items, users)
    code = log.item_codes(pl.Series([items[name] for name in ITEMS]))
    by_code = np.empty_like(VECTORS)
    by_code[code] = VECTORS
    shown = Impressions(
        user=log.user_codes(pl.Series([users[name] for name in USERS])),
        time=np.full(len(USERS), NOW),
        offsets=np.arange(len(USERS) + 1) * len(ITEMS),
        item=np.tile(code, len(USERS)),
        clicked=np.zeros(len(USERS) * len(ITEMS), dtype=np.bool_),
    )
    text = {"interest": np.tile(np.arange(5, dtype=np.float32), len(USERS))}
    text |= affinity(log, by_code, shown, histories(log, shown.user, shown.time, HISTORY))
    belonging = neighbours.Neighbours(
        item_ids=[items[name] for name in ITEMS],
        weights=dict.fromkeys(neighbours.KINDS, neighbours.nearest(WEIGHTS, 2)),
    )
    return assemble(counts(log, shown), text | neighbours.together(log, shown, belonging), shown.offsets)


@settings(deadline=None)
@given(event_lists, st.permutations(ITEMS), st.permutations(USERS))
def test_renaming_everything_changes_no_feature(
    events: list[tuple[str, str, int]], item_names: list[str], user_names: list[str]
) -> None:
    plain = seen(events, dict(zip(ITEMS, ITEMS, strict=True)), dict(zip(USERS, USERS, strict=True)))
    other = seen(events, dict(zip(ITEMS, item_names, strict=True)), dict(zip(USERS, user_names, strict=True)))
    assert plain.shape[1] == len(FEATURES)
    np.testing.assert_allclose(other, plain, rtol=1e-6, atol=1e-6)
