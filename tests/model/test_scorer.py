import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_text.model.scorer import Interest, build, click_vectors, item_vectors, user_vectors
from tests.model.conftest import ITEMS, SETTINGS, VOCABULARY, WIDTH


@pytest.fixture(scope="module")
def model() -> Interest:
    return build(SETTINGS, VOCABULARY, seed=1)


@pytest.fixture(scope="module")
def vec_ID(model, world) -> np.ndarray:
    return item_vectors(model, world.tokens_IT, world.lengths_I)


def test_shapes_types_and_lengths(model, vec_ID):
    vec_ND = user_vectors(model, vec_ID, np.array([[-1, 3], [2, 4]], np.int32))
    assert vec_ID.shape == (ITEMS, SETTINGS.dim)
    assert vec_ND.shape == (2, SETTINGS.dim)
    assert vec_ID.dtype == vec_ND.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vec_ND, axis=1), model.scale.item(), rtol=1e-5)


def test_chunks_do_not_matter_and_calls_repeat(model, world, vec_ID):
    np.testing.assert_allclose(item_vectors(model, world.tokens_IT, world.lengths_I, 7), vec_ID, atol=1e-5)
    history_NH = world.train.history_NH
    whole = user_vectors(model, vec_ID, history_NH)
    np.testing.assert_allclose(user_vectors(model, vec_ID, history_NH, 11), whole, atol=1e-5)
    assert (user_vectors(model, vec_ID, history_NH) == whole).all()


@settings(max_examples=30, deadline=None)
@given(clicks=st.lists(st.integers(0, ITEMS - 1), max_size=5), left=st.integers(0, 3), right=st.integers(0, 3))
def test_padding_changes_no_user(model, vec_ID, clicks, left, right):
    bare = user_vectors(model, vec_ID, np.array([clicks], np.int32).reshape(1, -1))
    padded = user_vectors(model, vec_ID, np.array([[-1] * left + clicks + [-1] * right], np.int32))
    np.testing.assert_allclose(padded, bare, atol=1e-4)


def test_the_order_of_clicks_matters(model, vec_ID):
    forward, backward = user_vectors(model, vec_ID, np.array([[1, 2, 3], [3, 2, 1]], np.int32))
    assert np.abs(forward - backward).max() > 1e-4


def test_new_users_share_a_learned_vector(model, vec_ID):
    vec_ND = user_vectors(model, vec_ID, np.full((2, 5), -1, np.int32))
    expected = torch.nn.functional.normalize(model.tower.nobody, dim=0) * model.scale
    np.testing.assert_allclose(vec_ND, np.tile(expected.detach().numpy(), (2, 1)), rtol=1e-5)
    assert (user_vectors(model, vec_ID[:0], np.zeros((2, 0), np.int32)) == vec_ND).all()


def test_interest_is_the_dot_product_of_the_vectors(model, world, vec_ID):
    history_NH, candidates_NC = world.valid.history_NH, world.valid.candidates_NC
    model.eval()
    with torch.no_grad():
        interest_NC = model(
            torch.from_numpy(vec_ID), torch.from_numpy(history_NH).long(), torch.from_numpy(candidates_NC).long()
        ).numpy()
    expected = np.einsum("nd,ncd->nc", user_vectors(model, vec_ID, history_NH), vec_ID[candidates_NC])
    padding = candidates_NC < 0
    assert padding.any()
    assert (interest_NC[padding] == -np.inf).all()
    np.testing.assert_allclose(interest_NC[~padding], expected[~padding], atol=1e-4)


def test_scoring_leaves_the_mode_and_no_gradients(model, world):
    model.train()
    item_vectors(model, world.tokens_IT, world.lengths_I)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
    model.eval()


def test_no_items(model):
    assert item_vectors(model, np.zeros((0, WIDTH), np.int32), np.zeros(0, np.int32)).shape == (0, SETTINGS.dim)


