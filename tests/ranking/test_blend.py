import itertools

import numpy as np
import pytest

from recsys_text.errors import ContractError
from recsys_text.evaluation.metrics import evaluate
from recsys_text.ranking.blend import MAX_CANDIDATES, Blend, continue_blend, fit_blend
from recsys_text.ranking.trees import MORE_TREES

NAMES = ("signal", "noise", "constant")


def some(impressions, seed, lengths=(2, 12)):
    """Impressions of one click each, likelier the higher the signal."""
    random = np.random.default_rng(seed)
    length = random.integers(*lengths, impressions)
    offsets = np.concatenate([[0], np.cumsum(length)])
    features = random.normal(size=(offsets[-1], 3)).astype(np.float32)
    features[:, 2] = 1
    clicked = np.zeros(offsets[-1], bool)
    for a, b in itertools.pairwise(offsets):
        clicked[a + np.argmax(3 * features[a:b, 0] + random.gumbel(size=b - a))] = True
    return features, clicked, offsets, random.integers(0, impressions // 3 + 1, impressions)


def fit(data, share=0.5, seed=3, threads=1):
    return fit_blend(*data, share=share, names=NAMES, seed=seed, threads=threads)


def content(blend, tmp_path):
    """What is saved, without the parameters that LightGBM writes beside its trees."""
    blend.save(tmp_path)
    return {path.name: path.read_bytes().split(b"parameters:")[0] for path in sorted(tmp_path.iterdir())}


@pytest.fixture(scope="module", params=[0.0, 0.5, 1.0], ids=["trees", "both", "networks"])
def share(request):
    return request.param


@pytest.fixture(scope="module")
def blend(share):
    return fit(some(600, 0), share)


def test_learns_the_order_on_impressions_that_it_has_not_seen(blend):
    features, clicked, offsets, _ = some(400, 1)
    ours, signal, chance = (
        np.mean(evaluate(scores, clicked, offsets)["ndcg@10"])
        for scores in (blend.predict(features), features[:, 0], features[:, 1])
    )
    assert ours > signal - 0.03 > chance + 0.15


def test_the_folder_brings_back_the_same_scores(blend, tmp_path):
    features = some(50, 2)[0]
    blend.save(tmp_path)
    again = Blend.load(tmp_path)
    assert again.features == NAMES
    np.testing.assert_array_equal(again.predict(features), blend.predict(features))


def test_the_same_seed_gives_the_same_ranker_on_one_thread_and_two(blend, share, tmp_path):
    data = some(600, 0)
    folders = [tmp_path / name for name in "abcd"]
    for folder in folders:
        folder.mkdir()
    once = content(blend, folders[0])
    assert content(fit(data, share), folders[1]) == once
    assert content(fit(data, share, threads=2), folders[2]) == once
    assert content(fit(data, share, seed=4), folders[3]) != once


def test_both_is_the_sum_of_what_each_learns_alone_on_one_scale():
    data = some(600, 0)
    features, _, offsets, _ = data
    both, alone = fit(data), [fit(data, share).predict(features) for share in (0.0, 1.0)]
    expected = sum(raw / spread / 2 for raw, spread in zip(alone, both.spreads, strict=True))
    np.testing.assert_allclose(both.predict(features), expected, rtol=1e-6)
    for raw, spread in zip(alone, both.spreads, strict=True):
        apart = np.concatenate([part - part.mean() for part in np.split(raw, offsets[1:-1])])
        assert np.std(apart) == pytest.approx(spread, rel=1e-6)


def test_importance_is_the_share_of_the_gain(blend, share):
    found = blend.importance()
    assert (not found) == (share == 1)
    if found:
        assert sum(found.values()) == pytest.approx(1)
        assert next(iter(found)) == "signal"


def test_an_impression_is_scored_alike_alone_and_among_others(blend):
    features, _, offsets, _ = some(50, 2)
    together = blend.predict(features)
    np.testing.assert_allclose(blend.predict(features[: offsets[1]]), together[: offsets[1]], rtol=1e-5)
    assert len(blend.predict(features[:0])) == 0


def test_impressions_that_teach_nothing_change_nothing(blend, share):
    features, clicked, offsets, users = some(600, 0)
    extra = np.zeros((5, 3), np.float32)
    padded = (
        np.concatenate([features, extra]),
        np.concatenate([clicked, [False, False, False, True, True]]),
        np.concatenate([offsets, offsets[-1] + np.array([0, 3, 5])]),  # empty, nothing clicked, all clicked
        np.concatenate([users, [1, 2, 3]]),
    )
    np.testing.assert_array_equal(fit(padded, share).predict(features), blend.predict(features))


def test_survives_little_and_dull_data(share):
    features, clicked, offsets, users = some(3, 0)
    assert np.isfinite(fit((features, clicked, offsets, np.zeros(3, int)), share).predict(features)).all()
    for dull in (np.ones_like(features), np.full_like(features, np.nan), np.full_like(features, np.inf)):
        found = fit((dull, clicked, offsets, users), share).predict(dull)
        assert np.isfinite(found).all()
        assert np.ptp(found) < 1e-6


def test_users_without_a_code_are_no_obstacle(share):
    features, clicked, offsets, _ = some(20, 0)
    assert np.isfinite(fit((features, clicked, offsets, np.full(20, -1)), share).predict(features)).all()


@pytest.mark.parametrize("clicked", [[], [False] * 4, [True] * 4])
def test_refuses_to_learn_from_nothing(clicked):
    features = np.zeros((len(clicked), 3), np.float32)
    offsets = np.arange(0, len(clicked) + 1, 2)
    with pytest.raises(
        ContractError, match=rf"none of {len(clicked) // 2} impressions .* raise training.blend_windows"
    ):
        fit((features, np.array(clicked, bool), offsets, np.zeros(len(clicked) // 2, int)))


def test_refuses_an_impression_beyond_the_rankers_limit():
    rows = MAX_CANDIDATES + 1
    with pytest.raises(ContractError, match=r"10001 candidates .* lower training.blend_candidates"):
        fit((np.zeros((rows, 3), np.float32), np.arange(rows) == 0, np.array([0, rows]), np.zeros(1, int)))


def test_refuses_features_that_it_did_not_learn_from(blend):
    with pytest.raises(ContractError, match="knows 3 features and got 2"):
        blend.predict(np.zeros((1, 2), np.float32))


def test_going_on_learns_what_has_changed_and_leaves_the_former_one_as_it_was(blend, share, tmp_path):
    folders = [tmp_path / name for name in "abcd"]
    for folder in folders:
        folder.mkdir()
    features, *rest = some(1200, 5)
    turned = features[:, [1, 0, 2]]  # what was noise tells now
    clicked, offsets, _ = rest
    former = content(blend, folders[0])
    found = continue_blend(blend, turned, clicked, offsets, seed=3, threads=1)
    assert content(blend, folders[1]) == former
    assert content(found, folders[2]) != former
    assert content(continue_blend(blend, turned, clicked, offsets, seed=3, threads=2), folders[3]) == content(
        found, folders[2]
    )
    assert found.share == share
    assert [each.num_trees() for each in found.trees] == [each.num_trees() + MORE_TREES for each in blend.trees]
    features, clicked, offsets, _ = some(400, 6)
    before, after = (
        np.mean(evaluate(each.predict(features[:, [1, 0, 2]]), clicked, offsets)["ndcg@10"]) for each in (blend, found)
    )
    assert after > before + 0.004
