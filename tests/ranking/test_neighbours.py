import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_text.ranking.log import HOUR
from recsys_text.ranking.neighbours import KINDS, TOGETHER, Neighbours, nearest, together
from tests.ranking.test_features import ITEMS, NOW, USERS, everything, log_of

#: Of each kind.
WEIGHTS = dict(zip(KINDS, np.random.default_rng(0).normal(size=(len(KINDS), 3, 3)).astype(np.float32), strict=True))
#: What a column goes by, and what a click weighs beside the next one.
COLUMNS = {
    "together": ("ease", 1.0),
    "together_late": ("ease", 0.95),
    "together_latest": ("ease", 0.8),
    "bm25": ("bm25", 1.0),
    "bm25_latest": ("bm25", 0.8),
}
#: Of the catalogue, and one that it no longer has; `c` and `d` have no weights.
NAMES = ["b", "gone", "a"]


def neighbours_of(count: int) -> Neighbours:
    return Neighbours(item_ids=NAMES, weights={kind: nearest(weights, count) for kind, weights in WEIGHTS.items()})


events_of_one_time_each = st.lists(
    st.tuples(st.sampled_from(USERS), st.sampled_from(ITEMS), st.integers(1, 80)),
    max_size=30,
    unique_by=lambda event: event[2],
)


@settings(deadline=None)
@given(events_of_one_time_each)
def test_scores_are_sums_over_the_history_before_now(events: list[tuple[str, str, int]]) -> None:
    timed = [(user, item, half * HOUR // 2) for user, item, half in events]
    log = log_of(timed)
    users = [*USERS, "stranger"]
    found = together(log, everything(log, users, NOW), neighbours_of(3))
    assert tuple(COLUMNS) == TOGETHER
    for name, (kind, decay) in COLUMNS.items():
        expected = []
        for user in users:
            history = [item for _, item in sorted((t, i) for who, i, t in timed if who == user and t < NOW)][::-1]
            for item in ITEMS:
                known = [click for click in dict.fromkeys(history) if click in NAMES and item in NAMES]
                expected.append(
                    sum(decay ** history.index(a) * WEIGHTS[kind][NAMES.index(a), NAMES.index(item)] for a in known)
                )
        assert found[name] == pytest.approx(expected, rel=1e-5, abs=1e-5)


def test_each_candidate_keeps_what_is_farthest_from_nothing_and_equal_ones_together() -> None:
    weights = np.array([[0, 3, 1, 2], [-5, 0, 1, 2], [4, -1, 0, 2], [1, 2, 0.5, 0]], np.float32)
    kept = nearest(weights, 2).toarray()
    expected = [[0, 3, 1, 2], [-5, 0, 1, 2], [4, 0, 0, 2], [0, 2, 0, 0]]
    np.testing.assert_array_equal(kept, expected)
    np.testing.assert_array_equal(nearest(weights, 9).toarray(), weights)


def test_no_weights_say_nothing() -> None:
    log = log_of([("u", "a", NOW - 1)])
    nothing = Neighbours(item_ids=[], weights=dict.fromkeys(KINDS, nearest(np.zeros((0, 0), np.float32), 5)))
    found = together(log, everything(log, ["u"], NOW), nothing)
    assert [values.tolist() for values in found.values()] == [[0] * len(ITEMS)] * len(TOGETHER)


def test_the_folder_brings_every_weight_back(tmp_path) -> None:
    neighbours = neighbours_of(2)
    neighbours.save(tmp_path)
    again = Neighbours.load(tmp_path)
    assert again.item_ids == NAMES
    assert [(again.weights[kind] != neighbours.weights[kind]).nnz for kind in KINDS] == [0] * len(KINDS)
