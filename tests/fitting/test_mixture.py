"""How much networks count beside trees, on logs where one of them ranks better."""

import numpy as np
import pytest

from recsys_text.fitting.mixture import SHARES, Mixture, choose_share


def chosen(impressions: int, users: int, signal: str, seed: int = 0) -> Mixture:
    """Ten candidates each, one of which is clicked: that with the highest signal but for noise."""
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(impressions * 10, 12)).astype(np.float32)
    weighed = features @ np.ones(12, np.float32)
    cut = 3.0 * ((features[:, 0] > 0.3) != (features[:, 1] > -0.2)) + 2.0 * (np.abs(features[:, 2]) < 0.3)
    said = weighed if signal == "weighed" else cut
    clicked = np.zeros((impressions, 10), np.bool_)
    noise = draw.gumbel(size=(impressions, 10))
    clicked[np.arange(impressions), np.argmax(said.reshape(-1, 10) * 2 + noise, axis=1)] = True
    return choose_share(
        features,
        clicked.ravel(),
        np.arange(impressions + 1) * 10,
        draw.integers(0, users, impressions),
        np.ones(impressions, np.float32),
        names=[f"f{n}" for n in range(12)],
        seed=7,
    )


def test_networks_count_for_more_where_a_few_impressions_tell_weights() -> None:
    found = chosen(400, 100, "weighed")
    assert found.share > 0.5
    assert found.ndcg_S[SHARES.index(found.share)] > found.ndcg_S[-1]


def test_trees_count_where_many_impressions_tell_cuts() -> None:
    found = chosen(4000, 900, "cut")
    assert found.share < 1
    assert found.ndcg_S[SHARES.index(found.share)] > found.ndcg_S[0]


@pytest.mark.parametrize("users", [1, 2])
def test_networks_rank_alone_where_too_few_users_are_there_to_tell(users: int) -> None:
    assert chosen(3, users, "weighed").share == 1


def test_the_same_is_chosen_again() -> None:
    first, second = chosen(300, 80, "cut"), chosen(300, 80, "cut")
    assert first.share == second.share
    np.testing.assert_array_equal(first.ndcg_S, second.ndcg_S)