def test_the_seed_alone_decides_the_first_weights():
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = build(SETTINGS, VOCABULARY, seed=9)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(6)
    second, third = build(SETTINGS, VOCABULARY, seed=9), build(SETTINGS, VOCABULARY, seed=10)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    assert not torch.equal(first.encoder.embedding.weight, third.encoder.embedding.weight)


@pytest.mark.parametrize("user", ["mean", "attention", "gru", "gru+attention"])
def test_every_way_from_clicks_to_a_user_learns_and_ignores_padding(user, world, vec_ID):
    model = build(SETTINGS.model_copy(update={"user": user}), VOCABULARY, seed=1)
    bare, padded, nobody = (
        user_vectors(model, vec_ID, np.array([row], np.int32)) for row in ([1, 2], [-1, 1, 2], [-1, -1])
    )
    np.testing.assert_allclose(padded, bare, atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(bare), model.scale.item(), rtol=1e-5)
    assert np.abs(nobody - bare).max() > 1e-3
    model.users(torch.from_numpy(vec_ID), torch.tensor([[1, 2], [-1, -1]])).sum().backward()
    assert all(weight.grad is not None for name, weight in model.tower.named_parameters())
    backwards = user_vectors(model, vec_ID, np.array([[2, 1]], np.int32))
    # Only a GRU knows which came first before the bias for the age of a click is learned.
    assert (np.abs(backwards - bare).max() > 1e-4) == ("gru" in user)


def test_a_click_has_a_vector_of_its_own_where_it_is_learned(world, vec_ID):
    shape = SETTINGS.model_copy(update={"clicks": "learned", "user": "mean"})
    model = build(shape, VOCABULARY, seed=1, items=ITEMS)
    planted_DD = np.random.default_rng(0).normal(size=(SETTINGS.dim, SETTINGS.dim)).astype(np.float32)
    with torch.no_grad():
        model.table.copy_(torch.from_numpy(vec_ID @ planted_DD))
        model.table[3] += 1
    known = np.delete(np.arange(ITEMS), [0, 1])
    model.translate(vec_ID[known], known)
    assert model.table.shape == (ITEMS - 2, SETTINGS.dim)
    rows_I = np.arange(ITEMS) - 2
    rows_I[:2] = -1
    click_ID = click_vectors(model, vec_ID, rows_I)
    assert (click_ID[2:] == model.table.detach().numpy()).all()
    np.testing.assert_allclose(click_ID[3], vec_ID[3] @ planted_DD + 1, rtol=1e-5)
    # A new item's click is what its text says: near where the planted map puts it.
    for new in (0, 1):
        said, expected = click_ID[new], vec_ID[new] @ planted_DD
        assert said @ expected > 0.8 * np.linalg.norm(said) * np.linalg.norm(expected)
    assert click_vectors(build(SETTINGS, VOCABULARY, seed=1), vec_ID, rows_I) is vec_ID


def test_a_known_user_starts_from_a_vector_of_its_own(vec_ID):
    model = build(SETTINGS.model_copy(update={"user": "gru", "long_term": True}), VOCABULARY, seed=1, people=3)
    with torch.no_grad():
        model.long_term[1] += 1
    history_NH = np.array([[1, 2]] * 3, np.int32)
    vec_ND = user_vectors(model, vec_ID, history_NH, who_N=np.array([0, 1, -1]))
    np.testing.assert_allclose(vec_ND[0], vec_ND[2], atol=1e-5)
    assert np.abs(vec_ND[1] - vec_ND[2]).max() > 1e-2
    np.testing.assert_allclose(user_vectors(model, vec_ID, history_NH), vec_ND[[2, 2, 2]], atol=1e-5)
    # Hidden for half of the users while training, the whole vector of a user at a time.
    model.train()
    start_BD = torch.ones(400, SETTINGS.dim)
    click_1D = torch.from_numpy(vec_ID[1:2])
    with torch.no_grad():
        found_BD = model.tower(click_1D, torch.zeros(400, 1, dtype=torch.int64), start_BD)
    distinct = np.unique(found_BD.numpy().round(4), axis=0, return_counts=True)[1]
    assert len(distinct) == 2
    assert distinct.min() > 100
