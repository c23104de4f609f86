import itertools

import numpy as np
import pytest
import torch

from recsys_text.evaluation.metrics import evaluate
from recsys_text.ranking.listwise import Network, fit_network

FEATURES = 4


def some(impressions, seed):
    """Impressions of three to ten candidates; the one with the largest product of two features is clicked."""
    random = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(random.integers(3, 11, impressions))])
    features = random.normal(size=(offsets[-1], FEATURES)).astype(np.float32)
    clicked = np.zeros(offsets[-1], bool)
    clicked[[a + np.argmax(features[a:b, 0] * features[a:b, 1]) for a, b in itertools.pairwise(offsets)]] = 1
    return features, clicked, offsets


@pytest.fixture(scope="module")
def network():
    return fit_network(*some(2000, 0), seed=1)


def test_learns_what_no_weighted_sum_could(network):
    features, clicked, offsets = some(300, 1)
    assert evaluate(network.predict(features), clicked, offsets)["ndcg@10"].mean() > 0.9


def test_predicts_what_its_tensors_say(network):
    features = some(20, 2)[0]
    x = np.clip((features - network.mean_F.numpy()) / network.scale_F.numpy(), -5, 5)
    for n, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        x = x / (1 + np.exp(-x)) if n else x
        x = x @ weight.numpy().T + bias.numpy()
    np.testing.assert_allclose(network.predict(features), x[:, 0], atol=1e-4)
    again = Network.from_tensors(network.tensors())
    np.testing.assert_array_equal(again.predict(features), network.predict(features))


def test_units_of_a_feature_do_not_matter():
    features, clicked, offsets = some(200, 3)
    units, start = np.array([1, 1024, 1, 0.25], np.float32), np.array([0, 64, 0, 0], np.float32)
    plain, other = (
        fit_network(features, clicked, offsets, seed=1),
        fit_network(features * units + start, clicked, offsets, seed=1),
    )
    np.testing.assert_allclose(other.predict(features * units + start), plain.predict(features), atol=0.05)


def test_what_training_has_never_seen_is_no_louder_than_what_it_has(network):
    usual, wild = np.zeros((1, FEATURES), np.float32), np.zeros((1, FEATURES), np.float32)
    usual[0, 2], wild[0, 2] = network.mean_F[2] + 5.001 * network.scale_F[2], 1e9
    np.testing.assert_allclose(network.predict(wild), network.predict(usual), atol=1e-5)


def test_several_clicks_share_the_weight_of_their_impression():
    features, clicked, offsets = some(50, 4)
    every = np.repeat([[1.0, 0, 0, 0], [-1.0, 0, 0, 0]], 10, axis=0).astype(np.float32)
    found = fit_network(
        np.concatenate([features, every]),
        np.concatenate([clicked, np.arange(20) < 10]),
        np.concatenate([offsets, [offsets[-1] + 20]]),
        seed=1,
    )
    assert np.isfinite(found.predict(features)).all()


def test_leaves_the_global_random_state_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fit_network(*some(5, 0), seed=1)
    assert torch.equal(torch.rand(1), expected)
