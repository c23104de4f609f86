"""The curve and the penalty of the text regression are chosen by items held out."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys_text.model.kernel_choice import CURVES, PENALTIES, choose_kernel

TOPICS, EACH, USERS = 8, 30, 200


def world(seed: int) -> tuple[list[str], csr_matrix]:
    """Items of topics, three words each of which one tells the topic, and users who click two topics alone."""
    draw = np.random.default_rng(seed)
    texts = [
        f"topic{topic} word{draw.integers(40)} word{draw.integers(40)}" for topic in range(TOPICS) for _ in range(EACH)
    ]
    clicks = np.zeros((USERS, TOPICS * EACH), np.float32)
    for user in range(USERS):
        for topic in draw.choice(TOPICS, 2, replace=False):
            clicks[user, topic * EACH + draw.choice(EACH, 6, replace=False)] = 1
    return texts, csr_matrix(clicks)


def test_what_is_chosen_ranks_items_by_their_topic() -> None:
    found = choose_kernel(*world(0), seed=1)
    assert found is not None
    assert found.curve in CURVES
    assert found.penalty in PENALTIES
    # A fifth of 240 items, of which a user clicked a few: by chance the nDCG is a tenth of that.
    assert found.ndcg > 0.3


def test_no_pair_that_is_tried_ranks_them_better() -> None:
    best = choose_kernel(*world(1), seed=1)
    assert best is not None
    for curve in CURVES:
        for penalty in PENALTIES:
            other = choose_kernel(*world(1), seed=1, curves=[curve], penalties=[penalty])
            assert other is not None
            assert other.ndcg <= best.ndcg


def test_the_same_seed_chooses_the_same() -> None:
    assert choose_kernel(*world(2), seed=3) == choose_kernel(*world(2), seed=3)


@pytest.mark.parametrize("items", [0, 1, 60])
def test_with_too_few_items_nothing_is_chosen(items: int) -> None:
    texts, clicks = world(0)
    assert choose_kernel(texts[:items], clicks[:, :items].tocsr(), seed=1) is None


def test_texts_that_share_nothing_or_are_all_the_same_choose_nothing() -> None:
    _, clicks = world(0)
    for texts in (["the same text"] * (TOPICS * EACH), [f"word{number}" for number in range(TOPICS * EACH)]):
        assert choose_kernel(texts, clicks, seed=1) is None
