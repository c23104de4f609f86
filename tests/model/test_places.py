"""Where users' clicks place items, of logs whose co-clicks have fewer directions than the rank that is asked for."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsys_text.model import wide


def clicks(users: int, items: int, *, share: float) -> csr_matrix:
    drawn_UI = np.random.default_rng(5).random((users, items)) < share
    return csr_matrix(drawn_UI.astype(np.float32))


def places(clicks_UI: csr_matrix, rank: int) -> wide.Floats:
    return wide._places(clicks_UI, np.asarray(clicks_UI.sum(0)).ravel(), rank, seed=7)


@pytest.mark.parametrize(("users", "items"), [(1, 40), (2, 3), (9, 400), (69, 300), (300, 30)])
def test_the_rank_is_cut_to_what_the_users_bear(users: int, items: int) -> None:
    place_NR = places(clicks(users, items, share=0.4), 128)
    assert place_NR.shape[0] == items
    assert place_NR.shape[1] <= min(users, items)
    assert np.isfinite(place_NR).all()


def test_places_are_those_of_the_exact_eigenvectors() -> None:
    """The co-clicks of two halves of the items, which stand out, and of clicks on any of them."""
    random = np.random.default_rng(5)
    share_UI = np.where((np.arange(200)[:, None] + np.arange(120)) % 2, 0.3, 0.02)
    clicks_UI = csr_matrix((random.random((200, 120)) < share_UI).astype(np.float32))
    relative_UI = clicks_UI.toarray() / np.sqrt(clicks_UI.sum(0).A1 + wide._PRIOR)
    together_II = relative_UI.T @ relative_UI
    np.fill_diagonal(together_II, 0)
    values, vectors = np.linalg.eigh(together_II)
    exact_IR = vectors[:, -2:] * np.sqrt(values[-2:])
    exact_IR /= np.linalg.norm(exact_IR, axis=1, keepdims=True) + wide._SHRINK
    place_IR = places(clicks_UI, 2)
    np.testing.assert_allclose(place_IR @ place_IR.T, exact_IR @ exact_IR.T, atol=1e-3)
